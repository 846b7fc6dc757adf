"""GDPO: each reward is normalised by itself before they are added."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='samples',
  couples='batch',
  traits=('shift_invariant', 'scale_invariant', 'zero_mean_in_group', 'group_relative'),
)
def multi_reward(
  rewards: Array,
  group_ids: Array,
  reward_components: Mapping[str, Array],
  *,
  weights: tuple[tuple[str, float], ...] | None = None,
  whiten: bool = True,
  epsilon: float = 1e-6,
) -> Array:
  """A = whiten(Σ_k w_k·(R^k − μ^k_g) / (σ^k_g + ε)), k over the components of the reward.

  So no component's scale drowns another, and different combinations of components that add up to
  the same reward stay different. Without `whiten` it is the weighted sum of the components' GRPO
  advantages. `rewards` itself says only which samples are unscorable: what was added to it (a KL
  penalty, a shaped term) has no part unless it is a component.

  A component that is not finite for a sample leaves that component's statistics and adds 0 to this
  sample. The mean 0 of a group holds where all its components are finite.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    reward_components: name -> float [N]. Constant.
    weights: pairs of name and weight (a mapping does too, but a config would read it as a
      schedule); components that are not named have no part. None = 1 each.
    whiten: over the samples of the iteration to mean 0 and unbiased variance 1.
    epsilon: added to each σ, in units of its component, and to that of the whitening.

  Returns:
    at least float32 [N]; exactly 0 in a group whose components are all constant.

  Raises:
    ValueError: no components, or a weight for a component that does not exist.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> parts = {'right': rewards, 'form': jnp.array([0.0, 100.0, 100.0, 0.0])}
    >>> # The scale drowns nothing
    >>> print(advantages.multi_reward(rewards, groups, parts, whiten=False))
    [-0.      0.      0.7071 -0.7071]

  Source: Liu et al. 2026, arXiv 2601.05242; public implementations.
  Differs from the source: whitening over samples, not over tokens, so the lengths have no part;
    groups without a signal are set to 0 after it; ε as in `group_normalize`.
  Fidelity: faithful
  """
  chosen = dict.fromkeys(reward_components, 1.0) if weights is None else dict(weights)
  unknown = sorted(set(chosen) - set(reward_components))
  if unknown or not chosen:
    known = ', '.join(sorted(reward_components)) or 'none'
    raise ValueError(f'multi_reward: no component {unknown or "at all"}; there are {known}')
  _, counted = scored(rewards, group_ids)
  total, keep = jnp.zeros(counted.shape), jnp.zeros_like(counted)
  for name in sorted(chosen):
    component, present = scored(reward_components[name], group_ids)
    present = present & counted
    signal = present & ~masking.group_is_constant(component, group_ids, present)
    centred = component - masking.group_mean(component, group_ids, present)
    deviation = jnp.sqrt(masking.group_var(component, group_ids, present))
    total = total + chosen[name] * jnp.where(signal, centred / (deviation + epsilon), 0)
    keep = keep | signal
  if whiten:
    total = total - masking.masked_mean(total, counted)
    total = total / (jnp.sqrt(masking.masked_var(total, counted, ddof=1)) + epsilon)
  return jnp.where(keep, total, 0)
