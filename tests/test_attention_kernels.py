"""Every implementation of attention against the plain one: values, gradients, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import models, sharding
from rljax.models import cudnn, kernels, training_attention
from rljax.models.attention import attention

R, T, H, KV, D = 2, 200, 4, 2, 16
LENGTHS = [[70, 5, 90], [128, 41, 31]]  # of the samples of each row; the rest is padding


def packed():
  segments, positions = np.full((R, T), -1, np.int32), np.zeros((R, T), np.int32)
  for row, lengths in enumerate(LENGTHS):
    start = 0
    for number, length in enumerate(lengths):
      segments[row, start : start + length] = number
      positions[row, start : start + length] = np.arange(length)
      start += length
  return jnp.asarray(segments), jnp.asarray(positions)


SEGMENTS, POSITIONS = packed()
# The second and third sample of a row follow a shared prompt, its first sample.
PREFIXES = jnp.where(SEGMENTS > 0, 0, -1)
AFTER = jnp.where(SEGMENTS > 0, POSITIONS + jnp.array(LENGTHS)[:, :1], POSITIONS)


def qkv(dtype=jnp.float32, seed=0):
  random = np.random.default_rng(seed)
  shapes = (R, T, H, D), (R, T, KV, D), (R, T, KV, D)
  return [jnp.asarray(random.standard_normal(shape), dtype) for shape in shapes]


def with_gradients(attend, q, k, v, **ids):
  """(values, three gradients) for a fixed cotangent; ids are arguments of the program."""

  def both(q, k, v, ids):
    out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, **ids), q, k, v)
    return out, *pull(jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape))

  return jax.jit(both)(q, k, v, ids)


def same(found, expected, bound=1e-5):
  for a, b in zip(found, expected, strict=True):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert np.linalg.norm(a - b) <= bound * np.linalg.norm(b)


WAYS = [{}, dict(window=20), dict(softcap=0.7, scale=0.9)]


@pytest.mark.parametrize('options', WAYS, ids=str)
def test_splash_is_the_plain_one(options):
  ids = dict(segment_ids=SEGMENTS, positions=POSITIONS)
  plain = functools.partial(attention, implementation='xla', query_block=64, **options)
  splash = functools.partial(attention, implementation='splash', query_block=128, **options)
  expected = with_gradients(plain, *qkv(), **ids)
  with kernels.interpreted():
    found = with_gradients(splash, *qkv(), **ids)
  same(found, expected)
  assert not np.any(np.asarray(found[0])[np.asarray(SEGMENTS) < 0])


@pytest.mark.parametrize('options', [{}, dict(window=20, scale=0.9)], ids=str)
@pytest.mark.parametrize('shared', [False, True])
def test_what_cudnn_is_given_is_what_the_plain_one_sees(options, shared):
  """jax's own implementation, for any platform, gets the very arguments."""
  ids = dict(segment_ids=SEGMENTS, positions=AFTER if shared else POSITIONS)
  ids['prefix_ids'] = PREFIXES if shared else None
  expected = with_gradients(
    functools.partial(attention, implementation='xla', **options), *qkv(), **ids
  )
  asked = dict(window=None, scale=D**-0.5) | options
  attend = functools.partial(cudnn.attend_cudnn, implementation='xla', **asked)
  same(with_gradients(attend, *qkv(), **ids), expected)


def test_cudnn_takes_the_arguments(monkeypatch):
  """jax's own checks of shapes and types, and a program for GPUs, forward and backward."""
  place = 'jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version'
  monkeypatch.setattr(place, lambda: 91000)  # none is here
  ids = dict(segment_ids=SEGMENTS, positions=AFTER, prefix_ids=PREFIXES, window=20)

  def loss(q, k, v):
    return jnp.sum(attention(q, k, v, implementation='cudnn', **ids).astype(jnp.float32))

  traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(*qkv(jnp.bfloat16))
  text = traced.lower(lowering_platforms=('cuda',)).as_text()
  assert '__cudnn$fmhaScaleBiasSoftmax(' in text and '__cudnn$fmhaScaleBiasSoftmaxBackward' in text


@pytest.mark.gpu
@pytest.mark.parametrize('options', [{}, dict(window=20)], ids=str)
def test_cudnn_is_the_plain_one(options):
  ids = dict(segment_ids=SEGMENTS, positions=AFTER, prefix_ids=PREFIXES)
  ways = [functools.partial(attention, implementation=n, **options) for n in ('cudnn', 'xla')]
  found, expected = (with_gradients(way, *qkv(jnp.bfloat16), **ids) for way in ways)
  same(found, expected, bound=0.02)


@pytest.mark.parametrize(
  ('name', 'dtype', 'options', 'message'),
  [
    ('splash', 'float32', dict(prefix_ids=PREFIXES), 'it knows no prefix_ids'),
    ('splash', 'float64', {}, 'float32 at most, not in float64'),
    ('splash', 'float32', dict(return_lse=True), 'no log-sum'),
    ('cudnn', 'float32', {}, 'bfloat16 or float16, not in float32'),
    ('cudnn', 'bfloat16', dict(softcap=3.0), 'it has no soft cap, and softcap=3.0'),
    ('flash', 'float32', {}, "'flash' is none of auto, xla, splash, cudnn"),
  ],
)
def test_refusals(name, dtype, options, message):
  with jax.enable_x64(dtype == 'float64'), pytest.raises(ValueError, match=message):
    jax.eval_shape(functools.partial(attention, implementation=name, **options), *qkv(dtype))


@pytest.mark.parametrize('name, platform', [('splash', 'tpu'), ('cudnn', 'gpu')])
def test_a_kernel_of_another_platform_than_the_mesh(name, platform):
  mesh = sharding.make_mesh()
  with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    with pytest.raises(ValueError, match=f'runs on a {platform}, and the mesh is of cpu devices'):
      jax.eval_shape(functools.partial(attention, implementation=name), *qkv(jnp.bfloat16))


def test_auto_takes_the_kernel_of_the_platform_or_says_why_not(monkeypatch):
  said, used = [], []
  monkeypatch.setattr(kernels, 'say', said.append)
  attend = training_attention.attend_splash
  monkeypatch.setattr(
    training_attention, 'attend_splash', lambda *a, **kw: used.append(1) or attend(*a, **kw)
  )

  def trace(**ids):
    jax.eval_shape(lambda *qkv: attention(*qkv, **ids), *qkv())

  trace()
  assert not used and not said
  monkeypatch.setattr(kernels, 'platform', lambda: 'tpu')
  trace()
  assert len(used) == 1 and not said
  trace(segment_ids=SEGMENTS, prefix_ids=PREFIXES)
  assert len(used) == 1 and "'auto' is 'xla' and not 'splash' here" in said[0]
  monkeypatch.setattr(kernels, '_PLACES', ('rljax.nowhere',))
  trace()
  assert len(used) == 1 and 'has no splash_attention in rljax.nowhere' in said[1]


def test_a_policy_with_splash_is_the_plain_one():
  """Its gradient too, with what attention gives kept and all else computed again."""
  size = dict(vocab_size=32, num_layers=2, d_model=32, d_ff=32, window=40, remat='attention')
  tokens = jnp.asarray(np.random.default_rng(3).integers(0, 32, (R, T)), jnp.int32)
  params = models.decoder(**size).init(jax.random.key(0))

  def gradient(name):
    policy = models.decoder(**size, attention=name)

    def loss(params):
      ids = dict(segment_ids=SEGMENTS, positions=POSITIONS)
      hidden = policy.hidden(params, tokens, **ids)[0]
      return jnp.sum(jnp.where((SEGMENTS >= 0)[..., None], hidden, 0) ** 3)

    return jax.jit(jax.value_and_grad(loss))(params)

  expected, grads = gradient('xla')
  with kernels.interpreted():
    found, found_grads = gradient('splash')
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  leaves = [jax.tree.leaves(x) for x in (found_grads, grads)]
  used = [(a, b) for a, b in zip(*leaves, strict=True) if np.any(b)]
  assert len(used) > 8
  same(*zip(*used))
