"""The cache of the sampler is never copied: programs are compiled for shapes, and measured."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rljax import models
from rljax.sampling import advance, append, begin, make_requests
from rljax.structs import SamplerSettings

GIB = 2**30


def compiled(dtype, device=None, program='advance', turns=False, **fields):
  """(bytes of the cache, memory analysis) of a program with 64 slots of 1,088 tokens."""
  policy = models.decoder(
    vocab_size=256, d_model=128, num_heads=8, d_ff=128, compute_dtype=dtype, **fields
  )
  requests = make_requests(
    [[1] * 64] * 16, samples_per_prompt=16, draw_ids=range(16), max_prompt=64,
    max_new_tokens=1024, temperature=1.0, stop_ids=[0],
  )  # fmt: skip
  settings = SamplerSettings(length=1088, max_new_tokens=1024, slots=64, turns=turns)
  seed = np.uint32(0)

  def shapes(tree):
    sharding = None if device is None else NamedSharding(Mesh([device], 'x'), PartitionSpec())
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )

  def further(params, requests, state, settings):
    return advance(
      policy, params, requests, state, seed=seed, settings=settings, num_windows=4
    )

  def answered(params, requests, state, settings):
    rows = jnp.arange(32)
    said = jnp.zeros((32, 128), jnp.int32)
    return append(policy, params, requests, state, rows, said, rows, settings=settings)

  params = jax.eval_shape(policy.init, jax.random.key(0))
  state = jax.eval_shape(
    lambda p, r: begin(policy, p, r, seed=seed, settings=settings), params, requests
  )
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.slots.cache))
  window = settings.replace(window=jnp.int32(8))
  arguments = map(shapes, (params, requests, state, window))
  function = {'advance': further, 'append': answered}[program]
  return size, jax.jit(function, donate_argnums=2).lower(*arguments).compile().memory_analysis()


@pytest.mark.parametrize(
  'unroll',
  [pytest.param(True, marks=pytest.mark.thorough), False],
  ids=['layers apart', 'layers scanned'],
)
def test_a_cache_of_a_gibibyte_is_not_copied(unroll):
  layers = dict(num_layers=4, num_kv_heads=8) if unroll else dict(num_layers=16, num_kv_heads=2)
  size, memory = compiled('float32', head_dim=64, unroll_decode=unroll, **layers)
  assert size > GIB
  assert memory.alias_size_in_bytes >= size
  assert memory.temp_size_in_bytes <= 0.1 * size


@pytest.mark.thorough
@pytest.mark.parametrize('program, copied', [('advance', 0.0), ('append', 2 * 8 / 64)])
def test_nor_is_it_where_samples_take_turns(program, copied):
  """What hears an answer is taken out, eight slots of 64 at a time, and put back."""
  size, memory = compiled(
    'float32', program=program, turns=True, head_dim=64, num_layers=4, num_kv_heads=8
  )
  assert size > GIB
  assert memory.alias_size_in_bytes >= size
  assert memory.temp_size_in_bytes <= (copied + 0.1) * size


def on_a_tpu():
  """(bytes of the cache, of what stays in place, of temporaries) of the program for a TPU v5e."""
  from jax.experimental import topologies

  device = topologies.get_topology_desc('v5e:4x4', platform='tpu').devices[0]
  size, memory = compiled(
    'bfloat16', device, num_layers=8, num_kv_heads=4, head_dim=128, unroll_decode=False
  )
  return size, memory.alias_size_in_bytes, memory.temp_size_in_bytes


@pytest.mark.slow
def test_nor_is_it_on_a_tpu():
  pytest.importorskip('libtpu', reason="pip install 'rljax[tpu-plan]'")
  # A process of its own: the compiler for TPUs ends one that has flags for CPUs.
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  environment |= {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1'}
  environment['ALLOW_MULTIPLE_LIBTPU_LOAD'] = '1'  # nothing is run, so another may be there
  done = subprocess.run(
    [sys.executable, __file__], env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]
  size, alias, temporary = json.loads(done.stdout.splitlines()[-1])
  assert size > GIB
  assert alias >= size
  assert temporary <= 0.1 * size


if __name__ == '__main__':
  print(json.dumps(on_a_tpu()))
