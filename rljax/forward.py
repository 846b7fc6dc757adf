"""One pass of a policy over packed rows, with the token statistics that are asked for."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from rljax import masking
from rljax.logprobs import token_statistics
from rljax.structs import Array, Policy, PyTree


def token_temperature(temperature: Array, sample_ids: Array, segment_ids: Array) -> Array:
  """[N] -> [..., T]: what logits are divided by; greedy samples and padding count as 1."""
  scale = masking.sample_to_token(temperature, sample_ids, segment_ids)
  return jnp.where(scale > 0, scale, 1.0)


def forward(
  policy: Policy,
  params: PyTree,
  rows: Mapping[str, Array],
  temperature: Array,
  *,
  statistics: tuple[str, ...] = (),
  value: bool = False,
  chunk_size: int = 512,
  reference: tuple[Policy, PyTree] | None = None,
) -> dict[str, Array]:
  """One pass over rows [r, T]: the token statistics asked for, and 'values' of the states.

  `values[t]` is the value of the state from which tokens[t] is drawn, i.e. of tokens[<t]. The
  statistic 'full_kl' takes a second pass, of the `reference` (its policy and parameters).
  """
  hidden = _hidden(policy, params, rows)
  out = {}
  if statistics:
    out = token_statistics(
      policy.unembed,
      policy.head(params),
      hidden,
      rows['tokens'],
      rows['segment_ids'],
      temperature=temperature,
      statistics=statistics,
      chunk_size=chunk_size,
      reference=None if reference is None else _head_and_hidden(*reference, rows),
    )
  if value:
    out['values'] = masking.shift(policy.value(params, hidden), rows['segment_ids'])
  return out


def _hidden(policy: Policy, params: PyTree, rows: Mapping[str, Array]) -> Array:
  hidden, _ = policy.hidden(
    params,
    rows['tokens'],
    segment_ids=rows['segment_ids'],
    positions=rows['positions'],
    prefix_ids=rows.get('prefix_ids'),
  )
  return hidden


def _head_and_hidden(policy: Policy, params: PyTree, rows: Mapping[str, Array]) -> tuple:
  return policy.unembed, policy.head(params), _hidden(policy, params, rows)
