"""Sample many, learn from few: a subset of each group by length, by reward per token, by spread."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.corrections.ratio import in_denominator

Array = jax.Array

RULES = ('shortest', 'reward_per_token', 'max_variance')


def downsample(
  rewards: Array,
  completion_length: Array,
  group_ids: Array,
  *,
  count: int = 8,
  rule: str = 'shortest',
  denominator: str = 'kept',
) -> tuple[Array, Array]:
  """keep = the `count` samples of each group that are best by the rule.

  'shortest': fewest tokens (GFPO); 'reward_per_token': largest R/T (GFPO, token efficiency);
  'max_variance': the subset whose rewards have the largest variance (PODS). Smaller groups are kept
  whole; among equals the order in the batch decides. A selection comes after the advantages, so
  these are relative to the whole group; `downsampled_rewards` takes the others out of the
  statistics too.

  Args:
    rewards: float [N]; not finite = unscorable: neither kept nor counted. Constant.
    completion_length: float [N], action tokens.
    group_ids: int32 [N]; −1 = unused.
    count: samples to keep of each group.
    rule: 'shortest', 'reward_per_token' or 'max_variance'.
    denominator: 'kept': the other samples leave the average too; 'all': they are zeros in it.

  Returns:
    (keep, counted), bool [N].

  Raises:
    ValueError: an unknown rule or denominator.

  Examples:
    >>> rewards = jnp.array([1.0, 0.0, 1.0])
    >>> length, groups = jnp.array([9.0, 3.0, 5.0]), jnp.zeros(3, int)
    >>> for rule in ('shortest', 'reward_per_token', 'max_variance'):
    ...   print(rule, selection.downsample(rewards, length, groups, count=2, rule=rule)[0])
    shortest [False  True  True]
    reward_per_token [ True False  True]
    max_variance [False  True  True]

  Source: Shrivastava et al. 2025, arXiv 2508.09726 (GFPO); Xu et al. 2025, arXiv 2504.13818 (PODS).
  Differs from the source: the advantages, see above.
  Fidelity: adapted
  """
  keep, scored = _subset(rewards, completion_length, group_ids, count, rule)
  return keep, in_denominator('downsample', denominator, scored, keep)


def downsampled_rewards(
  rewards: Array,
  completion_length: Array,
  group_ids: Array,
  *,
  count: int = 8,
  rule: str = 'shortest',
) -> Array:
  """R_i where `downsample` keeps sample i, else NaN: the others leave statistics and loss.

  A shaping of rewards: the advantages are then those of the subset, the others' are 0, as GFPO and
  PODS have it.

  Args:
    rewards: float [N]; not finite = unscorable, stays so. Constant.
    completion_length: float [N], action tokens.
    group_ids: int32 [N]; −1 = unused.
    count: samples to keep of each group.
    rule: 'shortest', 'reward_per_token' or 'max_variance'.

  Returns:
    at least float32 [N].

  Raises:
    ValueError: an unknown rule.

  Examples:
    >>> rewards = jnp.array([1.0, 0.0, 1.0])
    >>> length, groups = jnp.array([9.0, 3.0, 5.0]), jnp.zeros(3, int)
    >>> print(selection.downsampled_rewards(rewards, length, groups, count=2))  # the longest leaves
    [nan  0.  1.]

  Source: Shrivastava et al. 2025, arXiv 2508.09726 (GFPO); Xu et al. 2025, arXiv 2504.13818 (PODS).
  Differs from the source: groups may be ragged; ties go by the order in the batch.
  Fidelity: faithful
  """
  keep, _ = _subset(rewards, completion_length, group_ids, count, rule)
  return jnp.where(keep, jax.lax.stop_gradient(masking.widen(rewards)), jnp.nan)


def _subset(
  rewards: Array, completion_length: Array, group_ids: Array, count: int, rule: str
) -> tuple[Array, Array]:
  """(kept, scored), bool [N]."""
  if rule not in RULES:
    raise ValueError(f'downsample: rule {rule!r} is not one of {", ".join(RULES)}')
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  scored = jnp.isfinite(rewards) & (group_ids >= 0)
  rewards = masking.zero_where_not(rewards, scored)
  if rule == 'max_variance':
    return scored & _max_variance(rewards, group_ids, scored, count), scored
  score = -masking.widen(completion_length)
  if rule == 'reward_per_token':
    score = rewards / jnp.maximum(-score, 1)
  return scored & (masking.group_rank(score, group_ids, scored) < count), scored


def _max_variance(rewards: Array, group_ids: Array, scored: Array, count: int) -> Array:
  """bool [N]. The best subset is the i largest and the count − i smallest rewards, for some i."""
  rank = masking.group_rank(rewards, group_ids, scored)  # 0 = the largest
  below = masking.group_count(group_ids, scored) - rank  # 1 = the smallest

  def chosen(i):
    return scored & ((rank < i) | (below <= count - i))

  def variance(i):
    return masking.group_var(rewards, group_ids, chosen(i), ddof=0)

  found = jax.lax.map(variance, jnp.arange(count + 1))
  return chosen(jnp.argmax(found, axis=0))
