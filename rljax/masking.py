"""The only masked and grouped reductions that anyone writes.

Masked values never reach a result: they are replaced before the arithmetic, so NaN and inf under a
mask are harmless in values and gradients. All sums are in at least float32.

Group reductions compare `group_ids` with themselves, a block of samples against all at a time
(nothing of size N² is stored). They take ragged groups in any order, need no group size, use no
scatter, forward or backward, and every member of a group gets bit-equal statistics.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array
PAIRS_AT_ONCE = 2**18  # of the comparison of N samples with N


def widen(x: Array) -> Array:
  """`x` in at least float32."""
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def zero_where_not(x: Array, mask: Array) -> Array:
  """`x` where `mask`, else 0, in at least float32."""
  return jnp.where(mask, widen(x), 0)


# -- masked reductions


def masked_sum(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
  """Σ x over `mask`, along `axis` (all axes by default)."""
  return jnp.sum(zero_where_not(x, mask), axis=axis)


def masked_mean(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
  """Mean of x over `mask`; 0 where nothing is left."""
  count = jnp.sum(mask, axis=axis)
  return masked_sum(x, mask, axis) / jnp.maximum(count, 1)


def masked_var(x: Array, mask: Array, *, ddof: int = 0) -> Array:
  """Two-pass variance of x over all entries of `mask`; 0 where fewer than ddof + 1 are left."""
  centred = zero_where_not(widen(x) - masked_mean(x, mask), mask)
  count = jnp.sum(mask) - ddof
  return jnp.where(count > 0, jnp.sum(centred**2) / jnp.maximum(count, 1), 0)


def masked_max(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
  """Maximum of x over `mask`; 0 where nothing is left."""
  top = jnp.max(jnp.where(mask, widen(x), -jnp.inf), axis=axis)
  return jnp.where(jnp.any(mask, axis=axis), top, 0)


def masked_min(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
  """Minimum of x over `mask`; 0 where nothing is left."""
  return -masked_max(-widen(x), mask, axis)


def is_constant(x: Array, mask: Array) -> Array:
  """bool scalar: max − min ≤ 1e-6 · max(1, max|x|) over `mask` (one entry is constant)."""
  top, bottom = masked_max(x, mask), masked_min(x, mask)
  return top - bottom <= 1e-6 * jnp.maximum(1, jnp.maximum(jnp.abs(top), jnp.abs(bottom)))


def weighted_sum(x: Array, weights: Array) -> Array:
  """Σ weights · x; an x under weight 0 has no influence, whatever it is."""
  return jnp.sum(zero_where_not(x, weights != 0) * weights)


def shield(arrays: dict[str, Array], mask: Array) -> dict[str, Array]:
  """Float arrays of the shape of `mask` with 0 where not `mask`; the others as they are.

  A token loss is finite, and so are its derivatives, where all its arrays are 0. So a loss of
  shielded arrays, summed by `weighted_sum`, has no NaN in value or gradient, whatever stood under
  the mask.
  """
  return {
    name: jnp.where(mask, x, jnp.zeros((), x.dtype))
    if jnp.issubdtype(x.dtype, jnp.floating) and x.shape == mask.shape
    else x
    for name, x in arrays.items()
  }


# -- groups: [N] -> [N], each sample gets the statistic of its group


def _over_group(
  reduce: Callable[..., Array], group_ids: Array, where: Array | None, *rows: Array
) -> Array:
  """[N]: reduce(member bool [N], *values of the sample) for each sample; j a counted member."""
  counted = group_ids >= 0 if where is None else where & (group_ids >= 0)

  def one(group_id, *values):
    return reduce((group_ids == group_id) & counted, *values)

  num, rows = group_ids.shape[0], (group_ids, *rows)
  block = max(1, PAIRS_AT_ONCE // max(num, 1))
  if num <= block:
    return jax.vmap(one)(*rows)
  # Blocks have one shape and so one order of summation: the last one is filled up.
  number = -(-num // block)
  blocks = [jnp.pad(x, (0, number * block - num)).reshape(number, block) for x in rows]
  # The comparisons are made again for the gradient, not kept.
  found = jax.lax.map(jax.checkpoint(lambda b: jax.vmap(one)(*b)), tuple(blocks))
  return found.reshape(-1)[:num]


def group_count(group_ids: Array, where: Array | None = None) -> Array:
  """float32 [N]: counted samples in the sample's group."""
  return _over_group(
    lambda member: jnp.sum(member, dtype=jnp.int32), group_ids, where
  ).astype(jnp.float32)


def group_sum(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """[N]: Σ x over the counted samples of the sample's group."""
  return _over_group(lambda member: jnp.sum(zero_where_not(x, member)), group_ids, where)


def group_mean(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """[N]: mean of x over the group; 0 where nothing is counted."""
  return group_sum(x, group_ids, where) / jnp.maximum(group_count(group_ids, where), 1)


def group_var(
  x: Array, group_ids: Array, where: Array | None = None, *, ddof: int = 1
) -> Array:
  """[N]: two-pass variance of x over the group; 0 where fewer than ddof + 1 are counted."""
  counted = group_ids >= 0 if where is None else where & (group_ids >= 0)
  centred = zero_where_not(widen(x) - group_mean(x, group_ids, where), counted)
  count = group_count(group_ids, where) - ddof
  total = group_sum(centred**2, group_ids, where)
  return jnp.where(count > 0, total / jnp.maximum(count, 1), 0)


def group_max(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """[N]: maximum of x over the group; −inf where nothing is counted."""
  x = widen(x)
  return _over_group(
    lambda member: jnp.max(jnp.where(member, x, -jnp.inf)), group_ids, where
  )


def group_min(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """[N]: minimum of x over the group; +inf where nothing is counted."""
  return -group_max(-widen(x), group_ids, where)


def group_is_constant(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """bool [N]: max − min ≤ 1e-6 · max(1, max|x|) in the sample's group (a singleton is constant)."""
  top = group_max(x, group_ids, where)
  bottom = group_min(x, group_ids, where)
  scale = jnp.maximum(1, jnp.maximum(jnp.abs(top), jnp.abs(bottom)))
  empty = group_count(group_ids, where) == 0
  return empty | (top - bottom <= 1e-6 * scale)


def group_rank(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """int32 [N]: how many counted members of the group come before the sample in descending order.

  Ties are broken by the order in the array, so ranks within a group are 0, 1, 2, …
  """
  x = widen(x)
  index = jnp.arange(x.shape[0])

  def count(member, value, place):
    before = (x > value) | ((x == value) & (index < place))
    return jnp.sum(member & before, dtype=jnp.int32)

  return _over_group(count, group_ids, where, x, index)


# -- maps between tokens [..., T], sample places of a row [..., S] and samples [N]


def one_hot_segments(segment_ids: Array, num_segments: int) -> Array:
  """bool [..., T, S] from [..., T]; padding (−1) belongs to none."""
  shape = (*segment_ids.shape, num_segments)
  return segment_ids[..., None] == jax.lax.broadcasted_iota(jnp.int32, shape, segment_ids.ndim)


def segment_sum(x: Array, segment_ids: Array, num_segments: int) -> Array:
  """[..., T] -> [..., S]: Σ x over each sample of a row, as a product at highest precision."""
  member = one_hot_segments(segment_ids, num_segments)
  x = zero_where_not(x, segment_ids >= 0)
  return jnp.einsum(
    '...t,...ts->...s', x, member.astype(x.dtype), precision=jax.lax.Precision.HIGHEST
  )


def segment_to_token(x: Array, segment_ids: Array) -> Array:
  """[..., S] -> [..., T]: each token gets the value of its sample; padding gets 0."""
  value = jnp.take_along_axis(x, jnp.maximum(segment_ids, 0), axis=-1)
  return jnp.where(segment_ids >= 0, value, jnp.zeros((), x.dtype))


def sample_to_segment(x: Array, sample_ids: Array) -> Array:
  """[N] -> [..., S] by the place of each segment in the sample arrays; unused places get 0."""
  return jnp.where(sample_ids >= 0, x[jnp.maximum(sample_ids, 0)], jnp.zeros((), x.dtype))


def sample_to_token(x: Array, sample_ids: Array, segment_ids: Array) -> Array:
  """[N] -> [..., T]: each token gets the value of its sample; padding gets 0."""
  return segment_to_token(sample_to_segment(x, sample_ids), segment_ids)


@jax.custom_vjp
def segment_to_sample(x: Array, sample_slots: Array) -> Array:
  """[..., S] -> [N] by flat index; unused samples get 0."""
  flat = x.reshape(-1)
  return jnp.where(sample_slots >= 0, flat[jnp.maximum(sample_slots, 0)], jnp.zeros((), x.dtype))


def _segment_to_sample_backward(saved: tuple, g: Array) -> tuple[Array, None]:
  """A place is of one sample at most, so the gradient is a gather and no scatter-add of floats."""
  x, slots = saved
  samples = jnp.arange(slots.shape[0], dtype=jnp.int32)
  at = jnp.where(slots >= 0, slots, x.size)  # out of range is dropped
  sample = jnp.full(x.size, -1, jnp.int32).at[at].set(samples, mode='drop').reshape(x.shape)
  return jnp.where(sample >= 0, g[jnp.maximum(sample, 0)], jnp.zeros((), g.dtype)), None


segment_to_sample.defvjp(
  lambda x, slots: (segment_to_sample(x, slots), (x, slots)), _segment_to_sample_backward
)


def segment_to_sample_here(x: Array, sample_ids: Array, sample_slots: Array) -> Array:
  """[..., S] -> [N] where x and sample_ids are one minibatch of the batch that slots point into.

  Samples that lie in another minibatch get 0, like unused ones.
  """
  flat, places = x.reshape(-1), sample_ids.reshape(-1)
  slot = jnp.maximum(sample_slots, 0) % flat.shape[0]
  here = (sample_slots >= 0) & (places[slot] == jnp.arange(sample_slots.shape[0]))
  return jnp.where(here, flat[slot], jnp.zeros((), x.dtype))


def token_to_sample_sum(
  x: Array, mask: Array, segment_ids: Array, sample_slots: Array, num_segments: int
) -> Array:
  """[..., T] -> [N]: Σ x over the tokens of each sample where `mask`."""
  inner = segment_sum(zero_where_not(x, mask), segment_ids, num_segments)
  return segment_to_sample(inner, sample_slots)


def starts(segment_ids: Array) -> Array:
  """bool [..., T]: the first slot of each segment (and of each run of padding)."""
  before = jnp.concatenate(
    [jnp.full_like(segment_ids[..., :1], -2), segment_ids[..., :-1]], axis=-1
  )
  return segment_ids != before


def shift(x: Array, segment_ids: Array) -> Array:
  """[..., T] -> [..., T]: entry t is x[t − 1] of the same segment; 0 at the first slot and padding.

  Turns what a model says at a token into what it said of the next one.
  """
  moved = jnp.concatenate([jnp.zeros_like(x[..., :1]), x[..., :-1]], axis=-1)
  return jnp.where(starts(segment_ids) | (segment_ids < 0), jnp.zeros((), x.dtype), moved)


def reverse_segment_scan(decay: Array, x: Array, segment_ids: Array) -> Array:
  """y_t = x_t + decay_t · y_{t+1} inside each segment, from the right, in log T steps.

  Args:
    decay: float [..., T].
    x: float [..., T].
    segment_ids: int32 [..., T]; nothing flows from one segment into another.

  Returns:
    float [..., T], at least float32.
  """
  last = jnp.concatenate(
    [starts(segment_ids)[..., 1:], jnp.ones_like(segment_ids[..., :1], bool)], axis=-1
  )
  dtype = jnp.promote_types(widen(decay).dtype, widen(x).dtype)
  decay, x = jnp.where(last, 0, decay.astype(dtype)), x.astype(dtype)

  def combine(right, left):
    decay_r, x_r = right
    decay_l, x_l = left
    return decay_l * decay_r, x_l + decay_l * x_r

  return jax.lax.associative_scan(combine, (decay, x), reverse=True, axis=x.ndim - 1)[1]


def last_true_in_segment(mask: Array, segment_ids: Array) -> Array:
  """bool [..., T]: the last slot of each segment at which `mask` holds."""
  counted = mask & (segment_ids >= 0)
  remaining = reverse_segment_scan(jnp.ones(mask.shape), counted, segment_ids)
  return counted & (remaining == 1)
