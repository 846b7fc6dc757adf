"""What travels between devices: the reader, and the programs of a run compiled for TPUs."""

import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
import tpu_programs
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from rljax import sharding
from rljax.plan.collectives import collectives
from rljax.plan.hlo import Program

LISTED = """HloModule m

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter.1 (p.0: f32[8,6]) -> f32[4,6] {
  %p.0 = f32[8,6]{1,0} parameter(0)
  %all-reduce.0 = f32[8,6]{1,0} all-reduce(%p.0), channel_id=9, replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add
  ROOT %cut = f32[4,6]{1,0} slice(%all-reduce.0), slice={[0:4], [0:6]}
}

ENTRY %main (x: f32[8,6]) -> f32[8,6] {
  %x = f32[8,6]{1,0} parameter(0)
  %g = f32[32,6]{1,0} all-gather(%x), channel_id=1, replica_groups=[2,4]<=[2,4], dimensions={0}
  %h = f32[16,6]{1,0} all-gather(%x), channel_id=1, replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}
  %i = bf16[8,6]{1,0} all-reduce(%x), channel_id=3, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, to_apply=%add
  %i.1 = bf16[8,6]{1,0} all-reduce(%x), channel_id=33, replica_groups=mesh['axis_0'=4,'axis_1'=2], device_ids=([2,4]T(1,0)) {'axis_1'}, to_apply=%add
  %j = f32[2,6]{1,0} reduce-scatter(%x), channel_id=4, replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}, to_apply=%add
  %k = (f32[8,6]{1,0}, f32[64,6]{1,0}) all-gather-start(%x), channel_id=5, replica_groups={}, dimensions={0}
  %l = f32[64,6]{1,0} all-gather-done(%k)
  %m = f32[8,6]{1,0} collective-permute(%x), channel_id=6, source_target_pairs={{0,4},{4,0}}
  %f.1 = f32[4,6]{1,0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1, metadata={op_name="jit(f)/mul"}
  %f.2 = f32[4,6]{1,0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %out = f32[8,6]{1,0} copy(%x)
}
"""  # noqa: E501


def test_all_notations_of_groups():
  found = collectives(Program(LISTED), {'data': 2, 'fsdp': 4})
  told = [(c.kind, c.dtype, c.shape, c.bytes, c.axes) for c in found]
  assert told == [
    ('all-gather', 'f32', (32, 6), 768, ('fsdp',)),
    ('all-gather', 'f32', (16, 6), 384, ('data',)),
    ('all-reduce', 'bf16', (8, 6), 96, ('fsdp',)),
    ('all-reduce', 'bf16', (8, 6), 96, ('data',)),
    ('reduce-scatter', 'f32', (8, 6), 192, ('fsdp',)),
    ('all-gather', 'f32', (64, 6), 1536, ('data', 'fsdp')),
    ('collective-permute', 'f32', (8, 6), 192, ('data',)),
    ('reduce-scatter', 'f32', (8, 6), 192, ('fsdp',)),
  ]
  assert found[1].groups[0] == (0, 4) and found[2].groups[1] == (4, 5, 6, 7)
  assert found[-1].source == 'jit(f)/mul' and found[0].depth == 0
  with pytest.raises(ValueError, match='g: a notation of replica_groups that is unknown'):
    collectives(Program(LISTED.replace('[2,4]<=[2,4],', 'V3[2]$,')))


def test_loops_of_a_compiled_program():
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  weights = jax.ShapeDtypeStruct(
    (5, 8, 8), jnp.float32, sharding=NamedSharding(mesh, P(None, 'fsdp', None))
  )
  whole = jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=sharding.row_sharding(mesh))

  def program(weights, x):
    def layer(x, w):
      w = jax.lax.with_sharding_constraint(w, NamedSharding(mesh, P()))
      return jnp.tanh(x @ w), None

    return jnp.sum(jax.lax.scan(layer, x, weights)[0])

  found = collectives(
    Program(jax.jit(program).lower(weights, whole).compile().as_text()), mesh.shape
  )
  gathers = [c for c in found if c.kind == 'all-gather']
  assert [(c.shape[-2:], c.axes, c.depth, c.times) for c in gathers] == [((8, 8), ('fsdp',), 1, 5)]
  sums = [c for c in found if c.kind == 'all-reduce']
  assert {(c.shape, c.depth) for c in sums} == {((), 0)} and 'fsdp' in sums[0].axes


def compiled(test):
  """Marks a test of programs for TPUs: eight are compiled, which takes long on a busy machine."""
  return pytest.mark.slow(pytest.mark.timeout(0)(test))


@pytest.fixture(scope='module')
def travels(tmp_path_factory):
  """Name of a TPU program → its collectives."""
  if importlib.util.find_spec('libtpu') is None:
    pytest.skip('needs libtpu')
  out = tmp_path_factory.mktemp('tpu') / 'collectives.json'
  script = pathlib.Path(tpu_programs.__file__)
  # The compiler for TPUs ends a process that has flags for CPUs.
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  answer = subprocess.run(
    [sys.executable, script, out], env=environment, capture_output=True, text=True, check=False
  )
  assert answer.returncode == 0, answer.stderr[-3000:]
  return json.loads(out.read_text())


def told(one):
  keys = ('kind', 'dtype', 'shape', 'axes', 'depth', 'times', 'source')
  return {key: one[key] for key in keys}


@compiled
@pytest.mark.parametrize('layout', tpu_programs.LAYOUTS)
def test_no_head_and_no_wide_weights_travel_in_the_loops_of_the_update(layout, travels):
  """Loops in the update: micro-batches, and in them the layers or the chunks of log-probs."""
  found = [c for c in travels[f'update {layout}'] if c['depth'] >= 2]
  head = tpu_programs.VOCAB * tpu_programs.WIDTH // 4  # its part of a tensor group of four
  assert [told(c) for c in found if math.prod(c['shape']) >= head] == []
  least = tpu_programs.WIDTH * tpu_programs.MLP // 16
  layers = [c for c in found if c['times'] == tpu_programs.VISITS]
  gathered = [c for c in layers if c['kind'] == 'all-gather' and math.prod(c['shape']) >= least]
  assert gathered and {c['dtype'] for c in gathered} == {'bf16'}
  for c in layers:
    if c['dtype'] == 'f32' and math.prod(c['shape']) >= least:
      assert c['kind'] in ('all-reduce', 'reduce-scatter') and 'transpose' in c['source'], told(c)


@compiled
def test_gradients_of_experts_are_parted_as_they_are_summed(travels):
  """Of gate and up; of down, which is divided along its last axis, libtpu 0.0.51 makes a sum."""
  matrix = [tpu_programs.WIDTH, tpu_programs.EXPERTS['d_expert']]
  layers = [c for c in travels['update ep'] if c['times'] == tpu_programs.VISITS]
  parted = [c for c in layers if c['shape'][-2:] == matrix and 'fsdp' in c['axes']]
  assert {c['kind'] for c in parted} == {'all-gather', 'reduce-scatter'}, list(map(told, parted))


@compiled
def test_no_weights_travel_while_tokens_are_drawn(travels):
  found = [c for c in travels['sampler fsdp_tp'] if c['depth']]
  assert {c['kind'] for c in found} == {'all-reduce'}
  assert {tuple(c['axes']) for c in found} == {('tensor',)}
  # The largest are the activations of the prompts that are prefilled together.
  assert max(math.prod(c['shape']) for c in found) <= 32 // 4 * 64 * tpu_programs.WIDTH


@compiled
@pytest.mark.parametrize('layout', tpu_programs.LAYOUTS)
def test_weights_move_to_the_sampler_in_the_compute_dtype(layout, travels):
  found = [c for c in travels[f'reshard {layout}'] if math.prod(c['shape']) > 10_000]
  assert {c['kind'] for c in found} == {'all-gather'}
  assert {(c['dtype'], tuple(c['axes'])) for c in found} == {('bf16', ('fsdp',))}
