"""The kernels compile for a TPU v5e: alone, and within the gradient and the sampler of a policy."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from rljax import models, sharding
from rljax.models.attention import attention
from rljax.sampling import advance, begin, make_requests
from rljax.structs import SamplerSettings

SIZE = dict(
  vocab_size=256, num_layers=4, d_model=512, num_heads=8, num_kv_heads=4, head_dim=128, d_ff=512,
  compute_dtype='bfloat16', unroll_decode=False, remat='attention',
)  # fmt: skip


def kernels_of(compiled):
  text = compiled.as_text()
  return {
    'kernels': text.count('custom_call_target="tpu_custom_call"'),
    'gathers': text.count(' all-gather('),
    'trades': text.count(' all-to-all('),
    'passes': text.count(' collective-permute'),
    'temporary': compiled.memory_analysis().temp_size_in_bytes,
  }


def shapes(tree, mesh, *axes):
  over = NamedSharding(mesh, P(*axes))
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=over), tree)


def alone(mesh, **options):
  """The gradient of splash on one device."""
  q, k, ids = (
    jax.ShapeDtypeStruct((2, 1024, *more), dtype)
    for more, dtype in (((8, 64), 'bfloat16'), ((2, 64), 'bfloat16'), ((), 'int32'))
  )

  def loss(q, k, v, ids):
    out = attention(q, k, v, segment_ids=ids, implementation='splash', **options)
    return jnp.sum(out.astype(jnp.float32))

  return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*shapes((q, k, k, ids), mesh)).compile()


def update(mesh, rows, length, **fields):
  """The gradient of a policy on the mesh."""
  policy = sharding.on_mesh(models.decoder(**SIZE, **fields), mesh)
  params = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    jax.eval_shape(policy.init, jax.random.key(0)),
    sharding.policy_shardings(policy, mesh),
  )

  def loss(params, tokens, ids, positions):
    hidden, _ = policy.hidden(params, tokens, segment_ids=ids, positions=positions)
    return jnp.sum(hidden.astype(jnp.float32) ** 2)

  tokens = shapes(jax.ShapeDtypeStruct((rows, length), jnp.int32), mesh, sharding.ROWS)
  return jax.jit(jax.grad(loss)).lower(params, tokens, tokens, tokens).compile()


def decode(mesh, dtype, **fields):
  """(bytes of the cache, the sampler's program) with 64 slots of 1,088 tokens on one device."""
  policy = models.decoder(**SIZE, **fields)
  requests = make_requests(
    [[1] * 64] * 16, samples_per_prompt=16, draw_ids=range(16), max_prompt=64,
    max_new_tokens=1024, temperature=1.0, stop_ids=[0],
  )  # fmt: skip
  settings = SamplerSettings(length=1088, max_new_tokens=1024, slots=64, cache_dtype=dtype)
  seed = np.uint32(0)
  params = jax.eval_shape(policy.init, jax.random.key(0))
  state = jax.eval_shape(
    lambda p, r: begin(policy, p, r, seed=seed, settings=settings), params, requests
  )
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.slots.cache))
  window = settings.replace(window=jnp.int32(8))

  def further(params, requests, state, settings):
    return advance(policy, params, requests, state, seed=seed, settings=settings, num_windows=4)

  arguments = (shapes(x, mesh) for x in (params, requests, state, window))
  return size, jax.jit(further, donate_argnums=2).lower(*arguments).compile()


def on_a_tpu():
  from jax.experimental import topologies

  devices = topologies.get_topology_desc('v5e:2x4', platform='tpu').devices
  one = jax.sharding.Mesh(devices[:1], 'x')
  make = sharding.make_mesh
  found = {
    'splash': kernels_of(alone(one)),
    'splash window': kernels_of(alone(one, window=300, softcap=50.0)),
    'update': kernels_of(update(make(fsdp=4, tensor=2, devices=devices), 8, 1024)),
    'update, plain': kernels_of(
      update(make(fsdp=4, tensor=2, devices=devices), 8, 1024, attention='xla')
    ),
    'update, all-to-all': kernels_of(update(make(fsdp=2, sequence=4, devices=devices), 4, 4096)),
    'update, ring': kernels_of(update(make(fsdp=1, sequence=8, devices=devices), 1, 8192)),
  }
  for dtype in ('bfloat16', 'int8'):
    size, program = decode(one, dtype, cache_attention='ragged')
    found[f'decode {dtype}'] = {'cache': size} | kernels_of(program)
  return found


@pytest.mark.slow
def test_kernels_compile_for_a_tpu():
  pytest.importorskip('libtpu', reason="pip install 'rljax[tpu-plan]'")
  # A process of its own: the compiler for TPUs ends one that has flags for CPUs.
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  environment |= {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1'}
  environment['ALLOW_MULTIPLE_LIBTPU_LOAD'] = '1'  # nothing is run, so another may be there
  done = subprocess.run(
    [sys.executable, __file__], env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert found['splash']['kernels'] == found['splash window']['kernels'] == 3  # q; and k with v
  # 'auto' on a mesh of TPUs is splash, forward once, since its output is kept.
  assert found['update']['kernels'] == 3 and found['update, plain']['kernels'] == 0
  assert found['update, all-to-all']['kernels'] == 3 and found['update, all-to-all']['trades']
  assert not found['update, ring']['kernels'] and found['update, ring']['passes']
  for dtype in ('bfloat16', 'int8'):
    program = found[f'decode {dtype}']
    assert program['kernels'] == 2  # one for the prompts, one for what was drawn
    assert program['temporary'] <= 0.2 * program['cache']  # most of it are the weights, cast


if __name__ == '__main__':
  print(json.dumps(on_a_tpu()))
