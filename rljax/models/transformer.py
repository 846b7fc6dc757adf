"""One decoder for Llama 3, Qwen2 and Qwen3, as a `Policy`: plain functions over a pytree.

The parameters are described in `parameters`; their layers are stacked and scanned. The cache is
{'k', 'v'}: [L, rows, KV, length, d] in the compute dtype.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from rljax.models.attention import PRECISION, attention
from rljax.models.config import DecoderConfig
from rljax.models.layers import embed, layer, rms_norm, rope_table, wide
from rljax.models.parameters import axes, cast, init
from rljax.sharding import ROWS, constrain
from rljax.structs import Policy

Array = jax.Array
PyTree = Any


def decoder(
  *,
  vocab_size: int,
  num_layers: int = 2,
  d_model: int = 128,
  num_heads: int = 4,
  num_kv_heads: int = 2,
  head_dim: int | None = None,
  d_ff: int | None = None,
  rope_theta: float = 10000.0,
  rope_scaling: tuple[float, float, float, float] | None = None,
  qkv_bias: bool = False,
  qk_norm: bool = False,
  tie_embeddings: bool = True,
  norm_eps: float = 1e-6,
  window: int | None = None,
  value_head: bool = False,
  compute_dtype: str = 'float32',
  param_dtype: str = 'float32',
  remat: str = 'none',
  embed_gradient: str = 'scatter',
  query_block: int = 512,
) -> Policy:
  """A decoder as a `Policy`; the hyper-parameters are those of `DecoderConfig`.

  Raises:
    ValueError: hyper-parameters that do not fit each other.

  Source: Llama 3 (arXiv 2407.21783), Qwen2 (2407.10671), Qwen3 (2505.09388).
  Differs from the source: nothing in the maths; random weights are drawn by `init`'s own rule.
  """
  return from_config(DecoderConfig(**locals()))


def from_config(config: DecoderConfig) -> Policy:
  """The `Policy` of a `DecoderConfig`."""
  bind = functools.partial
  return Policy(
    init=bind(init, config),
    hidden=bind(hidden, config),
    head=bind(head, config),
    unembed=bind(unembed, config),
    init_cache=bind(init_cache, config),
    prefill=bind(prefill, config),
    decode=bind(decode, config),
    take=take,
    put=put,
    axes=axes(config),
    value=value if config.value_head else None,
    cast=bind(cast, config),
  )


# -- training form


def hidden(
  config: DecoderConfig,
  params: PyTree,
  tokens: Array,
  *,
  segment_ids: Array,
  positions: Array,
  prefix_ids: Array | None = None,
  routing: Any = None,
) -> tuple[Array, dict[str, Array]]:
  """See `Policy.hidden`. A dense model has no routing: aux is {}."""
  del routing
  dtype = jnp.dtype(config.compute_dtype)
  table = rope_table(config, positions)

  def attend(q, k, v):
    return attention(
      q, k, v, segment_ids=segment_ids, prefix_ids=prefix_ids, positions=positions,
      window=config.window, query_block=config.query_block,
    )  # fmt: skip

  def body(x, w):
    return _rows(layer(config, w, x, table, attend)[0]), None

  x = _rows(embed(params['embedding'], tokens, dtype, config.embed_gradient))
  x, _ = jax.lax.scan(_remat(body, config.remat), x, params['layers'])
  return rms_norm(x, params['final_norm'], config.norm_eps), {}


def _rows(x: Array) -> Array:
  """Activations [R, T, D] over the mesh: rows and, where there is a sequence axis, slots."""
  return constrain(x, ROWS, 'sequence', None)


def _remat(body, name: str):
  if name == 'none':
    return body
  policies = jax.checkpoint_policies
  policy = policies.dots_with_no_batch_dims_saveable if name == 'dots' else None
  return jax.checkpoint(body, policy=policy, prevent_cse=False)


def head(config: DecoderConfig, params: PyTree) -> Array:
  """The [V, D] matrix of the head."""
  return params['embedding' if config.tie_embeddings else 'head']


def unembed(config: DecoderConfig, head: Array, hidden: Array) -> Array:
  """Logits [..., V], at least float32."""
  del config
  return jnp.einsum(
    '...d,vd->...v', hidden, head.astype(hidden.dtype), precision=PRECISION,
    preferred_element_type=wide(hidden.dtype),
  )  # fmt: skip


def value(params: PyTree, hidden: Array) -> Array:
  """The value head: [..., D] -> [...], at least float32; differentiated in both."""
  dtype = wide(hidden.dtype)
  weight = params['value_head'].astype(dtype)
  return jnp.einsum('...d,d->...', hidden.astype(dtype), weight, precision=PRECISION)


# -- cache form


def init_cache(config: DecoderConfig, num_rows: int, length: int) -> PyTree:
  """An empty cache."""
  shape = (config.num_layers, num_rows, config.num_kv_heads, length, config.head_dim)
  zeros = jnp.zeros(shape, jnp.dtype(config.compute_dtype))
  return {name: _cache_rows(zeros) for name in ('k', 'v')}


def _cache_rows(x: Array) -> Array:
  """Keys or values [L, rows, KV, length, d] over the mesh."""
  return constrain(x, None, ROWS, 'tensor', None, None)


def prefill(
  config: DecoderConfig, params: PyTree, cache: PyTree, tokens: Array, starts: Array
) -> tuple[Array, PyTree]:
  """See `Policy.prefill`. Tokens that would stand behind the cache's end are not written."""
  rows, new = tokens.shape
  length = cache['k'].shape[3]
  positions = starts[:, None] + jnp.arange(new, dtype=jnp.int32)[None, :]
  table = rope_table(config, positions)
  source = jnp.arange(length, dtype=jnp.int32)[None, :] - starts[:, None]
  fresh = ((source >= 0) & (source < new))[:, None, :, None]
  source = jnp.clip(source, 0, new - 1)[:, :, None, None]

  def write(old, x):  # [rows, KV, length, d], [rows, new, KV, d]
    spread = jnp.take_along_axis(x, source, axis=1)
    return jnp.where(fresh, jnp.swapaxes(spread, 1, 2), old)

  def body(x, inputs):
    w, old = inputs
    written = {}

    def attend(q, k, v):
      written.update(k=write(old['k'], k), v=write(old['v'], v))
      return attention(
        q, jnp.swapaxes(written['k'], 1, 2), jnp.swapaxes(written['v'], 1, 2),
        positions=positions, kv_lengths=jnp.full((rows,), length, jnp.int32),
        window=config.window, query_block=config.query_block,
      )  # fmt: skip

    return _rows(layer(config, w, x, table, attend)[0]), written

  dtype = jnp.dtype(config.compute_dtype)
  x = _rows(embed(params['embedding'], tokens, dtype, 'scatter'))
  x, cache = jax.lax.scan(body, x, (params['layers'], cache))
  cache = jax.tree.map(_cache_rows, cache)
  return rms_norm(x, params['final_norm'], config.norm_eps), cache


def decode(
  config: DecoderConfig, params: PyTree, cache: PyTree, tokens: Array, positions: Array
) -> tuple[Array, PyTree]:
  """See `Policy.decode`.

  A layer attends to the cache as it was and to its own key, so that the layers only read the cache
  and one write for all of them ends the step.
  """
  table = rope_table(config, positions[:, None])

  def body(x, inputs):
    w, old = inputs

    def attend(q, k, v):
      past, lse = attention(
        q, jnp.swapaxes(old['k'], 1, 2), jnp.swapaxes(old['v'], 1, 2),
        positions=positions[:, None], kv_lengths=positions, window=config.window,
        return_lse=True,
      )  # fmt: skip
      return _with_own(past, lse, q, k, v)

    x, k, v = layer(config, w, x, table, attend)
    return _rows(x), {'k': k[:, 0], 'v': v[:, 0]}

  dtype = jnp.dtype(config.compute_dtype)
  x = _rows(embed(params['embedding'], tokens[:, None], dtype, 'scatter'))
  x, new = jax.lax.scan(body, x, (params['layers'], cache))
  cache = {name: _cache_rows(_write(x, new[name], positions)) for name, x in cache.items()}
  return rms_norm(x[:, 0], params['final_norm'], config.norm_eps), cache


def _write(cache: Array, new: Array, positions: Array) -> Array:
  """Keys or values [L, rows, KV, d] at each row's position of the cache.

  A scatter that is told that rows are a batch: on a mesh each device writes its own rows. (Indexed
  by rows and positions it would gather the new keys of all rows first.)
  """
  numbers = jax.lax.ScatterDimensionNumbers(
    update_window_dims=(1, 2, 3),
    inserted_window_dims=(3,),
    scatter_dims_to_operand_dims=(3,),
    operand_batching_dims=(1,),
    scatter_indices_batching_dims=(0,),
  )
  return jax.lax.scatter(
    cache, positions[:, None], jnp.swapaxes(new, 0, 1), numbers,
    indices_are_sorted=True, unique_indices=True, mode=jax.lax.GatherScatterMode.FILL_OR_DROP,
  )  # fmt: skip


def _with_own(past, lse, q, k, v):
  """Attention over the past (its output and log-sum) and the token's own key: [R, 1, H, d]."""
  repeat = q.shape[2] // k.shape[2]
  k, v = jnp.repeat(k, repeat, axis=2), jnp.repeat(v, repeat, axis=2)
  own = jnp.sum(q.astype(lse.dtype) * k.astype(lse.dtype), axis=-1) * q.shape[3] ** -0.5
  weight = jax.nn.sigmoid(own - lse)[..., None]
  return (weight * v.astype(lse.dtype) + (1 - weight) * past.astype(lse.dtype)).astype(q.dtype)


def take(cache: PyTree, rows: Array) -> PyTree:
  """See `Policy.take`."""
  return jax.tree.map(lambda x: _cache_rows(x.at[:, rows].get(mode='clip')), cache)


def put(cache: PyTree, rows: Array, other: PyTree) -> PyTree:
  """See `Policy.put`."""
  num_rows = jax.tree.leaves(cache)[0].shape[1]
  rows = jnp.where(rows < 0, num_rows, rows)  # a negative index would count from the end
  return jax.tree.map(
    lambda x, y: _cache_rows(x.at[:, rows].set(y, mode='drop')), cache, other
  )
