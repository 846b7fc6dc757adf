"""The weights of each term of the objective, minibatch by minibatch.

The policy loss: aggregation over the tokens that selections and correction leave in the
denominator, times what they keep, times the correction. The other terms: all sampled tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.combinations import ObjectiveError
from rljax.objective import Objective
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
    ({'weights': {'policy': [K, M, r, T], or [K, M, r, S] for a loss of samples, and 'full', that of
    the other terms}, 'derived': name -> [K, M, r, T]}, metrics).
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
  return {'weights': found, 'derived': found.pop('derived')}, _metrics(sums)


def _has_rows(x: Any, leading: int) -> bool:
  return getattr(x, 'ndim', 0) == leading


def _of_minibatch(known, kept, hyper, objective, key):
  """(weights and derived arrays of one minibatch, sums for metrics)."""
  sampled = known['action_mask']
  known = {**known, 'action_mask': kept}
  factor, counted, kept_samples = jnp.where(kept, 1.0, 0.0), kept, None
  sums = {'count': jnp.sum(kept)}
  for name, bound in objective.selections.items():
    key, own_key = jax.random.split(key)
    keep, count = bound(known, hyper[f'selections.{name}'], key=own_key)
    if keep.ndim == 1:
      kept_samples = keep if kept_samples is None else kept_samples & keep
      places = (known['sample_ids'], known['segment_ids'])
      keep, count = (masking.sample_to_token(x, *places) for x in (keep, count))
    elif objective.is_of_samples:
      raise ObjectiveError(
        f'{bound.name} selects tokens, and {objective.loss.name} is a loss of whole samples'
      )
    factor, counted = jnp.where(keep, factor, 0), counted & count
    sums[f'method/{name}/kept'] = jnp.sum(kept & keep)
  if objective.correction is not None:
    weight, count = objective.correction(known, hyper['correction'])
    factor, counted = factor * weight, counted & count
    sums |= {
      'mismatch/weight_mean': masking.masked_sum(weight, kept),
      'mismatch/rejected': jnp.sum(kept & (weight == 0)),
    }
  derived = {
    name: bound(known, hyper[f'derived.{name}'], key=key)
    for name, bound in objective.derived.items()
  }
  weights = objective.weights({**known, 'action_mask': counted}, hyper['weights'], key=key)
  if objective.is_of_samples:
    if kept_samples is not None:
      there = masking.sample_to_segment(kept_samples, known['sample_ids'])
      weights = jnp.where(there, weights, 0)
  else:
    weights = weights * factor
  full = objective.full_weights(
    {**known, 'action_mask': sampled}, hyper['full_weights'], key=key
  )
  return {'policy': weights, 'full': full, 'derived': derived}, sums


def _metrics(sums: Mapping[str, Array]) -> dict[str, Array]:
  """Σ over minibatches → fractions and means over the tokens of the iteration."""
  total = {name: jnp.sum(x.astype(jnp.float32)) for name, x in sums.items()}
  count = jnp.maximum(total.pop('count'), 1)
  return {name: x / count for name, x in total.items()}
