"""One decoder for several families of models, as a `Policy`: plain functions over a pytree.

The parameters are described in `parameters`; their layers are stacked and scanned. What works on
the cache stands in `cached`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rljax.models import cache, cached
from rljax.models.attention import PRECISION, attention, attention_entropy, soft_cap
from rljax.models.chosen import routed
from rljax.models.config import DecoderConfig
from rljax.models.experts import mix_experts
from rljax.models.layer_kinds import Kind, over_layers, period
from rljax.models.layers import (
  PRODUCTS,
  embed,
  layer,
  matrix_product,
  norm,
  rope_tables,
  wide,
)
from rljax.models.parameters import axes, cast, init, of_run, runs
from rljax.models.row_attention import OUTPUT, cut_rows
from rljax.sharding import BATCH_ROWS, constrain
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
  rope_scaling: tuple[float, ...] | None = None,
  qkv_bias: bool = False,
  qk_norm: bool = False,
  tie_embeddings: bool = True,
  norm_eps: float = 1e-6,
  num_experts: int = 0,
  experts_per_token: int = 8,
  d_expert: int | None = None,
  norm_topk: bool = True,
  dense_layers: tuple[int, ...] = (),
  window: int | None = None,
  global_every: int | None = None,
  local_rope_theta: float | None = None,
  query_pre_attn_scalar: float | None = None,
  attention_softcap: float | None = None,
  logit_softcap: float | None = None,
  activation: str = 'silu',
  norm_plus_one: bool = False,
  post_norms: bool = False,
  scale_embeddings: bool = False,
  value_head: bool | int = False,
  compute_dtype: str = 'float32',
  param_dtype: str = 'float32',
  remat: str = 'none',
  embed_gradient: str = 'scatter',
  query_block: int = 512,
  attention: str = 'auto',
  cache_attention: str = 'auto',
  sequence_attention: str = 'auto',
  unroll_decode: bool | None = None,
) -> Policy:
  """A decoder as a `Policy`; the hyper-parameters are those of `DecoderConfig`.

  Raises:
    ValueError: hyper-parameters that do not fit each other.

  Examples:
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> shapes = jax.eval_shape(policy.init, jax.random.key(0))
    >>> print(sorted(shapes))
    ['embedding', 'final_norm', 'layers']

  Source: Llama 3 (arXiv 2407.21783), Qwen2 (2407.10671), Qwen3 (2505.09388), Mistral (2310.06825),
    Gemma 2 (2408.00118), Gemma 3 (2503.19786).
  Differs from the source: nothing in the maths; random weights are drawn by `init`'s own rule.
  """
  return from_config(DecoderConfig(**locals()))


def from_config(config: DecoderConfig) -> Policy:
  """The `Policy` of a `DecoderConfig`.

  Examples:
    >>> config = models.DecoderConfig(vocab_size=8, num_layers=1, d_model=8, num_heads=2)
    >>> policy = models.from_config(config)
    >>> print(sorted(jax.eval_shape(policy.init, jax.random.key(0))))
    ['embedding', 'final_norm', 'layers']
  """
  bind = functools.partial
  return Policy(
    init=bind(init, config),
    hidden=bind(hidden, config),
    head=bind(head, config),
    unembed=bind(unembed, config),
    init_cache=bind(cache.init_cache, config),
    prefill=bind(cached.prefill, config),
    decode=bind(cached.decode, config),
    extend=bind(cached.extend, config),
    take=cache.take,
    put=cache.put,
    copy=cache.copy,
    axes=axes(config),
    value=value if config.value_head else None,
    cast=bind(cast, config),
    routed=routed if config.sparse_layers else None,
    products=PRODUCTS,
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
  capture: tuple[str, ...] = (),
) -> tuple[Array, dict[str, Array]]:
  """See `Policy.hidden`.

  aux has, where there are L' layers with experts, 'routing' int32 [R, T, L', k], which `routing`
  takes, 'router_load' and 'router_mass' [R, L', E], and the means over layers 'router_entropy' and
  'router_replaced' [R, T]; see `experts.mix_experts`.

  `capture` may name 'attention_entropy': [R, T], mean over heads and layers, of each token's query;
  'router_probs': [R, T, L', E], differentiated.

  Raises:
    ValueError: `capture` names what there is not, or what a soft cap leaves without a formula;
      routing of another number of layers.
  """
  known = ('attention_entropy', *(('router_probs',) if config.sparse_layers else ()))
  if unknown := set(capture) - set(known):
    raise ValueError(f'hidden: capture {sorted(unknown)} is unknown; there is {", ".join(known)}')
  if 'attention_entropy' in capture and config.attention_softcap is not None:
    raise ValueError('hidden: attention_entropy is not known of scores with a soft cap')
  choices = _by_layer(config, routing)
  tables, size = rope_tables(config, positions), config.query_block
  of_kind = {
    kind: dict(
      blocks=cut_rows(segment_ids, prefix_ids, positions, window=kind.window, query_block=size),
      window=kind.window,
    )
    for kind in tables
  }
  same = dict(positions=positions, query_block=size, scale=config.attention_scale)
  by = dict(implementation=config.attention, sequence=config.sequence_attention)
  by |= dict(segment_ids=segment_ids, prefix_ids=prefix_ids, softcap=config.attention_softcap)

  def body(x, kind: Kind, inputs):
    w, choice = inputs
    captured = {}

    def attend(q, k, v):
      if 'attention_entropy' in capture:
        entropy = attention_entropy(q, k, **of_kind[kind], **same)
        captured['attention_entropy'] = jnp.mean(entropy, axis=-1)
      return attention(q, k, v, **of_kind[kind], **same, **by)

    def mix(w, x):
      out, seen = mix_experts(config, w, x, choice=choice, used=segment_ids >= 0)
      captured.update({n: s for n, s in seen.items() if n != 'router_probs' or n in capture})
      return out

    return _rows(layer(config, w, x, tables[kind], attend, mix)[0]), captured

  x = _rows(embed(config, params['embedding'], tokens, config.embed_gradient))
  found: dict[str, list[Array]] = {}
  for run in runs(config):
    here = [i for i, n in enumerate(config.sparse_layers) if n in run]
    choice = choices[here[0] : here[-1] + 1] if here and choices is not None else None
    kinds = config.kinds[run.start : run.stop]
    inputs = (of_run(config, params['layers'], run), choice)
    x, captured = over_layers(kinds, _remat(config.remat, kinds, body), x, inputs)
    for name, of_layers in captured.items():
      found.setdefault(name, []).append(of_layers)
  aux = {name: _over_layers(name, jnp.concatenate(parts)) for name, parts in found.items()}
  return norm(config, x, params['final_norm']), aux


def _by_layer(config: DecoderConfig, routing: Array | None) -> Array | None:
  """Choices [R, T, L', k] as [L', R, T, k]."""
  if routing is None:
    return None
  wanted = (len(config.sparse_layers), config.experts_per_token)
  if routing.shape[2:] != wanted:
    raise ValueError(
      f'hidden: routing of {routing.shape[2:]} (layers with experts, choices), the model has '
      f'{wanted}'
    )
  return jnp.moveaxis(routing, 2, 0)


def _over_layers(name: str, x: Array) -> Array:
  """What layers have said [L', R, …]: after rows and slots, or as a mean."""
  if name in ('routing', 'router_probs'):
    return jnp.moveaxis(x, 0, 2)
  return jnp.moveaxis(x, 0, 1) if name in ('router_load', 'router_mass') else jnp.mean(x, axis=0)


def _rows(x: Array) -> Array:
  """Activations [R, T, D] over the mesh: rows and, where there is a sequence axis, slots."""
  return constrain(x, BATCH_ROWS, 'sequence', None)


def _remat(name: str, kinds: Sequence[Kind], body: Callable) -> Callable:
  if name == 'none':
    return body
  policies = jax.checkpoint_policies
  attended = policies.save_only_these_names(OUTPUT)
  policy = {
    'dots': policies.save_from_both_policies(policies.dots_with_no_batch_dims_saveable, attended),
    'attention': attended,
    'full': None,
  }[name]
  # Outside of a scan the recomputed layer would be merged with the first one.
  some_follow = len(kinds) % period(kinds) > 0
  return jax.checkpoint(body, policy=policy, prevent_cse=some_follow, static_argnums=1)


def head(config: DecoderConfig, params: PyTree) -> Array:
  """The [V, D] matrix of the head."""
  return params['embedding' if config.tie_embeddings else 'head']


def unembed(config: DecoderConfig, head: Array, hidden: Array) -> Array:
  """Logits [..., V], at least float32."""
  head, dtype = head.astype(hidden.dtype), wide(hidden.dtype)
  if not jax.sharding.get_abstract_mesh().empty:
    logits = jnp.einsum(
      '...d,vd->...v', hidden, head, precision=PRECISION, preferred_element_type=dtype
    )
  else:
    logits = matrix_product(hidden.reshape(-1, hidden.shape[-1]), head.T, dtype)
    logits = logits.reshape(*hidden.shape[:-1], -1)
  return soft_cap(logits, config.logit_softcap)


def value(params: PyTree, hidden: Array) -> Array:
  """The value head: [..., D] -> [...] or [..., bins], at least float32; differentiated in both."""
  dtype = wide(hidden.dtype)
  weight = params['value_head'].astype(dtype)
  return jnp.tensordot(hidden.astype(dtype), weight, axes=1, precision=PRECISION)
