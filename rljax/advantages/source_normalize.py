"""Advantages in units of the spread of the sample's own task."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.advantages.sources import source_ids
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='samples',
  couples='batch',
  traits=('scale_invariant', 'zero_mean_in_group', 'group_relative'),
)
def source_normalize(
  rewards: Array,
  group_ids: Array,
  reward_components: Mapping[str, Array],
  *,
  sources: tuple[str, ...],
  epsilon: float = 1e-6,
) -> Array:
  """A = (R − mean_g) / (σ_s + ε), σ_s of all samples of the batch from the task of the sample.

  Tasks whose rewards spread differently weigh alike, and no group's own σ, which a single lucky
  sample sets, divides. A task whose rewards are all equal gets 0. Samples of no source are
  together one more.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    reward_components: name -> float [N], finite for the samples of the source of this name, as the
      components of `tasks.mixture` are.
    sources: names of the tasks.
    epsilon: added to σ, in units of the reward.

  Returns:
    at least float32 [N].

  Raises:
    ValueError: no sources, or one without a component.

  Examples:
    >>> groups = jnp.array([0, 0, 1, 1])
    >>> rewards = jnp.array([1.0, 0.0, 9.0, 0.0])  # two tasks, whose rewards spread differently
    >>> sums = jnp.array([True, True, False, False])
    >>> a, b = jnp.where(sums, rewards, jnp.nan), jnp.where(sums, jnp.nan, rewards)
    >>> parts = {'sums': a, 'words': b}  # as `tasks.mixture` makes them
    >>> print(advantages.source_normalize(rewards, groups, parts, sources=('sums', 'words')))
    [ 0.7071 -0.7071  0.7071 -0.7071]

  Source: QwenLong-L1.5 (2025), task-specific advantage estimation.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  rewards, counted = scored(rewards, group_ids)
  own = jnp.where(counted, source_ids('source_normalize', reward_components, sources) + 1, -1)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  keep = keep & ~masking.group_is_constant(rewards, own, counted)
  centred = rewards - masking.group_mean(rewards, group_ids, counted)
  deviation = jnp.sqrt(masking.group_var(rewards, own, counted, ddof=1))
  return jnp.where(keep, centred / (deviation + epsilon), 0)
