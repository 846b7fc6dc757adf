"""Maps between tokens [..., T], sample places of a row [..., S] and samples [N]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.masking.reductions import widen, zero_where_not

Array = jax.Array


def one_hot_segments(segment_ids: Array, num_segments: int) -> Array:
  """bool [..., T, S] from [..., T]; padding (−1) belongs to none.

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> print(masking.one_hot_segments(segments, 2).astype(int)[0])
    [[1 0]
     [1 0]
     [0 1]
     [0 0]]
  """
  shape = (*segment_ids.shape, num_segments)
  return segment_ids[..., None] == jax.lax.broadcasted_iota(jnp.int32, shape, segment_ids.ndim)


def segment_sum(x: Array, segment_ids: Array, num_segments: int) -> Array:
  """[..., T] -> [..., S]: Σ x over each sample of a row, as a product at highest precision.

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> print(masking.segment_sum(jnp.array([[1.0, 2.0, 3.0, 9.0]]), segments, 2))
    [[3. 3.]]
  """
  member = one_hot_segments(segment_ids, num_segments)
  x = zero_where_not(x, segment_ids >= 0)
  return jnp.einsum(
    '...t,...ts->...s', x, member.astype(x.dtype), precision=jax.lax.Precision.HIGHEST
  )


def segment_to_token(x: Array, segment_ids: Array) -> Array:
  """[..., S] -> [..., T]: each token gets the value of its sample; padding gets 0.

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> print(masking.segment_to_token(jnp.array([[5.0, 7.0]]), segments))
    [[5. 5. 7. 0.]]
  """
  value = jnp.take_along_axis(x, jnp.maximum(segment_ids, 0), axis=-1)
  return jnp.where(segment_ids >= 0, value, jnp.zeros((), x.dtype))


def sample_to_segment(x: Array, sample_ids: Array) -> Array:
  """[N] -> [..., S] by the place of each segment in the sample arrays; unused places get 0.

  Examples:
    >>> rewards, places = jnp.array([5.0, 7.0, 8.0]), jnp.array([[2, 0], [1, -1]])
    >>> print(masking.sample_to_segment(rewards, places))
    [[8. 5.]
     [7. 0.]]
  """
  return jnp.where(sample_ids >= 0, x[jnp.maximum(sample_ids, 0)], jnp.zeros((), x.dtype))


def sample_to_token(x: Array, sample_ids: Array, segment_ids: Array) -> Array:
  """[N] -> [..., T]: each token gets the value of its sample; padding gets 0.

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> print(masking.sample_to_token(jnp.array([5.0, 7.0, 8.0]), jnp.array([[2, 0]]), segments))
    [[8. 8. 5. 0.]]
  """
  return segment_to_token(sample_to_segment(x, sample_ids), segment_ids)


@jax.custom_vjp
def segment_to_sample(x: Array, sample_slots: Array) -> Array:
  """[..., S] -> [N] by flat index; unused samples get 0.

  Examples:
    >>> x = jnp.array([[8.0, 5.0], [7.0, 0.0]])
    >>> print(masking.segment_to_sample(x, jnp.array([1, 2, 0, -1])))  # the fourth is unused
    [5. 7. 8. 0.]
  """
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

  Examples:
    >>> x, places = jnp.array([[8.0, 5.0]]), jnp.array([[2, 0]])  # one minibatch of two
    >>> print(masking.segment_to_sample_here(x, places, jnp.array([1, 2, 0])))
    [5. 0. 8.]
  """
  flat, places = x.reshape(-1), sample_ids.reshape(-1)
  slot = jnp.maximum(sample_slots, 0) % flat.shape[0]
  here = (sample_slots >= 0) & (places[slot] == jnp.arange(sample_slots.shape[0]))
  return jnp.where(here, flat[slot], jnp.zeros((), x.dtype))


def token_to_sample_sum(
  x: Array, mask: Array, segment_ids: Array, sample_slots: Array, num_segments: int
) -> Array:
  """[..., T] -> [N]: Σ x over the tokens of each sample where `mask`.

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> x, mask = jnp.array([[1.0, 2.0, 3.0, 9.0]]), jnp.array([[True, False, True, True]])
    >>> print(masking.token_to_sample_sum(x, mask, segments, jnp.array([0, 1]), 2))
    [1. 3.]
  """
  inner = segment_sum(zero_where_not(x, mask), segment_ids, num_segments)
  return segment_to_sample(inner, sample_slots)


def starts(segment_ids: Array) -> Array:
  """bool [..., T]: the first slot of each segment (and of each run of padding).

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> print(masking.starts(segments))
    [[ True False  True  True]]
  """
  before = jnp.concatenate(
    [jnp.full_like(segment_ids[..., :1], -2), segment_ids[..., :-1]], axis=-1
  )
  return segment_ids != before


def shift(x: Array, segment_ids: Array) -> Array:
  """[..., T] -> [..., T]: entry t is x[t − 1] of the same segment; 0 at the first slot and padding.

  Turns what a model says at a token into what it said of the next one.

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> print(masking.shift(jnp.array([[1.0, 2.0, 3.0, 9.0]]), segments))
    [[0. 1. 0. 0.]]
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

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> x = jnp.array([[0.0, 1.0, 1.0, 9.0]])
    >>> # Discounted returns
    >>> print(masking.reverse_segment_scan(jnp.full((1, 4), 0.5), x, segments))
    [[0.5 1.  1.  9. ]]
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
  """bool [..., T]: the last slot of each segment at which `mask` holds.

  Examples:
    >>> segments = jnp.array([[0, 0, 1, -1]])  # two samples in a row, and padding
    >>> print(masking.last_true_in_segment(jnp.array([[True, True, True, True]]), segments))
    [[False  True  True False]]
  """
  counted = mask & (segment_ids >= 0)
  remaining = reverse_segment_scan(jnp.ones(mask.shape), counted, segment_ids)
  return counted & (remaining == 1)
