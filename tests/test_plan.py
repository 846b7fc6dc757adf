"""`rljax plan`: the work of compiled programs against counts by hand, and a whole plan."""

import json
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

import rljax
from rljax import cli, config, trips
from rljax.plan import (
  costs,
  hlo,
  measure,
  model_work,
  programs,
  report,
  run,
  search,
  topology,
  verb,
)
from rljax.plan.chips import CHIPS
from rljax.plan.instructions import read

M, K, N, L = 8, 16, 32, 5


def program(function, *arguments):
  return hlo.Program(jax.jit(function).lower(*arguments).compile().as_text())


def layers(x, weights):
  return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]


X, WEIGHTS = jnp.ones((M, K)), jnp.ones((L, K, K))
LAYER = 2 * M * K * K


def test_a_loop_counts_by_its_trips():
  assert costs.work(program(layers, X, WEIGHTS)).flops == L * LAYER


def test_the_trips_of_loops_within_loops_multiply():
  def twice(x, weights):
    return jax.lax.scan(lambda x, _: (layers(x, weights), None), x, None, length=3)[0]

  assert costs.work(program(twice, X, WEIGHTS)).flops == 3 * L * LAYER


def test_a_gradient_is_three_times_the_work():
  def loss(weights):
    return jnp.sum(layers(X, weights))

  found = costs.work(program(jax.grad(loss), WEIGHTS)).flops
  assert found == 3 * L * LAYER - LAYER or found == 3 * L * LAYER  # X itself has no gradient


def data_loop(x, weights, count, note=trips.taken):
  def body(_, x):
    return layers(x, weights)

  with note(7):
    return jax.lax.fori_loop(0, count, body, x)


def test_a_loop_of_data_counts_by_what_its_source_notes():
  found = costs.work(program(data_loop, X, WEIGHTS, jnp.int32(2)))
  assert found.flops == 7 * L * LAYER
  assert not found.uncounted


def test_a_loop_of_which_nothing_is_known_is_told():
  def silent(x, weights, count):
    return data_loop(x, weights, count, note=lambda n: jax.named_scope('plain'))

  found = costs.work(program(silent, X, WEIGHTS, jnp.int32(2)))
  assert found.flops == L * LAYER
  assert len(found.uncounted) == 1 and 'plain' in found.uncounted[0]


def test_the_note_changes_no_program():
  noted = data_loop(X, WEIGHTS, 2)
  plain = data_loop(X, WEIGHTS, 2, note=lambda n: jax.named_scope('plain'))
  np.testing.assert_array_equal(noted, plain)


def test_work_within_a_scope():
  def two(x, weights):
    with jax.named_scope('prepare'):
      first = layers(x, weights)
    return first, layers(x + 1, weights[:2])

  found = program(two, X, WEIGHTS)
  assert costs.work(found, within=lambda source: '/prepare/' in source).flops == L * LAYER
  assert costs.work(found).flops == (L + 2) * LAYER


# A TPU's text: products are convolutions, limits of loops stand in the state.
TPU = """
%region_0.1 (arg: (s32[], bf16[4,8,16], s32[])) -> (s32[], bf16[4,8,16], s32[]) {
  %arg = (s32[]{:T(128)}, bf16[4,8,16]{2,1,0:T(8,128)(2,1)S(1)}, s32[]) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%arg), index=0
  %one = s32[] constant(1)
  %x = bf16[4,8,16]{2,1,0} get-tuple-element(%arg), index=1
  %last = s32[] get-tuple-element(%arg), index=2
  %next = s32[] add(%i, %one)
  %w = bf16[4,16,16]{2,1,0} broadcast(%one), dimensions={}
  %product = bf16[4,8,16]{2,1,0} convolution(%x, %w), window={size=4 stride=3 pad=0_0 lhs_dilate=4}, dim_labels=0bf_0io->0bf, metadata={op_name="jit(f)/while/body/dot"}
  ROOT %out = (s32[], bf16[4,8,16]{2,1,0}, s32[]) tuple(%next, %product, %last)
}

%region_1.1 (arg.1: (s32[], bf16[4,8,16], s32[])) -> pred[] {
  %arg.1 = (s32[], bf16[4,8,16]{2,1,0}, s32[]) parameter(0)
  %i.1 = s32[] get-tuple-element(%arg.1), index=0
  %last.1 = s32[] get-tuple-element(%arg.1), index=2
  ROOT %less = pred[]{:T(512)} compare(%i.1, %last.1), direction=LT
}

ENTRY %main (given: bf16[4,8,16]) -> bf16[4,8,16] {
  %given = bf16[4,8,16]{2,1,0:T(8,128)(2,1)} parameter(0)
  %start = s32[] constant(2)
  %begin = s32[] copy(%start)
  %end = s32[] constant(12)
  %state = (s32[], /*index=1*/bf16[4,8,16]{2,1,0}, s32[]) tuple(%begin, %given, %end)
  %loop = (s32[], bf16[4,8,16]{2,1,0}, s32[]) while(%state), condition=%region_1.1, body=%region_0.1, metadata={op_name="jit(f)/while"}
  ROOT %done = bf16[4,8,16]{2,1,0} get-tuple-element(%loop), index=1
}
"""  # noqa: E501


def test_a_product_over_a_batch_that_is_a_convolution():
  found = costs.work(hlo.Program(TPU))
  assert not found.uncounted
  assert found.flops == 10 * 2 * 4 * 8 * 16 * 16


def test_a_kernel_counts_by_what_it_says():
  told = 'custom-call(%x), custom_call_target="tpu_custom_call"'
  loud = read(f'  %k = f32[2]{{0}} {told}, backend_config={{"cost_estimate":{{"flops":"123"}}}}')
  silent = read(f'  %k = f32[2]{{0}} {told}')
  assert costs.is_known(loud) and not costs.is_known(silent)


GROUPED = """
ENTRY %main (rows: bf16[1024,64], matrices: bf16[4,64,32]) -> bf16[4,64,32] {
  %rows = bf16[1024,64]{1,0} parameter(0)
  %matrices = bf16[4,64,32]{2,1,0} parameter(1)
  %n = s32[1]{0} iota(), iota_dimension=0
  %ragged-dot-none.1 = bf16[1024,32]{1,0} custom-call(%n, %rows, %matrices), custom_call_target="tpu_custom_call", frontend_attributes={ragged_dot_tiling="16,64,32"}, metadata={op_name="jit(f)/filled_0.25/ragged_dot_general/ragged-dot-none"}, backend_config={"flops":"9999999"}
  ROOT %ragged-dot-none.2 = bf16[4,64,32]{2,1,0} custom-call(%n, %rows, %ragged-dot-none.1), custom_call_target="tpu_custom_call", frontend_attributes={ragged_dot_tiling="16,64,32"}
}
"""  # noqa: E501


def test_a_grouped_product_counts_the_rows_of_its_groups():
  """A quarter of 1,024 rows, and three tiles that two groups share; the other one says no share."""
  found = costs.work(hlo.Program(GROUPED))
  assert found.flops == 2 * (1024 / 4 + 3 * 16 + 1024) * 64 * 32
  moved = (304 / 1024 + 1) * (1024 * 64 + 1024 * 32) * 2 + 2 * 4 * 64 * 32 * 2
  assert found.bytes == pytest.approx(moved, rel=0.01)
  assert not found.unknown


def test_a_text_that_is_no_program_is_refused():
  with pytest.raises(ValueError, match='no ENTRY'):
    hlo.Program('hello')


# -- topologies


def test_without_libtpu_it_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'libtpu', None)
  with pytest.raises(ValueError, match=r'v5e:4x4 is compiled by libtpu.*pip install libtpu'):
    topology.find('v5e:4x4')
  assert topology.find('local').devices == jax.devices()


@pytest.mark.parametrize('name', ['v5e-16', 'v9:4x4', 'h100:8x1', 'v5e'])
def test_a_topology_that_is_none(name):
  with pytest.raises(ValueError, match=f'--topology={name}: .*v5e:4x4'):
    topology.find(name)


def test_a_ring_uses_both_directions():
  v5e, v5p = CHIPS['v5e'], CHIPS['v5p']
  assert v5e.axis_bandwidth((16, 16)) == 2 * v5e.axis_bandwidth((4, 4)) == 2 * v5e.link
  assert v5p.axis_bandwidth((4, 8, 8)) == 2 * v5p.axis_bandwidth((2, 4, 4))
  assert CHIPS['h100'].axis_bandwidth((8,)) == CHIPS['h100'].link


def test_meshes_that_are_tried():
  found = list(search.meshes(8, kv_heads=4, experts=0))
  assert found == [(8, 1, 1), (4, 2, 1), (2, 4, 1)]
  found = set(search.meshes(8, kv_heads=2, experts=6))
  assert found == {(8, 1, 1), (4, 1, 2), (4, 2, 1), (2, 2, 2)}


class Searched:
  """A search of which nothing is compiled: what a program of each choice takes is made up."""

  def __init__(self, monkeypatch, **model):
    self.tried, self.model = [], model
    for name in ('abstract', 'measured_sampler', 'residents', 'plan_of'):
      monkeypatch.setattr(search, name, getattr(self, name))

  def abstract(self, given, stage, devices):
    return types.SimpleNamespace(mesh=given.mesh, rows=given[stage].rows, requests=())

  def measured_sampler(self, given, devices):
    self.tried.append((given.mesh.fsdp, given.mesh.tensor))
    failed = 'Ran out of hbm.\nBuffers: …' if given.mesh.tensor == 4 else ''
    return measure.Measured('sampler', temporary=given.mesh.fsdp, failed=failed)

  def residents(self, given, update, sampler, capacity):
    fits = given.mesh.tensor != 1  # the copy of the weights alone is too large
    phase = types.SimpleNamespace(name='rollout', total=20 * 2**30, fits=fits)
    return types.SimpleNamespace(phases=[phase])

  def plan_of(self, given, devices, sampler):
    self.tried.append((given.mesh.fsdp, given.mesh.tensor, given.rows, sampler.temporary))
    if given.rows == 4:
      raise jax.errors.JaxRuntimeError('INTERNAL: no such layout')
    took = 64 / given.rows + given.mesh.fsdp
    update = measure.Measured('update', times={'memory': took})
    phase = types.SimpleNamespace(name='update', total=2**30, fits=given.rows < 16)
    return types.SimpleNamespace(
      programs=[update], residents=types.SimpleNamespace(phases=[phase]), fits=phase.fits,
      seconds=took,
    )  # fmt: skip

  def __call__(self, **among):
    given = config.resolve(tiny_runs.tiny_config(model=self.model))
    devices = topology.Topology('v5e:2x4', jax.devices(), CHIPS['v5e'], (2, 4))
    return search.search(given, 'rl', devices, among=among)


def test_a_search_compiles_no_more_than_it_must(monkeypatch):
  """A sampler once a mesh; nothing where the arrays alone or a smaller micro-batch do not fit."""
  searched = Searched(monkeypatch, num_heads=4, num_kv_heads=4)
  rows = {one.choice.flags: verb._row(one)[-1] for one in searched()}
  assert searched.tried == [(4, 2), (4, 2, 4, 4), (4, 2, 8, 4), (4, 2, 16, 4), (2, 4)]
  large = 'does NOT fit: the rollout takes 20.00 of 15.75 GiB without temporaries'
  assert rows == {
    'mesh.fsdp=4 mesh.tensor=2 rows=8': 'fits',
    'mesh.fsdp=4 mesh.tensor=2 rows=16': 'does NOT fit',
    'mesh.fsdp=4 mesh.tensor=2 rows=4': 'does not compile: INTERNAL: no such layout',
    'mesh.fsdp=8 mesh.tensor=1 rows=8': large,
    'mesh.fsdp=8 mesh.tensor=1 rows=16': 'fewer rows do not fit',
    'mesh.fsdp=8 mesh.tensor=1 rows=32': 'fewer rows do not fit',
    'mesh.fsdp=2 mesh.tensor=4 rows=2': 'the sampler does not compile: Ran out of hbm.',
    'mesh.fsdp=2 mesh.tensor=4 rows=4': 'fewer rows do not fit',
    'mesh.fsdp=2 mesh.tensor=4 rows=8': 'fewer rows do not fit',
  }
  assert next(iter(rows)) == 'mesh.fsdp=4 mesh.tensor=2 rows=8'  # the fastest that fits


def test_a_search_among_some(monkeypatch):
  searched = Searched(monkeypatch, num_heads=4, num_kv_heads=4)
  found = searched(**verb.among('tensor=2 rows=4,2', True))
  assert [one.choice.flags for one in found] == [
    'mesh.fsdp=4 mesh.tensor=2 rows=8', 'mesh.fsdp=4 mesh.tensor=2 rows=16',
  ]  # fmt: skip
  assert verb.among('', False) is None and verb.among('', True) == {}
  with pytest.raises(ValueError, match='--among: tensor=3: no mesh of 8 devices'):
    searched(tensor=[3])
  with pytest.raises(ValueError, match="'rows=0' is none of tensor, expert, rows"):
    verb.among('tensor=2 rows=0', True)
  with pytest.raises(ValueError, match='--among=rows=1: it goes with --search'):
    verb.among('rows=1', False)


# -- a plan


@pytest.fixture(scope='module')
def tiny():
  given = tiny_runs.tiny_config(rl=dict(kl_coef=0.1, kl=dict(name='regularizers.reverse_kl')))
  return run.make_plan(config.resolve(given), 'rl', topology.find('local'))


def test_a_plan_on_the_local_devices(tiny):
  assert [one.name for one in tiny.programs] == ['sampler', 'update']
  for one in tiny.programs:
    assert not one.work.uncounted and not one.work.unknown
    # The smallest products are no products any more in a program for CPUs.
    assert 0.5 < one.work.flops / one.model_flops < 6
  assert 0 < tiny.update.prepare.flops < tiny.update.work.flops
  phases = {phase.name: phase for phase in tiny.residents.phases}
  assert list(phases) == ['rollout', 'prepare', 'update', 'save', 'reshard']
  stay = ('parameters', 'optimizer', 'frozen roles')
  params = phases['save'].kinds['parameters']
  assert [phases['rollout'].kinds[k] for k in stay][1] >= 2 * params  # two moments
  assert phases['save'].kinds['frozen roles'] == params  # the reference
  assert phases['update'].kinds['gradients'] == params
  assert phases['rollout'].kinds['cache'] > 0
  assert tiny.fits and not tiny.advice  # nothing is known of a CPU's capacity


def test_its_report(tiny):
  told = report.text(tiny)
  numbers = json.loads(json.dumps(report.numbers(tiny), allow_nan=False))
  assert numbers['seconds'] == {'sampler': None, 'update': None}  # nothing is known of a CPU
  for part in ('| sampler |', '| update |', '| rollout |', '| reshard |', 'at capacity'):
    assert part in told


def test_what_a_chip_cannot_hold_is_told(tiny):
  small = run.residents(tiny.given, tiny.update, tiny.sampler, 1000.0)
  assert not any(phase.fits for phase in small.phases)
  assert small.slots[1] == 0
  assert run.advise(small)


def test_the_weights_that_multiply_a_token(tiny):
  policy, params = tiny.given.world.policies['policy'], tiny.given.state.params['policy']
  shapes = {**params['layers'], 'head': policy.head(params)}
  matrices = sum(x.size for name, x in shapes.items() if name[0] == 'w' or name == 'head')
  assert model_work.matmul_weights(policy, params, tiny.given.world.model) == matrices


def test_adapters_stand_beside_their_base(tiny):
  lora = dict(name='models.lora', rank=2)
  rl = dict(kl_coef=0.1, kl=dict(name='regularizers.reverse_kl'))
  given = programs.abstract(
    config.resolve(tiny_runs.tiny_config(rl=rl, lora=lora)), 'rl', jax.devices()
  )
  assert given.lower_update().as_text() and given.lower_sampler().as_text()
  update, sampler = (measure.Measured(name) for name in ('update', 'sampler'))
  found = {p.name: p.kinds for p in run.residents(given, update, sampler, None).phases}
  whole = {p.name: p.kinds for p in tiny.residents.phases}
  assert found['update']['parameters'] < whole['update']['parameters']
  still = whole['update']['parameters']
  assert found['update']['frozen roles'] == still + found['update']['parameters']
  # With the adapters added they move to where they sample, as those of a policy without do.
  copies = [of['rollout']['weights to compute with'] for of in (found, whole)]
  assert copies[0] == copies[1] > still
  # A pass of the reference and three of the policy; without gradients of its weights two.
  ratio = model_work.update_flops(given) / model_work.update_flops(tiny.given)
  assert 0.75 <= ratio < 0.8
  assert model_work.sampler_flops(given) == model_work.sampler_flops(tiny.given)


def test_of_an_environment_the_update_is_planned():
  given = programs.abstract(config.resolve(rljax.load_config('calculator')), 'rl', jax.devices())
  assert given.requests is None
  assert any('turns of an environment' in note for note in given.notes)
  assert given.batch.tokens.shape[2:] == (64, 40)


def test_those_that_sample_elsewhere():
  """Each program is planned on its share of the devices."""
  apart = config.resolve(tiny_runs.tiny_config(devices=dict(train='0:2', sample='2:8')))
  devices = jax.devices()
  with apart.unlocked():
    apart.sample_mesh.update(fsdp=6)
    apart.rl.sampler.slots = 12
  given = programs.abstract(apart, 'rl', devices)
  weights = given.stage.generate.program.outline(given.state.params['policy'])
  shares = ((given.state, given.frozen, given.batch), devices[:2]), (
    (weights, given.requests), devices[2:],
  )  # fmt: skip
  for trees, own in shares:
    assert {d for x in jax.tree.leaves(trees) for d in x.sharding.device_set} == set(own)
  assert given.lower_sampler().as_text() and given.lower_update().as_text()
  update, sampler = measure.Measured('update', code=3), measure.Measured('sampler', code=5)
  found = {p.name: p.kinds for p in run.residents(given, update, sampler, None).phases}
  assert 'optimizer' not in found['rollout'] and found['rollout']['code'] == 5
  assert 'cache' not in found['update'] and found['update']['code'] == 3
  whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(weights))
  assert found['rollout']['weights to compute with'] == whole
  assert whole / 2 <= found['reshard']['weights to compute with'] < whole
  assert any('of the chips 6 sample' in note and '2 train' in note for note in given.notes)
  with pytest.raises(ValueError, match='devices must be empty'):
    search.search(apart, 'rl', topology.find('local'))


def test_the_verb_wants_a_config_and_a_stage(capsys):
  assert cli.main(['plan']) == 2
  assert 'plan needs --config' in capsys.readouterr().err
  assert cli.main(['plan', '--config=gsm8k', '--stage=sft']) == 2
  assert 'has the stages rl' in capsys.readouterr().err


def on_a_tpu():
  model = dict(d_model=256, num_heads=2, num_kv_heads=2, d_ff=512, compute_dtype='bfloat16')
  given = tiny_runs.tiny_config(model=model, mesh=dict(fsdp=2, tensor=2), rl=dict(kl_coef=0.1))
  plan = run.make_plan(config.resolve(given), 'rl', topology.find('v5e:2x2'))
  told = [
    (x.work.flops / x.model_flops, list(x.sent), x.time, x.work.uncounted) for x in plan.programs
  ]
  return {'fits': plan.fits, 'programs': told, 'slots': plan.residents.slots}


@pytest.mark.slow
def test_a_plan_for_a_tpu_that_is_not_there():
  pytest.importorskip('libtpu', reason="pip install 'rljax[tpu-plan]'")
  # A process of its own: the compiler for TPUs ends one that has flags for CPUs.
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  environment |= {'JAX_PLATFORMS': 'cpu'}
  done = subprocess.run(
    [sys.executable, __file__], env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert found['fits'] and found['slots'][1] > found['slots'][0]
  for ratio, axes, seconds, uncounted in found['programs']:
    assert 0.5 < ratio < 6 and seconds > 0 and not uncounted
    assert {'fsdp', 'tensor'} <= {name for part in axes for name in part.split(' × ')}


if __name__ == '__main__':
  print(json.dumps(on_a_tpu()))
