"""KL estimators times a differentiable importance ratio: unbiased with samples of any policy."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.masking import widen
from rljax.regularizers.estimators import k1, k3, ratio_of
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient

ESTIMATORS = {'k1': k1, 'k3': k3}


@declare()
def ratio_k1(
  logprobs: Array, ref_logprobs: Array, old_logprobs: Array
) -> tuple[Array, dict[str, Array]]:
  """ρ_t·d_t, ρ_t = exp(ℓ_t − ℓ°_t) differentiated: unbiased for KL(π ‖ ref).

  The token-local KL over the states that the old policy sampled. The gradient is ρ·(d + 1)·∇ℓ:
  that of `reverse_kl` and the noise ρ·∇ℓ of mean 0.

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the k3 value, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(jax.grad(lambda l: regularizers.ratio_k1(l, old, new)[0].sum())(new))  # d + 1
    [[ 1.5878  1.     -0.6094]]

  Source: public implementations: the 'unbiased' KL loss.
  Differs from the source: the log-ratio is clamped to ±20.
  Fidelity: faithful
  """
  return _token_form(k1, logprobs, ref_logprobs, old_logprobs)


@declare()
def ratio_k3(
  logprobs: Array, ref_logprobs: Array, old_logprobs: Array
) -> tuple[Array, dict[str, Array]]:
  """ρ_t·(e^{−d_t} − 1 + d_t), ρ_t = exp(ℓ_t − ℓ°_t) differentiated: unbiased for KL(π ‖ ref).

  The token-local KL over the states that the old policy sampled. Per sample the gradient is
  ρ·d·∇ℓ: that of `reverse_kl` without its bounds.

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the k3 value, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> # D, as `reverse_kl`
    >>> print(jax.grad(lambda l: regularizers.ratio_k3(l, old, new)[0].sum())(new))
    [[ 0.5878  0.     -1.6094]]

  Source: DeepSeek-AI 2025, arXiv 2512.02556, the unbiased KL estimate: formula not confirmed
    against the paper; the identity is proved by enumeration.
  Differs from the source: the log-ratio and d are clamped to ±20.
  Fidelity: recalled
  """
  return _token_form(k3, logprobs, ref_logprobs, old_logprobs)


@declare(couples='sequence')
def sequence_kl(
  logprobs: Array,
  ref_logprobs: Array,
  old_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  estimator: str = 'k3',
) -> tuple[Array, dict[str, Array]]:
  """(Π_{k≤t} ρ_k)·k(d_t), the product differentiated: the KL of whole sequences, KL(π ‖ ref).

  The sum over a sample's tokens has the value and the gradient of the sequence KL in expectation,
  with samples of any policy: the product moves tokens *and* the states before them to the present
  policy. Its variance grows with the number of tokens. On-policy the products are 1 and only their
  gradient, Σ_{k≤t} ∇ℓ_k, is left: the same expected gradient as `kl_reward`.

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.
    action_mask: bool [..., T]; other tokens are no factors and get 0.
    segment_ids: int32 [..., T], −1 = padding.
    estimator: 'k3', or 'k1' (the same expectation, more noise).

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the k3 value, nats).

  Raises:
    ValueError: an unknown estimator.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> # Π of the ratios so far, times k3
    >>> print(regularizers.sequence_kl(new, old, old, *row[:2])[0])
    [[0.258  0.     0.8606]]

  Source: derived here from importance sampling per decision (Precup et al. 2000); proved by
    enumeration in tests/test_enumeration.py.
  Differs from the source: the log of the product is clamped to ±20, d in k3 too.
  Fidelity: adapted
  """
  if estimator not in ESTIMATORS:
    raise ValueError(f'sequence_kl: estimator {estimator!r} is not one of k1, k3')
  action = action_mask & (segment_ids >= 0)
  logprobs = widen(logprobs)
  ref_logprobs, old_logprobs = sg((widen(ref_logprobs), widen(old_logprobs)))
  d = masking.zero_where_not(logprobs - ref_logprobs, action)
  log_ratio = masking.zero_where_not(logprobs - old_logprobs, action)
  # A scan from the right over the turned row is one from the left.
  turned = (jnp.ones(action.shape), log_ratio[..., ::-1], segment_ids[..., ::-1])
  log_product = masking.reverse_segment_scan(*turned)[..., ::-1]
  product = clamped_exp(log_product)
  loss = jnp.where(action, product * ESTIMATORS[estimator](d), 0)
  return loss, {'kl_ref': sg(k3(d))}


def _token_form(estimator, logprobs, ref_logprobs, old_logprobs):
  logprobs = widen(logprobs)
  d = logprobs - sg(widen(ref_logprobs))
  ratio = ratio_of(logprobs, sg(widen(old_logprobs)))
  return ratio * estimator(d), {'kl_ref': sg(k3(d))}
