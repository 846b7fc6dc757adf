"""The decoder against a cache: prompts at once, then one token or a few for each row and step.

Layers with a window keep as many tokens as the others: prompts are padded and rows may rest, so the
last tokens of a row need not be the last that were written. What lies outside of the window of
every row is not read.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rljax.models.attention import attention
from rljax.models.cache import (
  TOKEN_AXIS,
  as_blocks,
  as_rows,
  noted,
  over_mesh,
  real,
  stored,
  write,
  write_at,
)
from rljax.models.cache_attention import attend_to_cache, entries, seen_blocks
from rljax.models.config import DecoderConfig
from rljax.models.experts import mix_experts
from rljax.models.layer_kinds import over_constant_layers
from rljax.models.layers import Mix, embed, layer, norm, rope_tables
from rljax.models.parameters import of_run
from rljax.sharding import BATCH_ROWS, constrain

Array = jax.Array
PyTree = Any


def _activations(x: Array) -> Array:
  return constrain(x, BATCH_ROWS, 'sequence', None)


def _stacks(config: DecoderConfig, params: PyTree, cache: PyTree) -> list[tuple[Any, PyTree]]:
  """(kinds of the layers, their weights) of each stack of the cache."""
  first, out = 0, []
  for stack in cache['given']:
    run = range(first, first + stack['k'][0].shape[0])
    out.append((config.kinds[run.start : run.stop], of_run(config, params['layers'], run)))
    first = run.stop
  return out


def _asking(config: DecoderConfig) -> tuple[Mix, dict[str, Array]]:
  """(what asks the experts, the dict in which it leaves the choice [R, Q, k])."""
  seen: dict[str, Array] = {}

  def mix(w, x):
    out, said = mix_experts(config, w, x)
    seen['routing'] = said['routing']
    return out

  return mix, seen


# -- prefill


def prefill(
  config: DecoderConfig, params: PyTree, cache: PyTree, tokens: Array, starts: Array
) -> tuple[Array, PyTree]:
  """See `Policy.prefill`. Tokens that would stand behind the end of `given` are not written."""
  rows, new = tokens.shape
  length = sum(x.shape[TOKEN_AXIS['k']] for x in cache['given'][0]['k'])
  positions = starts[:, None] + jnp.arange(new, dtype=jnp.int32)[None, :]
  tables = rope_tables(config, positions)
  source = jnp.arange(length, dtype=jnp.int32)[None, :] - starts[:, None]
  fresh = (source >= 0) & (source < new)
  source = jnp.clip(source, 0, new - 1)

  def body(x, kind, inputs):
    w, old = inputs
    written = {}
    mix, seen = _asking(config)

    def keep(fields):
      for name, new in fields.items():
        inner = (1,) * (new.ndim - 2)
        spread = jnp.take_along_axis(new, source.reshape(rows, length, *inner), axis=1)
        whole = as_rows(name, old[name])
        written[name] = jnp.where(fresh.reshape(rows, length, *inner), spread, whole)

    def attend(q, k, v):
      keep(stored(k, v, old))
      return attention(
        q, real(written, 'k', q.dtype), real(written, 'v', q.dtype), positions=positions,
        kv_lengths=jnp.full((rows,), length, jnp.int32), window=kind.window,
        softcap=config.attention_softcap, scale=config.attention_scale,
        query_block=config.query_block,
      )  # fmt: skip

    x = _activations(layer(config, w, x, tables[kind], attend, mix)[0])
    keep(noted(seen, old))
    return x, {name: as_blocks(name, written[name], old[name]) for name in old}

  x = _activations(embed(config, params['embedding'], tokens, 'scatter'))
  given = []
  for (kinds, w), stack in zip(_stacks(config, params, cache), cache['given']):
    x, stack = over_constant_layers(kinds, body, x, (w, stack))
    given.append(jax.tree.map(over_mesh, stack))
  return norm(config, x, params['final_norm']), {**cache, 'given': tuple(given)}


# -- decode


def decode(
  config: DecoderConfig, params: PyTree, cache: PyTree, tokens: Array, positions: Array
) -> tuple[Array, PyTree]:
  """See `Policy.decode`.

  A layer attends to the cache as it was and to its own key, so that the layers only read the cache
  and one write for all of them ends the step.
  """
  rows, active = tokens.shape[0], positions >= 0
  if not cache['drawn_at'].shape[1]:
    raise ValueError('decode: the cache has room for given tokens only; give init_cache drawn > 0')
  given_length, drawn_at = entries(cache, positions)
  masks = seen_blocks(config, cache, given_length[:rows], drawn_at[:rows], positions[:, None])
  tables = rope_tables(config, jnp.maximum(positions, 0)[:, None])
  x = embed(config, params['embedding'], tokens[:, None], 'scatter')
  x, drawn = _activations(x), []
  place = cache['step'] % drawn_at.shape[1]
  for (kinds, w), given, ring in zip(
    _stacks(config, params, cache), cache['given'], cache['drawn']
  ):

    def body(x, kind, inputs, given=given, ring=ring):
      w, number = inputs

      def attend(q, k, v):
        return attend_to_cache(config, kind, q, k, v, (given, ring), number, masks[kind])

      mix, seen = _asking(config)
      x, k, v = layer(config, w, x, tables[kind], attend, mix)
      fields = {**stored(k, v, ring), **noted(seen, ring)}
      return _activations(x), {name: field[:, 0] for name, field in fields.items()}

    depth = given['k'][0].shape[0]
    x, new = over_constant_layers(kinds, body, x, (w, jnp.arange(depth, dtype=jnp.int32)))
    at = _after(place, x)
    drawn.append({name: write(name, ring[name], new[name], at) for name in ring})
  at = jnp.where(active, positions, -1)
  at = jnp.pad(at, (0, drawn_at.shape[0] - rows), constant_values=-1)
  cache = {
    'given': cache['given'],
    'drawn': tuple(drawn),
    'given_length': given_length,
    'drawn_at': lax.dynamic_update_slice_in_dim(drawn_at, at[:, None], place, axis=1),
    'step': cache['step'] + 1,
  }
  return norm(config, x[:, 0], params['final_norm']), cache


def extend(
  config: DecoderConfig, params: PyTree, cache: PyTree, tokens: Array, positions: Array
) -> tuple[Array, PyTree]:
  """See `Policy.extend`. Tokens that would stand behind the end of `given` are not written.

  As in `decode` the layers only read the cache, and attend to the new tokens beside it.
  """
  rows, new = tokens.shape
  if cache['drawn_at'].shape[1]:
    raise ValueError('extend: the cache has room for decoded tokens; give init_cache drawn = 0')
  at = positions[:, None] + jnp.arange(new, dtype=jnp.int32)[None, :]
  masks = seen_blocks(config, cache, jnp.maximum(positions, 0), cache['drawn_at'][:rows], at)
  tables = rope_tables(config, jnp.maximum(at, 0))
  x = embed(config, params['embedding'], tokens, 'scatter')
  x, stacks = _activations(x), []
  for (kinds, w), given in zip(_stacks(config, params, cache), cache['given']):

    def body(x, kind, inputs, given=given):
      w, number = inputs

      def attend(q, k, v):
        return attend_to_cache(config, kind, q, k, v, (given,), number, masks[kind])

      mix, seen = _asking(config)
      x, k, v = layer(config, w, x, tables[kind], attend, mix)
      return _activations(x), {**stored(k, v, given), **noted(seen, given)}

    depth = given['k'][0].shape[0]
    x, fields = over_constant_layers(kinds, body, x, (w, jnp.arange(depth, dtype=jnp.int32)))
    place = _after(positions, x)
    stacks.append({name: write_at(name, given[name], fields[name], place) for name in given})
  cache = {**cache, 'given': tuple(stacks)}
  return norm(config, x, params['final_norm']), cache


def _after(place: Array, x: Array) -> Array:
  """`place`, once x is there: the write waits for the reads, else XLA reads a copy of the cache."""
  some = x[0, 0, 0]
  return place + ((some > 1) & (some < 0))  # nothing is added
