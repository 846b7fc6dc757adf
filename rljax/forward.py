"""One pass of a policy over packed rows, with the token statistics that are asked for."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.logprobs import token_statistics
from rljax.structs import Array, Policy, PyTree

ROUTER = ('router_load', 'router_mass', 'router_entropy', 'router_replaced')


def token_temperature(temperature: Array, sample_ids: Array, segment_ids: Array) -> Array:
  """[N] -> [..., T]: what logits are divided by; greedy samples and padding count as 1."""
  scale = masking.sample_to_token(temperature, sample_ids, segment_ids)
  return jnp.where(scale > 0, scale, 1.0)


def params_of(
  policies: Mapping[str, Policy], params: Mapping[str, PyTree], role: str
) -> PyTree:
  """What the functions of a role's policy take for params: its own, or those beside it too."""
  beside = policies[role].beside
  return {name: params[name] for name in (role, *beside)} if beside else params[role]


def forward(
  policy: Policy,
  params: PyTree,
  rows: Mapping[str, Array],
  temperature: Array,
  *,
  statistics: tuple[str, ...] = (),
  constant: tuple[str, ...] = (),
  value: bool = False,
  scores: bool = False,
  capture: tuple[str, ...] = (),
  router: bool = False,
  routing: Array | None = None,
  where: Array | None = None,
  chunk_size: int = 512,
  others: Mapping[str, tuple[Policy, PyTree]] | None = None,
  **options: Array | int | tuple[Array, ...] | None,
) -> dict[str, Array]:
  """One pass over rows [r, T]: the token statistics asked for, 'values', 'token_scores', and what
  `capture` names.

  `values[t]` is the value of the state from which tokens[t] is drawn, i.e. of tokens[<t], or the
  logits of its histogram [r, T, bins];
  `token_scores[t]` is what the same head says once tokens[t] is there. To be captured are 'hidden'
  [r, T, D], once tokens[t] is there, 'attention_entropy', of the state from which tokens[t] is
  drawn, and 'router_probs' at tokens[t], with 'router_choices'. With `router` comes what a model
  with experts says of them (`ROUTER`); `routing` [r, T, L', k] is the choice that it makes again.
  A statistic that compares with another role takes a pass of that role too: `others`, role ->
  (policy, parameters), with its own choice of experts. Those named in `constant` are not
  differentiated; `where` and `options` are those of `token_statistics`.
  """
  hidden, aux = _hidden(policy, params, rows, capture, routing)
  out = {'hidden': hidden} if 'hidden' in capture else {}
  if router:
    out |= {name: aux[name] for name in ROUTER if name in aux}
  if 'router_probs' in capture:
    out |= {'router_probs': aux['router_probs'], 'router_choices': aux['routing']}
  if 'attention_entropy' in capture:
    out['attention_entropy'] = masking.shift(aux['attention_entropy'], rows['segment_ids'])
  if statistics:
    out |= token_statistics(
      policy.unembed,
      policy.head(params),
      hidden,
      rows['tokens'],
      rows['segment_ids'],
      temperature=temperature,
      statistics=statistics,
      constant=constant,
      where=where,
      chunk_size=chunk_size,
      others={role: _head_and_hidden(*other, rows) for role, other in (others or {}).items()},
      **options,
    )
  if value or scores:
    said = policy.value(params, hidden)
    out |= {'values': _of_next(said, rows['segment_ids'])} if value else {}
    out |= {'token_scores': said} if scores else {}
  return out


def _of_next(said: Array, segment_ids: Array) -> Array:
  """What was said at a token as what is said of the next one: [r, T], or [r, T, bins]."""
  bins = said.ndim > segment_ids.ndim
  shift = jax.vmap(masking.shift, (-1, None), -1) if bins else masking.shift
  return shift(said, segment_ids)


def _hidden(
  policy: Policy,
  params: PyTree,
  rows: Mapping[str, Array],
  capture: tuple[str, ...] = (),
  routing: Array | None = None,
) -> tuple[Array, dict[str, Array]]:
  inside = tuple(name for name in capture if name != 'hidden')
  return policy.hidden(
    params,
    rows['tokens'],
    segment_ids=rows['segment_ids'],
    positions=rows['positions'],
    prefix_ids=rows.get('prefix_ids'),
    **({'capture': inside} if inside else {}),  # other people's models know no such arguments
    **({} if routing is None else {'routing': routing}),
  )


def _head_and_hidden(policy: Policy, params: PyTree, rows: Mapping[str, Array]) -> tuple:
  return policy.unembed, policy.head(params), _hidden(policy, params, rows)[0]
