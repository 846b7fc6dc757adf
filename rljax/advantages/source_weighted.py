"""RECAP: tasks that are learnt weigh less than those that lag or waver."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.group_normalize import group_normalize
from rljax.advantages.scored import scored
from rljax.advantages.sources import source_ids
from rljax.traits import declare

Array = jax.Array

MOST = 3.0  # of either signal: a mean near 0 must not decide alone


def source_weighted_init(*, sources: tuple[str, ...], window: int = 8) -> dict[str, Array]:
  """Rewards of the last iterations by task: nothing yet.

  Args:
    sources: names of the tasks.
    window: iterations, an even number.

  Returns:
    'count', 'mean', 'squares' (sum of squared deviations): float32 [window, sources], the last
    iteration last.

  Raises:
    ValueError: a window that is not even and above 0.

  Examples:
    >>> print(advantages.source_weighted_init(sources=('sums', 'words'), window=2)['count'].shape)
    (2, 2)
  """
  if window < 2 or window % 2:
    raise ValueError(f'source_weighted: window={window}; it must be even and at least 2')
  return {name: jnp.zeros((window, len(sources))) for name in ('count', 'mean', 'squares')}


@declare(
  denominator='samples', couples='batch', traits=('zero_mean_in_group', 'group_relative')
)
def source_weighted(
  rewards: Array,
  group_ids: Array,
  reward_components: Mapping[str, Array],
  *,
  sources: tuple[str, ...],
  window: int = 8,
  temperature: float = 1.0,
  state: dict[str, Array],
) -> tuple[Array, dict[str, Array]]:
  """A = w_s·A_GRPO,  w = K·softmax((i − c)/τ) over the K tasks,  c = recent/earlier mean reward,
  i = σ/mean of the rewards, both over the last iterations.

  A task that is solved has c = 1 and i = 0; one that rises has c > 1. One that falls, as skills do
  that nobody trains, has c < 1, and one that is seldom right or wavers a large i: to these weight
  moves. Samples of no source have weight 1.

  Args:
    rewards: float [N], at least 0; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    reward_components: name -> float [N], finite for the samples of the source of this name, as the
      components of `tasks.mixture` are.
    sources: names of the tasks.
    window: iterations, this one included; the later half of them is recent.
    temperature: τ; large = equal weights.
    state: as `source_weighted_init` makes it.

  Returns:
    (at least float32 [N], the next state).

  Raises:
    ValueError: no sources, one without a component, or a state of another window.

  Examples:
    >>> groups, rewards = jnp.array([0, 0, 1, 1]), jnp.array([1.0, 0.9, 1.0, 0.0])
    >>> sums, names = jnp.array([True, True, False, False]), ('sums', 'words')
    >>> a, b = jnp.where(sums, rewards, jnp.nan), jnp.where(sums, jnp.nan, rewards)
    >>> parts = {'sums': a, 'words': b}  # as `tasks.mixture` makes them
    >>> state = advantages.source_weighted_init(sources=names)
    >>> # Words waver
    >>> print(advantages.source_weighted(rewards, groups, parts, sources=names, state=state)[0])
    [ 0.3951 -0.3951  1.0191 -1.0191]

  Source: RECAP, Beyond Reasoning Gains (2025).
  Differs from the source: formula not confirmed against the paper; both signals at most 3; rewards
    alone, no objectives of a loss.
  Fidelity: recalled
  """
  shape = (window, len(sources))
  if state['count'].shape != shape:
    raise ValueError(f'source_weighted: the state is {state["count"].shape}, not {shape}')
  ids = source_ids('source_weighted', reward_components, sources)
  clean, counted = scored(rewards, group_ids)
  state = {
    name: jnp.concatenate([state[name][1:], x[None].astype(state[name].dtype)])
    for name, x in _of_sources(clean, counted, ids, len(sources)).items()
  }
  weights = _weights(state, temperature)
  factor = jnp.where(ids >= 0, weights[jnp.maximum(ids, 0)], 1)
  return factor * group_normalize(rewards, group_ids), state


def _of_sources(rewards: Array, counted: Array, ids: Array, number: int) -> dict[str, Array]:
  """Number, mean and squared deviations of the rewards of each source, [K]."""
  own = (ids[None, :] == jnp.arange(number)[:, None]) & counted[None, :]
  rewards = jnp.broadcast_to(rewards, own.shape)
  mean = masking.masked_mean(rewards, own, axis=1)
  squares = masking.masked_sum((rewards - mean[:, None]) ** 2, own, axis=1)
  return {'count': jnp.sum(own, axis=1), 'mean': mean, 'squares': squares}


def _weights(state: dict[str, Array], temperature: Array | float) -> Array:
  """[K], of mean 1 over the sources of which something is known."""
  count, mean = state['count'], state['mean']

  def over(rows):
    return jnp.sum(count[rows] * mean[rows], 0) / jnp.maximum(jnp.sum(count[rows], 0), 1)

  half = count.shape[0] // 2
  total = over(slice(None))
  squares = jnp.sum(state['squares'] + count * (mean - total[None]) ** 2, axis=0)
  deviation = jnp.sqrt(squares / jnp.maximum(jnp.sum(count, axis=0), 1))
  instability = jnp.where(deviation > 0, _ratio(deviation, total), 0)
  earlier, recent = over(slice(None, half)), over(slice(half, None))
  known = (jnp.sum(count[:half], axis=0) > 0) & (jnp.sum(count[half:], axis=0) > 0)
  known = known & ((earlier > 0) | (recent > 0))
  convergence = jnp.where(known, _ratio(recent, earlier), 1)
  seen = jnp.sum(count, axis=0) > 0
  share = jax.nn.softmax((instability - convergence) / temperature, where=seen)
  return jnp.where(seen, share * jnp.sum(seen), 1)


def _ratio(a: Array, b: Array) -> Array:
  """a / b, at most MOST."""
  return jnp.where(a < MOST * b, a / jnp.where(b > 0, b, 1), MOST)
