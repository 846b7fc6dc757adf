"""The decoder against a cache: prompts at once, then one token or a few for each row and step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rljax.models.attention import MASKED, PRECISION, attention
from rljax.models.cache import (
  TOKEN_AXIS,
  as_block,
  as_blocks,
  as_rows,
  noted,
  over_mesh,
  real,
  stored,
  write,
  write_at,
)
from rljax.models.config import DecoderConfig
from rljax.models.experts import mix_experts
from rljax.models.layers import Mix, embed, layer, rms_norm, rope_table, wide
from rljax.models.parameters import of_run
from rljax.sharding import ROWS, constrain

Array = jax.Array
PyTree = Any


def _activations(x: Array) -> Array:
  return constrain(x, ROWS, 'sequence', None)


def _stacks(config: DecoderConfig, params: PyTree, cache: PyTree) -> list[PyTree]:
  """The weights of each stack of the cache."""
  first, out = 0, []
  for stack in cache['given']:
    count = stack['k'][0].shape[0]
    out.append(of_run(config, params['layers'], range(first, first + count)))
    first += count
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
  table = rope_table(config, positions)
  source = jnp.arange(length, dtype=jnp.int32)[None, :] - starts[:, None]
  fresh = (source >= 0) & (source < new)
  source = jnp.clip(source, 0, new - 1)

  def body(x, inputs):
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
        kv_lengths=jnp.full((rows,), length, jnp.int32), window=config.window,
        query_block=config.query_block,
      )  # fmt: skip

    x = _activations(layer(config, w, x, table, attend, mix)[0])
    keep(noted(seen, old))
    return x, {name: as_blocks(name, written[name], old[name]) for name in old}

  x = _activations(embed(params['embedding'], tokens, jnp.dtype(config.compute_dtype), 'scatter'))
  given = []
  for w, stack in zip(_stacks(config, params, cache), cache['given']):
    x, stack = lax.scan(body, x, (w, stack))
    given.append(jax.tree.map(over_mesh, stack))
  return rms_norm(x, params['final_norm'], config.norm_eps), {**cache, 'given': tuple(given)}


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
  given_length, drawn_at = _entries(cache, positions)
  masks = _masks(config, cache, given_length[:rows], drawn_at[:rows], positions[:, None])
  table = rope_table(config, jnp.maximum(positions, 0)[:, None])
  x = embed(params['embedding'], tokens[:, None], jnp.dtype(config.compute_dtype), 'scatter')
  x, drawn = _activations(x), []
  place = cache['step'] % drawn_at.shape[1]
  for w, given, ring in zip(_stacks(config, params, cache), cache['given'], cache['drawn']):

    def body(x, inputs, given=given, ring=ring):
      w, number = inputs

      def attend(q, k, v):
        return _attend(q, k, v, (given, ring), number, masks)

      mix, seen = _asking(config)
      x, k, v = layer(config, w, x, table, attend, mix)
      fields = {**stored(k, v, ring), **noted(seen, ring)}
      return _activations(x), {name: field[:, 0] for name, field in fields.items()}

    depth = given['k'][0].shape[0]
    x, new = lax.scan(body, x, (w, jnp.arange(depth, dtype=jnp.int32)))
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
  return rms_norm(x[:, 0], params['final_norm'], config.norm_eps), cache


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
  masks = _masks(config, cache, jnp.maximum(positions, 0), cache['drawn_at'][:rows], at)[:1]
  table = rope_table(config, jnp.maximum(at, 0))
  x = embed(params['embedding'], tokens, jnp.dtype(config.compute_dtype), 'scatter')
  x, stacks = _activations(x), []
  for w, given in zip(_stacks(config, params, cache), cache['given']):

    def body(x, inputs, given=given):
      w, number = inputs

      def attend(q, k, v):
        return _attend(q, k, v, (given,), number, masks, config.window)

      mix, seen = _asking(config)
      x, k, v = layer(config, w, x, table, attend, mix)
      return _activations(x), {**stored(k, v, given), **noted(seen, given)}

    depth = given['k'][0].shape[0]
    x, fields = lax.scan(body, x, (w, jnp.arange(depth, dtype=jnp.int32)))
    place = _after(positions, x)
    stacks.append({name: write_at(name, given[name], fields[name], place) for name in given})
  cache = {**cache, 'given': tuple(stacks)}
  return rms_norm(x, params['final_norm'], config.norm_eps), cache


def _entries(cache: PyTree, positions: Array) -> tuple[Array, Array]:
  """(tokens of each row that are given, position of each drawn entry) before this step.

  What stands at or behind the position of a row is gone; where nothing is drawn, all is given.
  """
  rows = cache['drawn_at'].shape[0]
  at = jnp.pad(positions, (0, rows - positions.shape[0]), constant_values=-1)
  gone = (at[:, None] >= 0) & (cache['drawn_at'] >= at[:, None])
  drawn_at = jnp.where(gone, -1, cache['drawn_at'])
  fresh = (at >= 0) & jnp.all(drawn_at < 0, axis=1)
  return jnp.where(fresh, at, cache['given_length']), drawn_at


def _masks(config, cache, given_length, drawn_at, positions) -> list[list[tuple[Array, Array]]]:
  """For each block of both regions: (which of its tokens a query sees, whether any is seen).

  Args:
    positions: int32 [R, Q], of the new tokens of each row; they see what stands before the first.

  Returns:
    Masks bool [R, 1, Q, 1, block], or with 1 for Q where the queries see the same.
  """
  length = sum(x.shape[TOKEN_AXIS['k']] for x in cache['given'][0]['k'])
  slots = jnp.arange(length, dtype=jnp.int32)[None, :]
  given_at = jnp.where(slots < given_length[:, None], slots, -1)
  out = []
  for region, at in (('given', given_at), ('drawn', drawn_at)):
    at = at[:, None, :]
    seen = (at >= 0) & (at < positions[:, :1, None])
    if config.window is not None:
      seen &= positions[:, :, None] - at < config.window
    widths = [x.shape[TOKEN_AXIS['k']] for x in cache[region][0]['k']]
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    parts = jnp.split(seen[:, None, :, None, :], ends[:-1], axis=-1)
    out.append([(part, jnp.any(part)) for part in parts])
  return out


def _attend(q, k, v, regions, number, masks, window=None) -> Array:
  """Attention of Q new tokens a row: [R, Q, H, d] over the blocks of their past and themselves.

  Args:
    q: [R, Q, H, d].
    k, v: [R, Q, KV, d], of the tokens themselves, which follow each other.
    regions: stacks of the regions of the cache.
    number: int32 scalar, the layer within the stack.
    masks: see `_masks`. A block that nobody sees is not read.
    window: of the tokens themselves.
  """
  rows, new, heads, depth = q.shape
  high = wide(q.dtype)
  grouped = jnp.moveaxis(q.reshape(rows, new, k.shape[2], heads // k.shape[2], depth), 1, 2)
  own = jnp.einsum(
    'rkqgd,rqkd->rkqg', grouped, k, precision=PRECISION, preferred_element_type=high
  )
  values = jnp.broadcast_to(jnp.moveaxis(v, 1, 2)[:, :, :, None, :].astype(high), grouped.shape)
  carry = (own * depth**-0.5, jnp.ones_like(own), values)  # highest score, Σ weights, Σ weights·v
  if new > 1:  # of each other they see what the cache will hold, as later tokens do
    ahead = jnp.arange(new)[:, None] - jnp.arange(new)[None, :]
    seen = ((ahead > 0) & (ahead < (window or new)))[None, None, :, None, :]
    carry = _add_block(grouped, as_block(stored(k, v, regions[0])), seen, carry)

  for stack, blocks in zip(regions, masks):
    for i, (seen, used) in enumerate(blocks):

      def add(_, carry, i=i, seen=seen, stack=stack):
        block = {name: _of_layer(x[i], number, rows) for name, x in stack.items()}
        return _add_block(grouped, block, seen, carry)

      # A loop of one turn or none and not a branch: XLA copies what a branch reads of a carry.
      carry = lax.fori_loop(0, used.astype(jnp.int32), add, carry)
  _, total, out = carry
  out = jnp.moveaxis((out / total[..., None]).astype(q.dtype), 2, 1)
  return out.reshape(rows, new, heads, depth)


def _add_block(q: Array, block: PyTree, seen: Array, carry: tuple) -> tuple:
  """The running softmax of queries [R, KV, Q, G, d] with one more block of keys and values."""
  top, total, out = carry
  how = dict(precision=PRECISION, preferred_element_type=out.dtype)
  scores = jnp.einsum('rkqgd,rkds->rkqgs', q, block['k'].astype(q.dtype), **how)
  if 'k_scale' in block:
    scores *= block['k_scale'][:, :, None, None, :]
  scores = jnp.where(seen, scores * q.shape[-1] ** -0.5, MASKED)
  new_top = jnp.maximum(top, jnp.max(scores, axis=-1))
  weights, kept = jnp.exp(scores - new_top[..., None]), jnp.exp(top - new_top)
  total = total * kept + jnp.sum(weights, axis=-1)
  if 'v_scale' in block:
    weights *= block['v_scale'][:, :, None, None, :]
  values = block['v'].astype(q.dtype)
  part = jnp.einsum('rkqgs,rksd->rkqgd', weights.astype(q.dtype), values, **how)
  return new_top, total, out * kept[..., None] + part


def _of_layer(x: Array, number: Array, rows: int) -> Array:
  """The first rows of one layer of a stack."""
  if x.shape[0] == 1:
    return x[0, :rows]
  return lax.dynamic_slice(x, (number, *(0,) * (x.ndim - 1)), (1, rows, *x.shape[2:]))[0]


def _after(place: Array, x: Array) -> Array:
  """`place`, once x is there: the write waits for the reads, else XLA reads a copy of the cache."""
  some = x[0, 0, 0]
  return place + ((some > 1) & (some < 0))  # nothing is added
