"""A layer's experts: which of them a token is sent to, and their products over sorted tokens.

No token is dropped: experts take as many tokens as are sent to them. So what a token gets does not
depend on the others of its batch, and the sampler's log-probs are the trainer's.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from rljax import trips
from rljax.models.attention import PRECISION
from rljax.models.config import DecoderConfig
from rljax.models.layers import Weights, wide
from rljax.sharding import BATCH_ROWS, activation_spec

Array = jax.Array
FEW_TOKENS = 64  # a grouped product takes tiles of 128 rows for each expert anyway


def mix_experts(
  config: DecoderConfig,
  w: Weights,
  x: Array,
  *,
  choice: Array | None = None,
  used: Array | None = None,
) -> tuple[Array, dict[str, Array]]:
  """y_t = Σ_e p_te · W_down,e (silu(W_gate,e x_t) ∘ W_up,e x_t), e chosen; p_t = softmax(W_r x_t).

  The k experts of the highest p_te are chosen; with `norm_topk` their p are divided by their sum.

  Args:
    config: of the decoder.
    w: of one layer.
    x: float [R, T, D], normalised.
    choice: int [R, T, k], experts that are chosen instead, −1 = those of the router (routing
      replay). The p are of the router all the same.
    used: bool [R, T], tokens that are asked for; the others get 0. None = all.

  Returns:
    (y [R, T, D] in x's dtype; a dict of
      routing: int32 [R, T, k], what was chosen, −1 where not `used`;
      router_load: float32 [R, E], tokens of the row that went to an expert;
      router_mass: at least float32 [R, E], Σ_t p_te of the row's used tokens;
      router_entropy: at least float32 [R, T], nats, −Σ_e p_te log p_te;
      router_replaced: float32 [R, T], the fraction of the choice that the router had not made;
      router_probs: at least float32 [R, T, E], p). Differentiated are y and router_probs.

  Source: Qwen3 (arXiv 2505.09388), section 2; replay: Ma et al., 2510.11370.

  Differs from the source: the router computes in at least float32.
  """
  weights, ids, probs, replaced = _route(config, w['router'], x, choice)
  if used is not None:
    ids = jnp.where(used[..., None], ids, -1)
  y = _over_mesh(x, ids, weights, w['expert_gate'], w['expert_up'], w['expert_down'])
  constant = jax.lax.stop_gradient(probs)
  entropy = -jnp.sum(constant * jnp.log(jnp.where(constant > 0, constant, 1)), axis=-1)
  return y, {
    'routing': ids,
    'router_load': jnp.sum(_hot(ids, config.num_experts), axis=(1, 2), dtype=jnp.float32),
    'router_mass': jnp.sum(constant * (ids[..., :1] >= 0), axis=1),
    'router_entropy': entropy,
    'router_replaced': replaced,
    'router_probs': probs,
  }


def _route(config, router, x, choice) -> tuple[Array, Array, Array, Array]:
  """(weights [R, T, k], experts [R, T, k], p [R, T, E], fraction replaced [R, T])."""
  dtype = wide(x.dtype)
  logits = jnp.einsum(
    'rtd,de->rte', x.astype(dtype), router.astype(dtype), precision=PRECISION
  )
  probs = jax.nn.softmax(logits, axis=-1)
  own = jax.lax.top_k(jax.lax.stop_gradient(probs), config.experts_per_token)[1]
  ids, replaced = own, jnp.zeros(own.shape[:2], jnp.float32)
  if choice is not None:
    ids = jnp.where(choice >= 0, choice.astype(own.dtype), own)
    kept = jnp.any(ids[..., :, None] == own[..., None, :], axis=-1)
    replaced = 1 - jnp.mean(kept, axis=-1, dtype=jnp.float32)
  # One-hot products: the gradient of a gather, and that of top_k, is a scatter-add.
  weights = jnp.sum(jnp.where(_hot(ids, config.num_experts), probs[..., None, :], 0), axis=-1)
  if config.norm_topk:
    weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
  return weights, ids, probs, replaced


def _hot(ids: Array, count: int) -> Array:
  """bool [..., E]; −1 is none."""
  shape = (*ids.shape, count)
  return ids[..., None] == jax.lax.broadcasted_iota(ids.dtype, shape, ids.ndim)


def _over_mesh(x, ids, weights, gate, up, down) -> Array:
  """`_mixed` on a mesh: experts and their width are divided, and so are rows and slots.

  Each device holds some experts, or a part of their width. Where rows are divided over `expert`,
  its devices gather each other's tokens, sort them, and sum and part what their experts give. Of
  weights that are divided over `fsdp` a layer gathers its own; their gradients are parted as they
  are summed.
  """
  mesh = jax.sharding.get_abstract_mesh()
  mine = {n for n, kind in zip(mesh.axis_names, mesh.axis_types) if kind == AxisType.Auto}
  if not any(mesh.shape[n] > 1 for n in mine):
    return _mixed(x, ids, weights, gate, up, down, jnp.zeros((), ids.dtype))
  rows, slots = activation_spec(x.shape[:2], BATCH_ROWS, 'sequence')
  expert, embed, width = activation_spec(gate.shape, 'expert', 'fsdp', 'tensor')
  token, inner = PartitionSpec(rows, slots), PartitionSpec(expert, embed, width)
  apart, count = expert is not None and 'expert' in (rows or ()), gate.shape[0]

  def whole(x, axis, names):
    return jax.lax.all_gather(x, names, axis=axis, tiled=True) if names else x

  def local(x, ids, weights, gate, up, down):
    here = jax.lax.axis_index(expert) if expert else 0
    matrices = whole(gate, 1, embed), whole(up, 1, embed), whole(down, 2, embed)
    tokens = (whole(each, 0, apart and expert) for each in (x, ids, weights))
    with trips.filled(gate.shape[0] / count):  # tokens spread evenly
      y = _mixed(*tokens, *matrices, jnp.asarray(here * gate.shape[0], ids.dtype))
    if apart:
      y = jax.lax.psum_scatter(y, expert, scatter_dimension=0, tiled=True)
    summed = tuple(axis for axis in (None if apart else expert, width) if axis)
    return jax.lax.psum(y, summed) if summed else y

  return jax.shard_map(
    local,
    in_specs=(token, token, token, inner, inner, PartitionSpec(expert, width, embed)),
    out_specs=token,
    axis_names=mine,  # of size 1 too: XLA's CPU backend fails on a bfloat16 sum beside other axes
    check_vma=False,
  )(x, ids, weights, gate, up, down)


def _mixed(x, ids, weights, gate, up, down, first) -> Array:
  """Σ over the choices of a token that lie in the experts first … first + E − 1: [R, T, D]."""
  few = math.prod(ids.shape[:-1]) <= FEW_TOKENS
  return (_all_of_few if few else _sorted)(x, ids, weights, gate, up, down, first)


def _all_of_few(x, ids, weights, gate, up, down, first) -> Array:
  """`_mixed` with all tokens through all experts: reading those is what takes the time, and where
  layers are scanned a grouped product would read a copy.
  """
  chosen = _hot(ids - first, gate.shape[0])
  weights = jnp.sum(jnp.where(chosen, weights[..., None], 0), axis=-2)
  x = jnp.where(jnp.any(chosen, axis=(-2, -1))[..., None], x, 0)
  product = functools.partial(jnp.einsum, precision=PRECISION)
  gate, up, down = (w.astype(x.dtype) for w in (gate, up, down))
  inner = jax.nn.silu(product('rtd,edf->ertf', x, gate)) * product('rtd,edf->ertf', x, up)
  out = product('ertf,efd->ertd', inner, down).astype(weights.dtype)
  return jnp.sum(out * jnp.moveaxis(weights, -1, 0)[..., None], axis=0).astype(x.dtype)


def _sorted(x, ids, weights, gate, up, down, first) -> Array:
  """`_mixed` with tokens sorted by their experts.

  A grouped product leaves anything in rows of no group; neither that nor its gradient goes on.
  """
  count, (choices, width) = gate.shape[0], (ids.shape[-1], x.shape[-1])
  flat = ids.reshape(-1) - first
  here = (flat >= 0) & (flat < count)
  flat = jnp.where(here, flat, count)  # those of others come last
  order = jnp.argsort(flat, stable=True).astype(jnp.int32)
  inverse = jnp.argsort(order).astype(jnp.int32)
  sizes = jnp.sum(_hot(flat, count), axis=0, dtype=jnp.int32)
  mine = (jnp.arange(flat.shape[0]) < jnp.sum(sizes))[:, None]
  tokens = _dispatch(choices, x.reshape(-1, width), order, inverse, here)
  inner = jax.nn.silu(_grouped(tokens, gate, sizes)) * _grouped(tokens, up, sizes)
  out = _grouped(jnp.where(mine, inner, 0), down, sizes)
  out = _permute(out, inverse, order).reshape(*ids.shape, width)
  dtype = weights.dtype
  out = jnp.where(here.reshape(*ids.shape, 1), out.astype(dtype), 0) * weights[..., None]
  return jnp.sum(out, axis=-2).astype(x.dtype)


def _grouped(x: Array, weight: Array, sizes: Array) -> Array:
  """[M, A] · [E, A, B] -> [M, B]: the first sizes[0] rows by the first matrix, and so on."""
  # A TPU's kernel takes no precision for bfloat16, whose products are exact in float32 anyway.
  precision = PRECISION if x.dtype == wide(x.dtype) else None
  return jax.lax.ragged_dot(x, weight.astype(x.dtype), sizes, precision=precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _dispatch(choices: int, x: Array, order: Array, inverse: Array, here: Array) -> Array:
  """[N, D] -> [N·k, D]: token i // k at the place of its choice i. The gradient is a gather too,
  of the choices that are `here`.
  """
  del inverse, here
  return x[order // choices]


def _dispatch_backward(choices, saved, g):
  inverse, here = saved
  own = jnp.where(here[:, None], g[inverse], 0).reshape(-1, choices, g.shape[-1])
  return jnp.sum(own, axis=1, dtype=wide(g.dtype)).astype(g.dtype), None, None, None


_dispatch.defvjp(
  lambda choices, x, order, inverse, here: (x[order // choices], (inverse, here)),
  _dispatch_backward,
)


@jax.custom_vjp
def _permute(x: Array, order: Array, inverse: Array) -> Array:
  """Rows of x in another order; the gradient is a gather too."""
  del inverse
  return x[order]


_permute.defvjp(
  lambda x, order, inverse: (x[order], inverse), lambda inverse, g: (g[inverse], None, None)
)
