"""Attention within rows of training by jax's splash kernel for TPUs."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.models import kernels
from rljax.models.row_attention import OUTPUT

Array = jax.Array
LANES = 128  # a block is a multiple of it
MOST = 512  # tokens of a block


def refuse_splash(q: Array, *, prefix_ids: Array | None, window: int | None) -> str | None:
  """Why splash cannot do what is asked, or None."""
  try:
    kernels.splash()
  except ImportError as error:
    return str(error)
  if prefix_ids is not None:
    return 'its masks are made before the data are there, so that it knows no prefix_ids'
  if not (window is None or isinstance(window, int)):
    return 'its window is a number of the program, and this one is computed'
  if jnp.dtype(q.dtype).itemsize > 4:
    return f'it computes in float32 at most, not in {q.dtype}'
  if q.shape[-1] % 8:
    return f'head_dim={q.shape[-1]} is no multiple of 8'
  return None


def attend_splash(
  q: Array,
  k: Array,
  v: Array,
  segment_ids: Array,
  *,
  window: int | None,
  softcap: float | None,
  scale: float,
  query_block: int,
) -> Array:
  """The training form of `attention` where slots of a segment follow each other.

  A segment stands in consecutive slots with positions that rise by one, as packing makes it; then
  slots tell what positions would.

  Args:
    q, k, v, segment_ids, window, softcap, scale: as in `attention`.
    query_block: tokens of a block, at most.

  Returns:
    [R, T, H, d] in q's dtype; padding gets 0.

  Source: `jax.experimental.pallas.ops.tpu.splash_attention`.
  Differs from the source: queries are scaled before they are rounded to the compute dtype.
  """
  library, (_, length, heads, _) = kernels.splash(), q.shape
  block = _block(length, min(query_block, MOST))
  size = -(-length // block) * block
  shape = (size, size)
  mask = library.CausalMask(shape) if window is None else library.LocalMask(
    shape, (window - 1, 0), 0
  )  # fmt: skip
  kernel = library.make_splash_mha(
    library.MultiHeadMask([mask] * heads),
    block_sizes=library.BlockSizes(
      block_q=block, block_kv=block, block_kv_compute=block,
      block_q_dkv=block, block_kv_dkv=block, block_kv_dkv_compute=block,
      block_q_dq=block, block_kv_dq=block,
    ),
    head_shards=1,
    q_seq_shards=1,
    attn_logits_soft_cap=softcap,
    residual_checkpoint_name=OUTPUT,
    interpret=kernels.interpreting(),
  )  # fmt: skip

  def by_heads(x):
    x = jnp.pad(x, ((0, 0), (0, size - length), (0, 0), (0, 0)))
    return jnp.swapaxes(x, 1, 2)

  wide = jnp.promote_types(q.dtype, jnp.float32)
  q = (scale * q.astype(wide)).astype(q.dtype)
  ids = jnp.pad(segment_ids, ((0, 0), (0, size - length)), constant_values=-1)

  def of_row(q, k, v, ids):
    return kernel(q, k, v, segment_ids=library.SegmentIds(q=ids, kv=ids))

  out = jax.vmap(of_row)(by_heads(q), by_heads(k), by_heads(v), ids)
  out = jnp.swapaxes(out, 1, 2)[:, :length]
  return jnp.where((segment_ids >= 0)[:, :, None, None], out, 0)


def _block(length: int, most: int) -> int:
  """Tokens of a block: as many as pad the row by an eighth at most."""
  smallest = -(-length // LANES) * LANES
  for block in range(max(most // LANES, 1) * LANES, LANES, -LANES):
    if -(-length // block) * block <= smallest * 9 / 8:
      return block
  return LANES
