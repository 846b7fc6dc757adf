"""KL-cov: a penalty on the few tokens whose log-prob and advantage vary together."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array


@declare(traits=('on_policy_is_reinforce',))
def kl_cov(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  covariance_selected: Array,
  *,
  penalty: float = 1.0,
) -> tuple[Array, dict[str, Array]]:
  """−A·r + penalty·|ℓ − ℓ°| on the selected tokens, −A·r on the others; r = exp(ℓ − ℓ°).

  The selection is an array from before the update (`selection.covariance_top`): the tokens with
  the largest (A − mean A)·(ℓ° − mean ℓ°) of the step, in the paper a fraction of 2e-4 to 2e-3 (of a
  small batch that is less than a token: take 2e-2). There is no clip. The paper's other method,
  clip-cov, is `clipped_surrogate` on the selection `covariance_subset`.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°, of the policy that drew the tokens. Constant.
    advantages: float [..., T]. Constant.
    covariance_selected: bool or float [..., T]: 1 = has the penalty.
    penalty: of one nat.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` r, `kl_old` the k3 estimate, nats,
    `covered` the selection).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss, seen = losses.kl_cov(new, old, jnp.ones((1, 3)), jnp.array([[True, False, False]]))
    >>> print(loss)  # −1.8 + |log 1.8|, then −r
    [[-1.2122 -1.     -0.2   ]]

  Source: Cui et al. 2025, arXiv 2505.22617 (KL-Cov).
  Differs from the source: the penalty of a token is the size of its log-ratio, as in the authors'
    code, and does nothing where the policies agree (a derivative of |x| that is 1 at 0 would push
    every selected token of the first step); the ratio is clamped to e^±20.
  Fidelity: faithful
  """
  gap = ratios.difference(logprobs, old_logprobs)
  log_ratio = clamp(gap)
  ratio = jnp.exp(log_ratio)
  selected = ratios.constant(covariance_selected)
  size = gap * jax.lax.stop_gradient(jnp.sign(gap))
  found = ratios.diagnostics(ratio, log_ratio) | {'covered': selected}
  return -ratios.constant(advantages) * ratio + penalty * size * selected, found
