"""The pieces of a decoder layer, as functions of one layer's weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.models.attention import PRECISION
from rljax.models.config import DecoderConfig
from rljax.models.layer_kinds import Kind

Array = jax.Array
Weights = dict[str, Array]
Mix = Callable[[Weights, Array], Array]


def wide(dtype: Any) -> Any:
  """The dtype of norms, softmax and logits: at least float32."""
  return jnp.promote_types(dtype, jnp.float32)


def rms_norm(x: Array, scale: Array, eps: float) -> Array:
  """scale · x / √(mean(x²) + eps) over the last axis, in at least float32; x's dtype comes back."""
  high = x.astype(wide(x.dtype))
  high = high * jax.lax.rsqrt(jnp.mean(high * high, axis=-1, keepdims=True) + eps)
  return (high * _along_last(scale.astype(high.dtype), x.ndim)).astype(x.dtype)


def norm(config: DecoderConfig, x: Array, scale: Array) -> Array:
  """The model's `rms_norm` with a parameter `scale`."""
  scale = 1 + scale.astype(wide(x.dtype)) if config.norm_plus_one else scale
  return rms_norm(x, scale, config.norm_eps)


def _along_last(scale: Array, ndim: int) -> Array:
  return scale.reshape((1,) * (ndim - 1) + scale.shape)


def rope_frequencies(kind: Kind, head_dim: int) -> np.ndarray:
  """float64 [head_dim / 2]: radians per position of each rotated pair.

  theta^(−2i/d), divided by `factor` where that is all of the scaling; with Llama 3's, wavelengths
  above original / low are stretched by `factor`, those below original / high stay, and between the
  two is a linear blend.

  Source: Su et al., arXiv 2104.09864, section 3.2; scaling: the Llama 3.1 release.
  Differs from the source: pairs are (i, i + d/2) and not neighbours, as in Hugging Face files.
  """
  half = head_dim // 2
  frequencies = 1.0 / kind.rope_theta ** (np.arange(half) / half)
  if kind.rope_scaling is None:
    return frequencies
  factor, *bands = kind.rope_scaling
  if not bands:
    return frequencies / factor
  low, high, original = bands
  turns = original * frequencies / (2 * math.pi)  # over the original context
  kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
  return frequencies * (kept + (1 - kept) / factor)


def rope_tables(config: DecoderConfig, positions: Array) -> dict[Kind, tuple[Array, Array]]:
  """(cos, sin) of each kind of layer, each [..., 1, head_dim / 2], for positions [...].

  The 1 is the axis of heads.
  """
  dtype = wide(config.compute_dtype)
  positions = positions.astype(dtype)[..., None, None]

  def table(kind):
    frequencies = jnp.asarray(rope_frequencies(kind, config.head_dim), dtype)
    angles = positions * frequencies.reshape((1,) * (positions.ndim - 1) + (-1,))
    return jnp.cos(angles), jnp.sin(angles)

  return {kind: table(kind) for kind in dict.fromkeys(config.kinds)}


def rotate(x: Array, table: tuple[Array, Array]) -> Array:
  """RoPE of [..., heads, head_dim]."""
  cos, sin = table
  left, right = jnp.split(x.astype(cos.dtype), 2, axis=-1)
  turned = jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
  return turned.astype(x.dtype)


@struct.dataclass
class LowRank:
  """A weight base + down · up that is not added up; see `models.lora`.

  Attributes:
    base: of any shape.
    down: its first axes and the rank.
    up: the rank and its last axes.
  """

  base: Array
  down: Array
  up: Array


# Parameters that only `product` reads.
PRODUCTS = tuple(f'layers/{n}' for n in ('wq', 'wk', 'wv', 'wo', 'w_gate', 'w_up', 'w_down'))


def product(x: Array, weight: Array | LowRank, *, summed: int = 1) -> Array:
  """Σ over the last `summed` axes of x and the first of `weight`, in x's dtype.

  A weight that the caller has not cast is cast here.
  """
  if isinstance(weight, LowRank):
    change = product(product(x, weight.down, summed=summed), weight.up)
    return product(x, weight.base, summed=summed) + change
  weight = weight.astype(x.dtype)
  if not jax.sharding.get_abstract_mesh().empty:  # rows and slots keep their own sharding
    return jnp.tensordot(x, weight, axes=summed, precision=PRECISION)
  # As products of matrices: XLA's CPU backend is half as fast again on their gradients.
  inner = math.prod(weight.shape[:summed])
  out = matrix_product(x.reshape(-1, inner), weight.reshape(inner, -1))
  return out.reshape(x.shape[: x.ndim - summed] + weight.shape[summed:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matrix_product(x: Array, weight: Array, dtype: Any = None) -> Array:
  """[M, K] · [K, N], accumulated and returned in `dtype`, None = that of the arguments.

  Its backward pass on a CPU is its own: XLA there is half as fast where the first factor of a
  product stands transposed.
  """
  return jnp.dot(x, weight, precision=PRECISION, preferred_element_type=dtype)


def _product_backward(dtype, saved, g):
  def anywhere(x, weight, g):
    return jax.vjp(lambda x, weight: matrix_product.fun(x, weight, dtype), x, weight)[1](g)

  def on_cpu(x, weight, g):
    d_x = jnp.dot(g, weight.T, precision=PRECISION)
    return d_x.astype(x.dtype), _transposed_product(x, g).astype(weight.dtype)

  return jax.lax.platform_dependent(*saved, g, cpu=on_cpu, default=anywhere)


def _transposed_product(x: Array, g: Array) -> Array:
  """xᵀ · g, with the narrower of the two copied into its transpose first."""
  copied = jax.lax.optimization_barrier  # or XLA puts the transpose back into the product
  if x.shape[1] <= g.shape[1]:
    return copied(jnp.dot(copied(x.T), g, precision=PRECISION))
  return copied(jnp.dot(copied(g.T), x, precision=PRECISION)).T


matrix_product.defvjp(
  lambda x, weight, dtype: (matrix_product(x, weight, dtype), (x, weight)), _product_backward
)


def qkv(config: DecoderConfig, w: Weights, x: Array, table: tuple[Array, Array]) -> list[Array]:
  """Queries [..., H, d], keys and values [..., KV, d] of the residual stream x [..., D]."""
  x = norm(config, x, w['attention_norm'])
  out = []
  for name in 'qkv':
    y = product(x, w[f'w{name}'])
    if config.qkv_bias:
      bias = w[f'b{name}'].astype(y.dtype)
      y = y + bias.reshape((1,) * (y.ndim - 2) + bias.shape)
    if config.qk_norm and name != 'v':
      y = norm(config, y, w[f'{name}_norm'])
    out.append(y if name == 'v' else rotate(y, table))
  return out


def mlp(config: DecoderConfig, w: Weights, x: Array, mix: Mix) -> Array:
  """The gated MLP's addition to the residual stream [..., D], or that of the experts."""
  x = norm(config, x, w['mlp_norm'])
  if 'router' in w:
    return mix(w, x)
  gate = product(x, w['w_gate'])
  up = product(x, w['w_up'])
  act = {'silu': jax.nn.silu, 'gelu_tanh': jax.nn.gelu}[config.activation]
  return product(act(gate) * up, w['w_down'])


def layer(
  config: DecoderConfig,
  w: Weights,
  x: Array,
  table: tuple[Array, Array],
  attend: Callable[[Array, Array, Array], Array],
  mix: Mix,
) -> tuple[Array, Array, Array]:
  """One layer: (x', keys, values); `attend(q, k, v)` decides what is seen, `mix(w, x)` asks the
  experts.
  """
  q, k, v = qkv(config, w, x, table)
  added = product(attend(q, k, v), w['wo'], summed=2)
  x = x + _post_norm(config, w, 'attention', added)
  return x + _post_norm(config, w, 'mlp', mlp(config, w, x, mix)), k, v


def _post_norm(config: DecoderConfig, w: Weights, part: str, x: Array) -> Array:
  return norm(config, x, w[f'{part}_post_norm']) if config.post_norms else x


def embed(config: DecoderConfig, table: Array, tokens: Array, gradient: str) -> Array:
  """What enters the first layer for tokens [...]; `gradient` as in `DecoderConfig`."""
  take = _take_matmul if gradient == 'matmul' else _take
  dtype = jnp.dtype(config.compute_dtype)
  x = take(table, tokens).astype(dtype)
  return x * jnp.asarray(config.d_model**0.5, dtype) if config.scale_embeddings else x


def _take(table: Array, tokens: Array) -> Array:
  return table.at[tokens].get(mode='clip')


_take_matmul = jax.custom_vjp(_take)


def _take_forward(table, tokens):
  return _take(table, tokens), (tokens, table)


def _take_backward(saved, grad, *, block: int = 1024):
  tokens, table = saved
  vocab, width = table.shape
  dtype = wide(grad.dtype)
  tokens, grad = tokens.reshape(-1), grad.reshape(-1, width).astype(dtype)
  count = -(-tokens.size // block)
  pad = count * block - tokens.size
  tokens = jnp.pad(tokens, (0, pad), constant_values=-1).reshape(count, block)
  grad = jnp.pad(grad, ((0, pad), (0, 0))).reshape(count, block, width)

  def add(total, part):
    ids, rows = part
    hot = (ids[:, None] == jnp.arange(vocab)[None, :]).astype(dtype)
    return total + jnp.einsum('tv,td->vd', hot, rows, precision=PRECISION), None

  total, _ = jax.lax.scan(add, jnp.zeros((vocab, width), dtype), (tokens, grad))
  return total.astype(table.dtype), None


_take_matmul.defvjp(_take_forward, _take_backward)
