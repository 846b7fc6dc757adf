"""A share of the tokens of a minibatch: by entropy, by covariance, at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.corrections.ratio import in_denominator
from rljax.selection.draws import token_bits
from rljax.selection.order import kth_largest, ordered, share, top

Array = jax.Array


def high_entropy(
  old_entropy: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  fraction: float = 0.2,
  denominator: str = 'kept',
) -> tuple[Array, Array]:
  """keep = the ⌈ρN⌉ of the N tokens of the minibatch with the highest entropy (80/20).

  Tokens that equal the last of them in entropy are kept too (samples of a group begin alike).

  Args:
    old_entropy: float [..., T], nats, of the policy before the update. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    fraction: ρ.
    denominator: 'kept': the mean over the chosen tokens (the authors' code); 'all': the others are
      zeros in the average (the paper's formula).

  Returns:
    (keep, counted), bool [..., T]. A token whose entropy is not finite is neither.

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> entropy = jnp.array([[0.1, 2.0, 0.3]])
    >>> print(selection.high_entropy(entropy, *row[:2])[0])  # ⌈0.2·3⌉ = 1 token
    [[False  True False]]

  Source: Wang et al. 2025, arXiv 2506.01939 (beyond the 80/20 rule).
  Differs from the source: entropies of the policy before the update, over the whole minibatch,
    where the authors' code takes the present policy's, micro-batch by micro-batch.
  Fidelity: adapted
  """
  old_entropy = jax.lax.stop_gradient(masking.widen(old_entropy))
  usable = action_mask & (segment_ids >= 0) & jnp.isfinite(old_entropy)
  keys = ordered(jnp.where(usable, old_entropy, 0))
  keep = top(keys, usable, share(fraction, usable, up=True))
  return keep, in_denominator('high_entropy', denominator, usable, keep)


def random_tokens(
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  positions: Array,
  *,
  key: Array,
  fraction: float = 0.2,
  denominator: str = 'kept',
) -> tuple[Array, Array]:
  """keep = ⌈ρN⌉ of the N tokens of the minibatch, drawn at random: a control for `high_entropy`.

  Args:
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    positions: int32 [..., T], of the token in its sample.
    key: of the draw.
    fraction: ρ.
    denominator: 'kept': the mean over the chosen tokens; 'all': the others are zeros in it.

  Returns:
    (keep, counted), bool [..., T]. The draw does not depend on the packing.

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> positions, key = jnp.array([[0, 1, 2]]), jax.random.key(0)
    >>> keep, counted = selection.random_tokens(*row, positions, key=key, fraction=0.6)
    >>> print(keep.sum())  # ⌈0.6·3⌉
    2

  Source: Wang et al. 2025, arXiv 2506.01939: the comparison with random tokens.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  actions = action_mask & (segment_ids >= 0)
  bits = token_bits(key, segment_ids, sample_ids, positions)
  keep = top(bits, actions, share(fraction, actions, up=True))
  return keep, in_denominator('random_tokens', denominator, actions, keep)


def _covariance(
  old_logprobs: Array, advantages: Array, action_mask: Array, segment_ids: Array
) -> tuple[Array, Array]:
  """((A − Ā)(ℓ° − ℓ̄°) [..., T], 0 where not usable, usable)."""
  old_logprobs, advantages = jax.lax.stop_gradient(
    (masking.widen(old_logprobs), masking.widen(advantages))
  )
  usable = action_mask & (segment_ids >= 0)
  usable = usable & jnp.isfinite(old_logprobs) & jnp.isfinite(advantages)
  a, l = (
    masking.zero_where_not(x - masking.masked_mean(x, usable), usable)
    for x in (advantages, old_logprobs)
  )
  return a * l, usable


def covariance_subset(
  old_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  positions: Array,
  *,
  key: Array,
  fraction: float = 2e-4,
  low: float = 1.0,
  high: float = 5.0,
  bounds: str = 'value',
  denominator: str = 'all',
) -> tuple[Array, Array]:
  """drop = max(⌊ρN⌋, 1) random ones of the tokens with low < (A − Ā)(ℓ° − ℓ̄°) < high (Clip-Cov).

  Means and N are over the tokens of the minibatch. Likely tokens with a high advantage are what
  makes the entropy fall; a few of them learn nothing in this step.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    positions: int32 [..., T], of the token in its sample.
    key: of the draw.
    fraction: ρ; 2e-4 presumes batches of 10⁵ tokens and more.
    low, high: of the covariance, in units of the advantage times nats.
    bounds: 'value', or 'quantile': low and high are fractions of the tokens in the order of their
      covariance, both included (0.9 and 1.0: the highest tenth).
    denominator: 'all': dropped tokens are zeros in the average; 'kept': they leave it.

  Returns:
    (keep, counted), bool [..., T]. A token whose inputs are not finite is neither. The draw does
    not depend on the packing.

  Raises:
    ValueError: unknown bounds or denominator.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> old, advantages = jnp.array([[-0.1, -5.0, -5.0]]), jnp.array([[2.0, -1.0, -1.0]])
    >>> where, key = (*row, jnp.array([[0, 1, 2]])), jax.random.key(0)
    >>> keep, _ = selection.covariance_subset(old, advantages, *where, key=key, high=9.0)
    >>> print(keep)  # one token of those whose covariance is between 1 and 9 is dropped
    [[False  True  True]]

  Source: Cui et al. 2025, arXiv 2505.22617 (Clip-Cov).
  Differs from the source: log-probs of the policy before the update; tokens that the surrogate
    clips anyway may be among the candidates.
  Fidelity: adapted
  """
  if bounds not in ('value', 'quantile'):
    raise ValueError(f"covariance_subset: bounds {bounds!r} is neither 'value' nor 'quantile'")
  covariance, usable = _covariance(old_logprobs, advantages, action_mask, segment_ids)
  if bounds == 'value':
    candidates = usable & (covariance > low) & (covariance < high)
  else:
    keys = ordered(covariance)
    least, most = (
      kth_largest(keys, usable, jnp.maximum(share(1 - q, usable, up=True), 1))
      for q in (low, high)
    )
    candidates = usable & (keys >= least) & (keys <= most)
  number = jnp.maximum(share(fraction, usable, up=False), 1)
  bits = token_bits(key, segment_ids, sample_ids, positions)
  keep = usable & ~top(bits, candidates, number)
  return keep, in_denominator('covariance_subset', denominator, usable, keep)


def covariance_top(
  old_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  fraction: float = 2e-4,
) -> Array:
  """1[cov_t among the max(⌊ρN⌋, 1) largest], cov_t = (A_t − Ā)(ℓ°_t − ℓ̄°): whom KL-Cov holds back.

  Not a selection but an array for a loss: `covariance_selected`. Means and N are over the tokens of
  the minibatch. Tokens that equal the last of them are chosen too; tokens whose covariance is not
  positive never.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    fraction: ρ.

  Returns:
    bool [..., T].

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> old, advantages = jnp.array([[-0.1, -5.0, -5.0]]), jnp.array([[2.0, -1.0, -1.0]])
    >>> # Sure, and better than the others
    >>> print(selection.covariance_top(old, advantages, *row[:2]))
    [[ True False False]]

  Source: Cui et al. 2025, arXiv 2505.22617 (KL-Cov).
  Differs from the source: log-probs of the policy before the update; only positive covariances.
  Fidelity: adapted
  """
  covariance, usable = _covariance(old_logprobs, advantages, action_mask, segment_ids)
  number = jnp.maximum(share(fraction, usable, up=False), 1)
  return top(ordered(covariance), usable, number) & (covariance > 0)
