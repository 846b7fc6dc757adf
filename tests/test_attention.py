"""The attention function against plain loops: masks, groups of heads, blocks, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.models.attention import attention, attention_entropy
from rljax.models.row_attention import cut_rows

R, T, H, KV, D = 2, 13, 4, 2, 6


def qkv(rows=R, queries=T, keys=T, seed=0):
  random = np.random.default_rng(seed)
  def draw(*shape):
    return jnp.asarray(random.standard_normal(shape), jnp.float32)
  return draw(rows, queries, H, D), draw(rows, keys, KV, D), draw(rows, keys, KV, D)


def by_loops(q, k, v, sees, *, scale=None, softcap=None):
  """Attention where `sees(row, query, key)` is true, in float64."""
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  out, lse = np.zeros(q.shape), np.zeros(q.shape[:3])
  for r, t, h in np.ndindex(*q.shape[:3]):
    keys = [s for s in range(k.shape[1]) if sees(r, t, s)]
    group = h * k.shape[2] // q.shape[2]
    scores = np.array([q[r, t, h] @ k[r, s, group] for s in keys])
    scores = scores * (q.shape[3] ** -0.5 if scale is None else scale)
    if softcap is not None:
      scores = softcap * np.tanh(scores / softcap)
    lse[r, t, h] = np.log(np.sum(np.exp(scores)))
    out[r, t, h] = sum(np.exp(x - lse[r, t, h]) * v[r, s, group] for x, s in zip(scores, keys))
  return out, lse


# A row with a prompt (0), two completions that see it (1, 2), padding, and a stranger (3).
SEGMENTS = jnp.array([[0] * 4 + [1] * 3 + [2] * 4 + [-1] * 2, [3] * 5 + [0] * 6 + [-1] * 2])
PREFIXES = jnp.array([[-1] * 4 + [0] * 7 + [-1] * 2, [-1] * 13])
POSITIONS = jnp.array(
  [[0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 0, 0], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 0, 0]]
)


def sees_segments(window=None):
  segments, prefixes, positions = (np.asarray(x) for x in (SEGMENTS, PREFIXES, POSITIONS))

  def sees(r, t, s):
    inside = segments[r, s] in ({segments[r, t], prefixes[r, t]} - ({-1} if t < 11 else set()))
    back = positions[r, t] - positions[r, s]
    return inside and back >= 0 and (window is None or back < window)

  return sees


@pytest.mark.parametrize(
  'options', [{}, dict(window=3), dict(softcap=0.7, scale=0.9), dict(query_block=4)], ids=str
)
def test_training_form(options):
  q, k, v = qkv()
  out, lse = attention(
    q, k, v, segment_ids=SEGMENTS, prefix_ids=PREFIXES, positions=POSITIONS, return_lse=True,
    **options,
  )  # fmt: skip
  maths = {name: options[name] for name in ('softcap', 'scale') if name in options}
  expected, expected_lse = by_loops(q, k, v, sees_segments(options.get('window')), **maths)
  used = np.asarray(SEGMENTS) >= 0
  np.testing.assert_allclose(out[used], expected[used], atol=2e-6)
  np.testing.assert_allclose(lse[used], expected_lse[used], atol=2e-6)
  assert np.isfinite(np.asarray(out)).all()


def test_without_segments_it_is_causal():
  q, k, v = qkv()
  expected, _ = by_loops(q, k, v, lambda r, t, s: s <= t)
  np.testing.assert_allclose(attention(q, k, v), expected, atol=2e-6)


@pytest.mark.parametrize('queries', [1, 3])
def test_cache_form(queries):
  """Keys behind the length or behind the query do not count, whatever they hold."""
  q, k, v = qkv(rows=3, queries=queries, keys=9)
  lengths = jnp.array([4, 9, 6])
  positions = jnp.stack([lengths - queries + i for i in range(queries)], axis=1)
  used = jnp.arange(9)[None, :] < lengths[:, None]
  k = jnp.where(used[:, :, None, None], k, 1e30)
  v = jnp.where(used[:, :, None, None], v, 1e30)
  for given in (positions, None):
    out, lse = attention(q, k, v, positions=given, kv_lengths=lengths, return_lse=True)
    expected, expected_lse = by_loops(q, k, v, lambda r, t, s: s <= int(positions[r, t]))
    np.testing.assert_allclose(out, expected, atol=2e-6)
    np.testing.assert_allclose(lse, expected_lse, atol=2e-6)


def test_an_empty_cache_has_no_weight():
  q, k, v = qkv(queries=1)
  _, lse = attention(q, k, v, kv_lengths=jnp.array([0, 5]), return_lse=True)
  assert (lse[0] < -1e29).all() and (lse[1] > -100).all()


def test_gradients_by_blocks_and_at_once():
  q, k, v = qkv()
  used = np.asarray(SEGMENTS) >= 0
  cotangents = [jnp.where(used[..., None, None], x, 0) for x in qkv(seed=1)[:1]]
  cotangents.append(cotangents[0][..., 0])
  fields = dict(segment_ids=SEGMENTS, prefix_ids=PREFIXES, positions=POSITIONS)
  mask = np.array(
    [[[sees_segments()(r, t, s) for s in range(T)] for t in range(T)] for r in range(R)]
  )

  def dense(q, k, v, softcap):
    k, v = jnp.repeat(k, H // KV, axis=2), jnp.repeat(v, H // KV, axis=2)
    scores = jnp.einsum('rthd,rshd->rhts', q, k) * D**-0.5
    scores = scores if softcap is None else softcap * jnp.tanh(scores / softcap)
    scores = jnp.where(mask[:, None], scores, -1e9)
    out = jnp.einsum('rhts,rshd->rthd', jax.nn.softmax(scores), v)
    return out, jnp.moveaxis(jax.nn.logsumexp(scores, axis=-1), 1, 2)

  for block, softcap in ((4, None), (5, 0.7), (512, None)):
    expected = jax.vjp(functools.partial(dense, softcap=softcap), q, k, v)[1](tuple(cotangents))
    found = functools.partial(
      attention, **fields, query_block=block, softcap=softcap, return_lse=True
    )
    _, pull = jax.vjp(found, q, k, v)
    for a, b in zip(jax.jit(pull)(tuple(cotangents)), expected):
      np.testing.assert_allclose(a, b, atol=5e-6)


@pytest.mark.parametrize('window', [None, 3])
def test_pairs_of_blocks_that_see_nothing_are_left_out(window):
  sees = sees_segments(window)
  blocks = cut_rows(SEGMENTS, PREFIXES, POSITIONS, window=window, query_block=3)
  size, count = blocks.positions.shape[2], blocks.positions.shape[0]
  expected = {
    (t // size, s // size)
    for r, t, s in np.ndindex(R, T, T)
    if SEGMENTS[r, t] >= 0 and sees(r, t, s)
  }
  visited = np.asarray(blocks.pairs)[: int(blocks.count)]
  assert {tuple(pair) for pair in visited.tolist()} == expected
  assert len(expected) < count**2 / 2


def test_masked_keys_have_no_gradient():
  q, k, v = qkv()
  pull = jax.vjp(lambda k, v: attention(q, k, v, segment_ids=SEGMENTS)[:, :11], k, v)[1]
  for grad in pull(jnp.ones((R, 11, H, D))):
    np.testing.assert_array_equal(grad[:, 11:], 0)


def test_no_dense_scores_for_long_rows():
  """With blocks, the gradient of a long row needs less than one float32 [T, T] for all heads."""
  length, heads = 2048, 8
  x = jax.ShapeDtypeStruct((1, length, heads, 16), jnp.float32)
  def loss(q, k, v):
    return jnp.sum(attention(q, k, v, query_block=256) ** 2)
  compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < length * length * heads * 4


def test_half_precision_softmax_is_float32():
  q, k, v = (x.astype(jnp.bfloat16) for x in qkv())
  out, lse = attention(q, k, v, return_lse=True)
  assert out.dtype == jnp.bfloat16 and lse.dtype == jnp.float32
  expected, expected_lse = by_loops(q, k, v, lambda r, t, s: s <= t)
  np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.03)
  np.testing.assert_allclose(lse, expected_lse, atol=1e-5)


def test_heads_that_do_not_divide():
  q, k, v = qkv()
  with pytest.raises(ValueError, match='3 query heads are no multiple of 2'):
    attention(q[:, :, :3], k, v)


@pytest.mark.parametrize('block', [512, 5])
def test_the_entropy_of_attention_is_that_of_its_weights(block):
  q, k, _ = qkv()
  given = dict(segment_ids=SEGMENTS, positions=POSITIONS, prefix_ids=PREFIXES)
  entropy = jax.jit(functools.partial(attention_entropy, **given, query_block=block))(q, k)
  # Values that tell the keys apart give the weights back.
  identity = jnp.broadcast_to(jnp.eye(T)[None, :, None, :], (R, T, KV, T))
  found = np.zeros(entropy.shape)
  for first in range(0, T, D):
    part = identity[..., first : first + D]
    part = jnp.pad(part, ((0, 0), (0, 0), (0, 0), (0, D - part.shape[-1])))
    weights = np.asarray(attention(q, k, part, **given), np.float64)
    found -= np.sum(weights * np.log(np.where(weights > 0, weights, 1)), axis=-1)
  np.testing.assert_allclose(entropy, found, atol=2e-5)
  assert np.max(found) > 0.8 and not np.any(np.asarray(entropy)[SEGMENTS < 0])
  assert not np.any(jax.grad(lambda q: jnp.sum(attention_entropy(q, k, **given)))(q))
