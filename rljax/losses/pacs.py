"""PACS: the reward as a label that the policy's own score has to predict."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient

CLASS_WEIGHTS = ('balanced', 'none')


@declare(denominator='samples', couples='group')
def pacs(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  completion_length: Array | None = None,
  *,
  beta: float = 0.1,
  threshold: float = 0.5,
  class_weight: str = 'balanced',
) -> tuple[Array, dict[str, Array]]:
  """−w·log σ(ψ) of right and −w·log σ(−ψ) of wrong completions,  ψ_i = β·(ρ_i − mean_{j≠i} ρ_j).

  ρ = Σ_t (ℓ − ℓ^ref) of the whole completion. The gradient is a policy gradient weighted by
  y − σ(ψ), y = 1[R > threshold]: σ(ψ) is a critic, and the policy is it. Where policy and reference
  agree and classes weigh the same, the gradient is −β·(y_i − mean_{j≠i} y_j)·∇ρ_i, that of RLOO.
  ρ is a sum over tokens, so longer completions want a smaller β.

  Args:
    sequence_logprobs: float [N], nats, Σ ℓ; differentiated.
    sequence_ref_logprobs: float [N], nats, Σ ℓ^ref. Constant.
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused.
    completion_length: float [N], action tokens; a sample without any counts nowhere. None: all do.
    beta: of the score, per nat.
    threshold: a completion is right where its reward is above.
    class_weight: w: 'balanced' = G/(2·n), n the completions of the group with the same label;
      'none' = 1.

  Returns:
    (loss [N], 0 for groups of one; diagnostics: `score` ψ, `accuracy` 1 where its sign is right).

  Raises:
    ValueError: an unknown class_weight.

  Examples:
    >>> ref, rewards, groups = jnp.zeros(3), jnp.array([1.0, 0.0, 0.0]), jnp.array([0, 0, 0])
    >>> loss = lambda logprobs: losses.pacs(logprobs, ref, rewards, groups)[0].sum()
    >>> print(jax.grad(loss)(ref))  # classes weigh the same: one right against two wrong ones
    [-0.1125  0.0563  0.0563]

  Source: PACS, implicit actor critic coupling via supervised learning (2025).
  Differs from the source: formula not confirmed against the paper; classes are balanced within the
    group, so that micro-batches add up.
  Fidelity: recalled
  """
  if class_weight not in CLASS_WEIGHTS:
    raise ValueError(f'pacs: class_weight {class_weight!r} is not one of {CLASS_WEIGHTS}')
  counted = jnp.isfinite(rewards) & (group_ids >= 0)
  if completion_length is not None:
    counted = counted & (completion_length > 0)
  ratio = masking.zero_where_not(sequence_logprobs, counted)
  ratio = ratio - sg(masking.zero_where_not(sequence_ref_logprobs, counted))
  size = masking.group_count(group_ids, counted)
  centred = ratio - masking.group_mean(ratio, group_ids, counted)
  score = beta * centred * size / jnp.maximum(size - 1, 1)

  right = counted & (rewards > threshold)
  loss = -jax.nn.log_sigmoid(jnp.where(right, score, -score))
  if class_weight == 'balanced':
    num_right = masking.group_sum(right, group_ids, counted)
    same = jnp.where(right, num_right, size - num_right)
    loss = loss * size / (2 * jnp.maximum(same, 1))
  keep = counted & (size > 1)
  seen = {'score': score, 'accuracy': ((score > 0) == right).astype(score.dtype)}
  seen = {name: jnp.where(keep, x, 0) for name, x in seen.items()}
  return jnp.where(keep, loss, 0), sg(seen)
