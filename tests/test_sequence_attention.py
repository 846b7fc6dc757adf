"""Slots over the mesh axis `sequence`: eight devices compute what one computes, and hold less."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from test_attention_kernels import AFTER, POSITIONS, PREFIXES, SEGMENTS, qkv, same, with_gradients

from rljax import sharding
from rljax.models import kernels
from rljax.models.attention import attention


def on_mesh(mesh, **options):
  """`attention` on the mesh, and its arguments' sharding."""

  def attend(q, k, v, **ids):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return attention(q, k, v, **ids, **options)

  def put(x):
    return jax.device_put(x, NamedSharding(mesh, P(None, 'sequence')))

  return attend, put


IDS = {
  'packed': dict(segment_ids=SEGMENTS, positions=POSITIONS),
  'shared prompt': dict(segment_ids=SEGMENTS, positions=AFTER, prefix_ids=PREFIXES),
  'one sample': dict(segment_ids=None, positions=None),
}


@functools.cache
def of_one_device(case, **options):
  attend = functools.partial(attention, implementation='xla', query_block=64, **options)
  return with_gradients(attend, *qkv(jnp.float64), **IDS[case])


@pytest.mark.parametrize(
  'sequence, axes, case, options',
  [
    ('all_to_all', dict(fsdp=2, tensor=1, sequence=2, data=2), 'packed', {}),
    ('all_to_all', dict(fsdp=4, sequence=2), 'shared prompt', dict(window=20)),
    ('ring', dict(fsdp=2, tensor=2, sequence=2), 'packed', dict(softcap=0.7)),
    ('ring', dict(fsdp=2, sequence=4), 'shared prompt', {}),
    ('auto', dict(fsdp=1, sequence=8), 'one sample', {}),
    ('ring', dict(fsdp=2, sequence=4), 'packed', dict(window=20)),
  ],
  ids=str,
)
def test_it_is_the_plain_one(sequence, axes, case, options):
  with jax.enable_x64(True):
    mesh = sharding.make_mesh(**axes)
    attend, put = on_mesh(mesh, sequence=sequence, query_block=30, **options)
    arrays = jax.tree.map(put, (qkv(jnp.float64), IDS[case]))
    found = with_gradients(attend, *arrays[0], **arrays[1])
    same(found, of_one_device(case, **options), bound=1e-10)


@pytest.mark.parametrize(
  'axes', [dict(fsdp=2, expert=2, sequence=2), dict(fsdp=2, expert=2, tensor=2)], ids=str
)
def test_splash_over_a_mesh(axes):
  """On rows and heads of a device, or after slots were traded for heads."""
  mesh = sharding.make_mesh(**axes)
  attend, put = on_mesh(mesh, implementation='splash')
  arrays = jax.tree.map(put, (qkv(), IDS['packed']))
  with kernels.interpreted():
    found = with_gradients(attend, *arrays[0], **arrays[1])
  plain = functools.partial(attention, implementation='xla')
  same(found, with_gradients(plain, *qkv(), **IDS['packed']))


def compiled(sequence, length=4096, heads=4, depth=8):
  """The gradient of one long row on eight devices, with its ids."""
  mesh = sharding.make_mesh(fsdp=1, sequence=8)
  attend, _ = on_mesh(mesh, sequence=sequence, query_block=128, implementation='xla')
  over = NamedSharding(mesh, P(None, 'sequence'))

  def loss(q, k, v, ids):
    return jnp.sum(attend(q, k, v, segment_ids=ids, positions=ids) ** 2)

  x = jax.ShapeDtypeStruct((1, length, heads, depth), jnp.float32, sharding=over)
  ids = jax.ShapeDtypeStruct((1, length), jnp.int32, sharding=over)
  gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)), out_shardings=(over,) * 3)
  return gradient.lower(x, x, x, ids).compile()


def test_the_ring_holds_neither_all_keys_nor_all_scores():
  """Keys pass from device to device, and what a device holds is a share of the row."""
  program = compiled('ring')
  text, own = program.as_text(), 4096 // 8 * 4 * 8 * 4  # bytes of a device's keys
  assert 'collective-permute' in text
  assert not re.search(r'(all-gather|all-to-all)(-start)?\(', text)
  memory = program.memory_analysis().temp_size_in_bytes
  scores = 4 * 128 * 128 * 4
  assert memory < 24 * own + 12 * scores < 4096 * 4096 * 4
  assert not re.search(r'f32\[[\d,]*4096[\d,]*\]', text)


def test_refusals():
  mesh = sharding.make_mesh(fsdp=2, sequence=4)
  for sequence, length, message in (
    ('all_to_all', 200, "2 key heads of a device are not divided by the mesh axis sequence=4"),
    ('ring', 199, 'a row of 199 slots is not divided by the mesh axis sequence=4'),
    ('rings', 200, "sequence_attention='rings' is none of auto, all_to_all, ring, none"),
  ):
    attend, _ = on_mesh(mesh, sequence=sequence)
    with pytest.raises(ValueError, match=message):
      jax.eval_shape(attend, *(x[:, :length] for x in qkv()))
  attend, _ = on_mesh(mesh, sequence='ring', implementation='splash')
  with pytest.raises(ValueError, match="attention='splash'"):
    jax.eval_shape(attend, *qkv())
