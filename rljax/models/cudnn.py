"""Attention within rows of training by cuDNN's flash attention on GPUs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rljax.models.row_attention import cut_ids, sees

Array = jax.Array
DTYPES = ('bfloat16', 'float16')
WIDEST = 256  # of a head; before Hopper 128, and cuDNN says so itself


def refuse_cudnn(q: Array, *, softcap: float | None) -> str | None:
  """Why cuDNN cannot do what is asked, or None."""
  if softcap is not None:
    return f'it has no soft cap, and softcap={softcap}'
  if str(q.dtype) not in DTYPES:
    return f'it computes in {" or ".join(DTYPES)}, not in {q.dtype}'
  if q.shape[-1] % 8 or q.shape[-1] > WIDEST:
    return f'head_dim={q.shape[-1]} is no multiple of 8 up to {WIDEST}'
  if q.shape[1] % 2:
    return f'a row of {q.shape[1]} slots is odd'
  return None


def attend_cudnn(
  q: Array, k: Array, v: Array, segment_ids: Array, *, implementation: str = 'cudnn', **asked: Any
) -> Array:
  """The training form of `attention` where no token sees a later slot.

  Args:
    q, k, v, segment_ids: as in `attention`.
    implementation: of `jax.nn.dot_product_attention`.
    **asked: see `dot_product_arguments`.

  Returns:
    [R, T, H, d] in q's dtype; padding gets 0.
  """
  arguments = dot_product_arguments(segment_ids, **asked)
  out = jax.nn.dot_product_attention(q, k, v, implementation=implementation, **arguments)
  return jnp.where((segment_ids >= 0)[:, :, None, None], out, 0)


def dot_product_arguments(
  segment_ids: Array, *, prefix_ids: Array | None, positions: Array, window: Any, scale: float
) -> dict[str, Any]:
  """What `jax.nn.dot_product_attention` is to be given besides queries, keys and values.

  Segments stand in a mask of R · T² entries, the same for all heads; cuDNN gets it as a bias in the
  compute dtype. Its packed layout, without a mask, is not in the public interface of jax.
  """
  row = segment_ids.shape[1]
  blocks = cut_ids(segment_ids, prefix_ids, positions, row)
  return {'mask': sees(blocks, 0, 0, window)[:, None], 'is_causal': True, 'scale': scale}
