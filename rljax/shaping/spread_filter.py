"""Groups whose rewards hardly differ leave the batch, by a threshold that follows the run."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored

Array = jax.Array


def spread_filter_init() -> dict[str, Array]:
  """Moving sums of group deviations and of the weights of their terms: float32 scalars, 0.

  Examples:
    >>> print(sorted(shaping.spread_filter_init()))
    ['spread', 'weight']
  """
  return {name: jnp.zeros((), jnp.float32) for name in ('spread', 'weight')}


def spread_filter(
  rewards: Array,
  group_ids: Array,
  *,
  state: dict[str, Array],
  share: float = 0.5,
  decay: float = 0.9,
) -> tuple[Array, dict[str, Array]]:
  """R' = R where σ_g ≥ share·σ̄, else NaN;  σ̄ ← decay·σ̄ + (1 − decay)·mean σ_g of this batch.

  A sample without a reward is in no loss. For rewards that are never quite equal, such as
  likelihoods, whose small differences a division by σ_g would blow up. σ̄ is corrected for its
  start, so the first batch is measured by its own mean.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is and is not counted. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    state: 'spread', 'weight'; `spread_filter_init`.
    share: of the usual deviation that a group needs; 0 keeps all.
    decay: of the average, a fraction.

  Returns:
    (at least float32 [N], the next state).

  Examples:
    >>> rewards, groups = jnp.array([0.50, 0.51, 0.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> shaped, state = shaping.spread_filter(rewards, groups, state=shaping.spread_filter_init())
    >>> print(shaped)  # a group that hardly differs leaves
    [nan nan  0.  1.]

  Source: RLPR, "Extrapolating RLVR to General Domains without Verifiers" (2025); filtering by the
    spread of a likelihood reward also in "Direct Reasoning Optimization" (2025).
  Differs from the source: formula not confirmed against the papers; the mean is over samples.
  Fidelity: recalled
  """
  old = jax.lax.stop_gradient(masking.widen(rewards))
  rewards, counted = scored(rewards, group_ids)
  deviation = jnp.sqrt(masking.group_var(rewards, group_ids, counted, ddof=0))
  fresh = jnp.any(counted)
  spread = decay * state['spread'] + (1 - decay) * masking.masked_mean(deviation, counted)
  weight = decay * state['weight'] + (1 - decay)
  spread = jnp.where(fresh, spread, state['spread'])
  weight = jnp.where(fresh, weight, state['weight'])
  least = share * spread / jnp.where(weight > 0, weight, 1)
  kept = deviation >= least * (1 - 1e-6)
  return jnp.where(counted & ~kept, jnp.nan, old), {'spread': spread, 'weight': weight}
