"""The weights of each term of the objective, minibatch by minibatch.

The policy loss: aggregation over the tokens that selections and correction leave in the
denominator, times what they keep, times the correction. The other terms: all sampled tokens; the
value loss those of samples that shaping has left a reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rljax import arrays, masking, returned
from rljax.combinations import ObjectiveError
from rljax.objective import Objective, denominator_of
from rljax.structs import Array


def minibatch_weights(
  known: Mapping[str, Any],
  kept: Array,
  hyper: Mapping[str, Any],
  *,
  objective: Objective,
  key: Array,
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
  """Weights of all terms, and the arrays that a loss wants of its minibatch.

  Args:
    known: arrays of the iteration by name: token arrays [K, M, r, T], sample arrays [N].
    kept: bool [K, M, r, T], action tokens of the samples that shaping left.
    hyper: traced hyper-parameters.
    objective: the stage's.
    key: of the draws of selections.

  Returns:
    ({'weights': {'policy': [K, M, r, T], or [K, M, r, S] for a loss of samples, 'value' where there
    is that term, and 'full' for the others}, 'derived': name -> [K, M, r, T], 'left_out': bool [N],
    samples that are in no pair or group of a loss of these}, metrics).
  """
  leading = known['tokens'].ndim
  tokens = {
    name: x for name, x in known.items() if name != 'weights' and _has_rows(x, leading)
  }
  whole = {name: x for name, x in known.items() if name not in tokens}

  def one(rows, kept, key):
    return _of_minibatch({**whole, **rows}, kept, hyper, objective, key)

  keys = jax.random.split(key, known['tokens'].shape[0])
  found, sums = jax.vmap(one)(tokens, kept, keys)
  found = jax.lax.stop_gradient(found)
  rest = {'derived': found.pop('derived'), 'left_out': jnp.any(found.pop('left_out'), axis=0)}
  return {'weights': found, **rest}, _metrics(sums)


def _has_rows(x: Any, leading: int) -> bool:
  return getattr(x, 'ndim', 0) >= leading


def _of_minibatch(known, kept, hyper, objective, key):
  """(weights and derived arrays of one minibatch, sums for metrics)."""
  sampled = known['action_mask']
  known = {**known, 'action_mask': kept}
  keys = list(jax.random.split(key, len(objective.selections) + len(objective.derived) + 1))
  factor, counted, samples, sums = _selected(known, hyper, objective, keys)
  if objective.correction is not None:
    weight, count = _corrected(known, kept, hyper, objective)
    factor, counted = factor * weight, counted & count
    sums |= {
      'mismatch/weight_mean': masking.masked_sum(weight, kept),
      'mismatch/rejected': jnp.sum(kept & (weight == 0)),
    }
  derived = {
    name: bound(known, hyper[f'derived.{name}'], key=keys.pop())
    for name, bound in objective.derived.items()
  }
  for name, x in derived.items():
    shape = {'each token': known['tokens'].shape}
    returned.array(x, objective.derived[name], f'the derived array {name}', **shape)
  (key,) = keys
  weights = objective.weights({**known, 'action_mask': counted}, hyper['weights'], key=key)
  places = known['sample_ids' if objective.is_of_samples else 'tokens']
  shape = {'each sample' if objective.is_of_samples else 'each token': places.shape}
  returned.array(weights, objective.weights, 'weights', **shape)
  if objective.is_of_samples:
    weights = jnp.where(masking.sample_to_segment(samples, known['sample_ids']), weights, 0)
  else:
    weights = weights * factor

  def over(mask):
    return objective.full_weights({**known, 'action_mask': mask}, hyper['full_weights'], key=key)

  found = {'policy': weights, 'full': over(sampled), 'derived': derived}
  if objective.value is not None:
    found['value'] = over(kept)
  return {**found, 'left_out': _left_out(known, samples, objective)}, sums


def _corrected(known, kept, hyper, objective):
  """(weight, counted) of the correction; 1 and True on what the sampler did not draw.

  Its log-probs there are those of nobody, or of a policy behind another prompt.
  """
  elsewhere = arrays.drawn_elsewhere(known['is_external'], known['group_ids'])
  elsewhere = masking.sample_to_token(elsewhere, known['sample_ids'], known['segment_ids'])
  drawn = {**known, 'action_mask': kept & ~elsewhere}
  found = objective.correction(drawn, hyper['correction'])
  weight, count = returned.pair(found, objective.correction, 'a correction', '(weights, counted)')
  returned.array(weight, objective.correction, 'a correction', **{'each token': kept.shape})
  return jnp.where(elsewhere, 1, weight), elsewhere | count


def _selected(known, hyper, objective, keys):
  """(factor, counted [M, r, T], samples that all selections keep [N], sums); uses up `keys`."""
  kept = counted = known['action_mask']
  factor, samples = jnp.where(kept, 1.0, 0.0), jnp.ones(known['group_ids'].shape, bool)
  sums = {'count': jnp.sum(kept)}
  shapes = {'each sample': samples.shape, 'each token': kept.shape}
  for name, bound in objective.selections.items():
    chosen = bound(known, hyper[f'selections.{name}'], key=keys.pop())
    keep, count = returned.pair(chosen, bound, 'a selection', '(kept, counted), of bools')
    returned.array(keep, bound, 'a selection', **shapes)
    if keep.ndim == 1:
      samples = samples & keep
      places = (known['sample_ids'], known['segment_ids'])
      keep, count = (masking.sample_to_token(x, *places) for x in (keep, count))
    elif objective.is_of_samples:
      raise ObjectiveError(
        f'{bound.name} selects tokens, and {objective.loss.name} is a loss of whole samples'
      )
    factor, counted = jnp.where(keep, factor, 0), counted & count
    sums[f'method/{name}/kept'] = jnp.sum(kept & keep)
  return factor, counted, samples, sums


def _left_out(known, samples, objective) -> Array:
  """bool [N]: samples here that a loss of pairs or groups must not see.

  Its value stands on one sample of the group, which might be one that is not kept.
  """
  if denominator_of(objective.loss) != 'groups':
    return jnp.zeros(samples.shape, bool)
  places = (known['sample_ids'], known['sample_slots'])
  return masking.segment_to_sample_here(known['sample_ids'] >= 0, *places) & ~samples


def _metrics(sums: Mapping[str, Array]) -> dict[str, Array]:
  """Σ over minibatches → fractions and means over the tokens of the iteration."""
  total = {name: jnp.sum(x.astype(jnp.float32)) for name, x in sums.items()}
  count = jnp.maximum(total.pop('count'), 1)
  return {name: x / count for name, x in total.items()}
