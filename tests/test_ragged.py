"""The decode kernel against plain attention over the cache: values, what it reads, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from rljax import models, sharding
from rljax.models import kernels, ragged
from rljax.models.attention import attention
from rljax.models.cache import TOKEN_AXIS, stored

R, KV, G, D, LAYERS, LENGTH = 3, 2, 2, 8, 2, 11
ENDS = [4, 8]  # of the blocks
IN_USE = np.array([5, 0, 11])  # tokens of each row


def region(dtype, layer, beyond=0.0):
  """(a stack of the cache, what its keys and values are); `beyond` stands in blocks not in use."""
  random = np.random.default_rng(0)
  shape = (LAYERS, R, LENGTH, KV, D)
  k, v = (jnp.asarray(random.standard_normal(shape), jnp.float32) for _ in 'kv')
  like = {'k': [jnp.zeros((), dtype)], 'v': [jnp.zeros((), dtype)]}
  if dtype == 'int8':
    like |= {'k_scale': [jnp.zeros(())], 'v_scale': [jnp.zeros(())]}
  fields = stored(k, v, like)
  real = [
    (x * fields[f'{n}_scale'][..., None] if dtype == 'int8' else x)[layer]
    for n, x in (('k', fields['k']), ('v', fields['v']))
  ]
  stack = {}
  for name, x in fields.items():
    if name in ('k', 'v'):
      block_in_use = (np.arange(LENGTH) // 4 * 4)[None, :] < IN_USE[:, None]
      x = jnp.where(block_in_use[None, :, :, None, None], x, jnp.asarray(beyond, x.dtype))
    x = jnp.moveaxis(x, 2, TOKEN_AXIS[name])
    stack[name] = tuple(jnp.split(x, ENDS, axis=TOKEN_AXIS[name]))
  return stack, real


def seen_by(new):
  """bool [R, new, LENGTH]: a row's tokens in use, with holes that differ between queries."""
  used = np.arange(LENGTH)[None, None, :] < IN_USE[:, None, None]
  return used & (np.arange(LENGTH)[None, None, :] % 4 != np.arange(new)[None, :, None] + 1)


def plain(q, k, v, seen, running, softcap):
  """The same from all scores at once, in float64."""
  q, k, v, top, total, out = (np.asarray(x, np.float64) for x in (q, k, v, *running))
  scores = np.einsum('rkqgd,rskd->rkqgs', q, k) * D**-0.5
  scores = scores if softcap is None else softcap * np.tanh(scores / softcap)
  weights = np.where(seen[:, None, :, None, :], np.exp(scores), 0)
  total = total * np.exp(top) + weights.sum(-1)
  return (out * np.exp(top)[..., None] + np.einsum('rkqgs,rskd->rkqgd', weights, v)), total


@pytest.mark.parametrize(
  ('new', 'dtype', 'softcap'),
  [(1, 'float32', None), (1, 'int8', None), (3, 'float32', 0.7)],
)
def test_a_region_is_the_plain_one(new, dtype, softcap, monkeypatch):
  """Blocks in which a row has nothing are not read: what they hold has no influence."""
  stack, (k, v) = region(dtype, 1, beyond=np.nan if dtype == 'float32' else 127)
  # Two kernels, one of two blocks and one of the last.
  monkeypatch.setattr(ragged, 'ROOM', sum(ragged._costs(stack)[:2]))
  random = np.random.default_rng(1)
  q = jnp.asarray(random.standard_normal((R, KV, new, G, D)), jnp.float32)
  running = jnp.sum(q, axis=-1), jnp.ones(q.shape[:-1]), jnp.cos(q)
  seen = seen_by(new)
  masks = jnp.split(jnp.asarray(seen)[:, None, :, None, :], ENDS, axis=-1)
  with kernels.interpreted():
    add = functools.partial(ragged.add_region, scale=D**-0.5, softcap=softcap)
    top, total, out = jax.jit(add)(q, stack, jnp.int32(1), masks, running)
  expected, weights = plain(q, k, v, seen, running, softcap)
  np.testing.assert_allclose(out * jnp.exp(top)[..., None], expected, rtol=2e-5, atol=2e-5)
  np.testing.assert_allclose(total * jnp.exp(top), weights, rtol=2e-5)


SIZE = dict(vocab_size=32, num_layers=2, d_model=16, num_heads=4, num_kv_heads=2, d_ff=16)


def decoded(name, mesh=None, in_shards=False):
  """Hidden states of three tokens that are decoded behind ragged prompts."""
  policy = models.decoder(**SIZE, cache_attention=name, unroll_decode=False)
  if mesh is None:
    params = jax.jit(policy.init)(jax.random.key(0))
  else:
    params = sharding.init_params(policy, jax.random.key(0), mesh)
    policy = sharding.on_mesh(policy, mesh)
  tokens = jnp.asarray(np.random.default_rng(2).integers(0, 32, (4, 80)), jnp.int32)
  lengths = jnp.array([70, 3, 40, 1])

  def run(params):
    held = policy.init_cache(4, 80, 3)
    _, held = policy.prefill(params, held, tokens, jnp.zeros(4, jnp.int32))

    def step(held, positions):
      hidden, held = policy.decode(params, held, tokens[:, 0], positions)
      return held, hidden

    _, hidden = jax.lax.scan(step, held, lengths[None, :] + jnp.arange(3)[:, None])
    return hidden

  if in_shards:  # as the sampler does, here with all rows in each
    manual = dict(axis_names=set(sharding.ROWS), check_vma=False)
    run = jax.shard_map(run, mesh=mesh, in_specs=P(), out_specs=P(), **manual)
  return np.asarray(jax.jit(run)(params))


@pytest.fixture(scope='module')
def by_xla():
  return decoded('xla')


@pytest.mark.parametrize(
  ('axes', 'in_shards'),
  [(None, False), (dict(fsdp=2, tensor=2, data=2), False), (dict(fsdp=4, tensor=2), True)],
  ids=str,
)
def test_a_policy_decodes_the_same(by_xla, axes, in_shards):
  mesh = None if axes is None else sharding.make_mesh(**axes)
  with kernels.interpreted():
    found = decoded('ragged', mesh, in_shards)
  assert np.linalg.norm(found - by_xla) <= 1e-5 * np.linalg.norm(by_xla)


def test_refusals():
  q = jnp.zeros((1, 1, 1, 1, 128), jnp.bfloat16)
  long = {'k': (jax.ShapeDtypeStruct((1, 1, 1, 128, 2**14), jnp.bfloat16),)}
  long['v'] = (jax.ShapeDtypeStruct((1, 1, 1, 2**14, 128), jnp.bfloat16),)
  with pytest.raises(ValueError, match="'ragged': a block of the cache takes 16 MiB of the 8"):
    ragged.choose_for_cache('ragged', q, long)
  assert ragged.choose_for_cache('auto', q, long) == 'xla'
  with pytest.raises(ValueError, match="'ragged': it runs on a tpu, and the mesh is of cpu"):
    decoded('ragged', sharding.make_mesh())
  with pytest.raises(ValueError, match="cache_attention='raged' is none of auto, xla, ragged"):
    models.decoder(**SIZE, cache_attention='raged')
  with pytest.raises(ValueError, match="'splash': no kernel attends to a cache"):
    attention(q[0], q[0], q[0], kv_lengths=jnp.ones(1, jnp.int32), implementation='splash')
