"""Numbers far above their running median, and how far the samples of such an iteration moved."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from rljax import arrays
from rljax.forward import forward, params_of, token_temperature
from rljax.metrics.sinks import to_number
from rljax.prepare import map_micro
from rljax.structs import Array, Batch, Policy, PyTree

WATCHED = ('update/grad_norm', 'policy/kl_old', 'policy/kl_ref')


def spikes(
  scalars: Mapping[str, Any], past: dict[str, list[float]], *, factor: float, window: int
) -> dict[str, tuple[float, float]]:
  """(value, median) of the metrics that are above `factor` times the median of their past.

  Args:
    scalars: of an iteration, by name.
    past: the last finite values of each metric; these are added.
    factor: 0 = nothing is a spike.
    window: values in the past; nothing is a spike before they are there.
  """
  found = {}
  for name in WATCHED:
    value = to_number(name, scalars.get(name, math.nan))
    if not math.isfinite(value):
      continue
    series = past.setdefault(name, [])
    if factor and len(series) == window and 0 < factor * statistics.median(series) < value:
      found[name] = (value, statistics.median(series))
    series.append(value)
    del series[:-window]
  return found


def make_log_ratios(policies: Mapping[str, Policy], *, chunk_size: int) -> Callable[..., Array]:
  """Builds `log_ratios(params, batch) -> float [K, M, r, T]`, in nats.

  log π(token) under params − the same when it was drawn, at the sample's temperature; 0 where
  nothing was sampled. `params` are of the policy, and of the roles that it needs beside it.
  """

  def log_ratios(params: Mapping[str, PyTree], batch: Batch) -> Array:
    def pass_of(rows):
      temperature = token_temperature(batch.temperature, rows['sample_ids'], rows['segment_ids'])
      return forward(
        policies['policy'],
        params_of(policies, params, 'policy'),
        rows,
        temperature,
        statistics=('logprobs',),
        routing=rows.get('routing'),
        where=rows['action_mask'],
        chunk_size=chunk_size,
      )['logprobs']

    found = map_micro(pass_of, arrays.token_arrays(batch), batch.num_micro)
    return jnp.where(batch.action_mask, found - batch.policy_logprobs, 0)

  return log_ratios
