"""The parameters of the decoder: shapes, logical axes, random values.

Parameters, L layers stacked on the leading axis (scanned):

    embedding [V, D]   head [V, D] (untied only)   final_norm [D]   value_head [D] or [D, bins]
    layers: attention_norm, mlp_norm [L, D]   wq [L, D, H, d]   wk, wv [L, D, KV, d]
      wo [L, H, d, D]   w_gate, w_up [L, D, F]   w_down [L, F, D]
      bq [L, H, d], bk, bv [L, KV, d] (qkv_bias)   q_norm, k_norm [L, d] (qk_norm)
      attention_post_norm, mlp_post_norm [L, D] (post_norms)
      router [L', D, E]   expert_gate, expert_up [L', E, D, F']   expert_down [L', E, F', D]

With experts, L' counts the layers that have them and the leading axis of w_gate, w_up and w_down
those that have not.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from rljax.models.config import DecoderConfig

Array = jax.Array
PyTree = Any

EXPERTS = ('router', 'expert_gate', 'expert_up', 'expert_down')
DENSE = ('w_gate', 'w_up', 'w_down')


def shapes(config: DecoderConfig) -> PyTree:
  """Shapes and logical axes of the parameters: leaves (shape, axes)."""
  c = config
  layers = {
    'attention_norm': ((c.d_model,), (None,)),
    'wq': ((c.d_model, c.num_heads, c.head_dim), ('embed', 'heads', 'head_dim')),
    'wk': ((c.d_model, c.num_kv_heads, c.head_dim), ('embed', 'kv_heads', 'head_dim')),
    'wv': ((c.d_model, c.num_kv_heads, c.head_dim), ('embed', 'kv_heads', 'head_dim')),
    'wo': ((c.num_heads, c.head_dim, c.d_model), ('heads', 'head_dim', 'embed')),
    'mlp_norm': ((c.d_model,), (None,)),
    'router': ((c.d_model, c.num_experts), (None, None)),
    'expert_gate': ((c.num_experts, c.d_model, c.d_expert), ('expert', 'embed', 'mlp')),
    'expert_up': ((c.num_experts, c.d_model, c.d_expert), ('expert', 'embed', 'mlp')),
    'expert_down': ((c.num_experts, c.d_expert, c.d_model), ('expert', 'mlp', 'embed')),
    'w_gate': ((c.d_model, c.d_ff), ('embed', 'mlp')),
    'w_up': ((c.d_model, c.d_ff), ('embed', 'mlp')),
    'w_down': ((c.d_ff, c.d_model), ('mlp', 'embed')),
  }
  if c.qkv_bias:
    layers['bq'] = ((c.num_heads, c.head_dim), ('heads', 'head_dim'))
    layers['bk'] = ((c.num_kv_heads, c.head_dim), ('kv_heads', 'head_dim'))
    layers['bv'] = ((c.num_kv_heads, c.head_dim), ('kv_heads', 'head_dim'))
  if c.qk_norm:
    layers['q_norm'] = ((c.head_dim,), (None,))
    layers['k_norm'] = ((c.head_dim,), (None,))
  if c.post_norms:
    layers['attention_post_norm'] = ((c.d_model,), (None,))
    layers['mlp_post_norm'] = ((c.d_model,), (None,))
  counts = {name: len(layers_of(c, name)) for name in layers}
  layers = {k: ((counts[k], *s), ('layers', *a)) for k, (s, a) in layers.items() if counts[k]}
  tree = {
    'embedding': ((c.vocab_size, c.d_model), ('vocab', None)),
    'layers': layers,
    'final_norm': ((c.d_model,), (None,)),
  }
  if not c.tie_embeddings:
    tree['head'] = ((c.vocab_size, c.d_model), ('vocab', None))
  if c.value_head:
    bins = () if c.value_head == 1 else (c.value_head,)
    tree['value_head'] = ((c.d_model, *bins), (None, *(None for _ in bins)))
  return tree


def layers_of(config: DecoderConfig, name: str) -> tuple[int, ...]:
  """The numbers of the layers that have the parameter."""
  if name in EXPERTS:
    return config.sparse_layers
  every = range(config.num_layers)
  return tuple(n for n in every if name not in DENSE or n not in config.sparse_layers)


def runs(config: DecoderConfig) -> list[range]:
  """The layers, cut where one with experts and one without meet."""
  sparse = [n in config.sparse_layers for n in range(config.num_layers)]
  cuts = [n for n in range(1, config.num_layers) if sparse[n] != sparse[n - 1]]
  return [range(a, b) for a, b in itertools.pairwise([0, *cuts, config.num_layers])]


def of_run(config: DecoderConfig, layers: dict[str, Array], run: range) -> dict[str, Array]:
  """The weights of some layers that follow each other, all with experts or none."""
  if len(run) == config.num_layers:
    return layers
  out = {}
  for name, x in layers.items():
    places = [i for i, n in enumerate(layers_of(config, name)) if n in run]
    if places:
      some = slice(places[0], places[-1] + 1)
      out[name] = jax.tree.map(lambda y, some=some: y[some], x)
  return out


def is_spec(x: Any) -> bool:
  """Whether `x` is a leaf of `shapes`."""
  return isinstance(x, tuple)


def axes(config: DecoderConfig) -> PyTree:
  """Logical axis names of each parameter; None = never sharded."""
  return jax.tree.map(lambda spec: spec[1], shapes(config), is_leaf=is_spec)


def init(config: DecoderConfig, key: Array) -> PyTree:
  """Random parameters.

  Norms scale with 1, biases and value head 0, embedding and head N(0, 1/D), other weights
  N(0, 1/fan-in) and those that write to the residual stream divided by √(2L) besides.
  """
  dtype = jnp.dtype(config.param_dtype)
  specs, tree = jax.tree.flatten_with_path(shapes(config), is_leaf=is_spec)
  keys = jax.random.split(key, len(specs))

  def leaf(path, spec, key):
    name, (shape, _) = path[-1].key, spec
    if name.endswith('norm'):
      return jnp.full(shape, 0 if config.norm_plus_one else 1, dtype)
    if name == 'value_head' or name in ('bq', 'bk', 'bv'):
      return jnp.zeros(shape, dtype)
    fan_in = {'wo': config.num_heads * config.head_dim, 'w_down': config.d_ff}
    fan_in['expert_down'] = config.d_expert
    std = fan_in.get(name, config.d_model) ** -0.5
    if name in fan_in:
      std /= (2 * config.num_layers) ** 0.5
    return jax.random.normal(key, shape, dtype) * std

  leaves = [leaf(path, spec, k) for (path, spec), k in zip(specs, keys)]
  return jax.tree.unflatten(tree, leaves)


def cast(config: DecoderConfig, params: PyTree) -> PyTree:
  """Parameters in the compute dtype, so that each use need not cast.

  Norm scales, value head and routers stay as they are: they are used in at least float32.
  """
  dtype = jnp.dtype(config.compute_dtype)

  def leaf(path, x):
    name = path[-1].key
    stays = name.endswith('norm') or name in ('value_head', 'router')
    return x if stays else x.astype(dtype)

  return jax.tree.map_with_path(leaf, params)
