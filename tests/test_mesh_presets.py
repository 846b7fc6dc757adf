"""Rule presets: losses, gradients, samples and runs on eight devices are those of one."""

import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from tiny_runs import merge, tiny_config

from rljax import assembly, config, metrics, sharding
from rljax.checkpoint import Checkpointer
from rljax.stages import make_stage

MODEL = dict(
  num_layers=2, d_model=16, num_heads=4, num_kv_heads=2, d_ff=32, compute_dtype='float64',
  param_dtype='float64',
)  # fmt: skip
EXPERTS = dict(num_experts=4, experts_per_token=2, d_expert=16)
ONE = dict(devices=dict(train='0:1'))
PRESETS = {
  'dp': dict(data=8, fsdp=1),
  'fsdp': dict(fsdp=8),
  'fsdp_tp': dict(fsdp=4, tensor=2),
  'fsdp_tp_sp': dict(fsdp=2, tensor=2, sequence=2),
  'ep': dict(fsdp=2, tensor=2, expert=2),
}
ITERATIONS = 5


def letters(completion):
  """A reward that random texts differ in."""
  return completion.count('a') + 0.5 * completion.count('b')


def settings(**changes):
  rl = dict(
    iterations=ITERATIONS, prompts=8, samples=2, kl_coef=0.1, optimizer=dict(learning_rate=1e-2)
  )
  base = dict(stages=('rl',), rl=rl, rewards=dict(reward=letters), model=MODEL)
  return config.resolve(tiny_config(**merge(base, changes)))


def on(preset, **changes):
  """The changes that put a run on eight devices under a preset."""
  changes = {'mesh': PRESETS[preset], 'rules': dict(policy=dict(name=f'rules.{preset}')), **changes}
  return {**changes, 'model': EXPERTS} if preset == 'ep' else changes


class Run:
  """The RL stage of a tiny run in float64, iteration by iteration."""

  def __init__(self, **changes):
    self.world = assembly.assemble(settings(**changes))
    self.stage = make_stage('rl', self.world)
    kept = {'reference': self.world.as_reference(self.world.params['policy'])}
    self.frozen = {**self.world.base, **kept}
    self.state = self.stage.init(self.world.params, jax.random.key(3))
    self.done = 0

  def collect(self):
    return jax.device_get(self.stage.collect(self.state, self.done).batch)

  def update(self, batch):
    """What the update says, and the state behind it, on the host."""
    given = (self.state, self.frozen, self.stage.place(batch), self.stage.hyper(self.done))
    self.state, metrics = self.stage.update(*given)
    self.done += 1
    return jax.device_get((metrics, self.state.params, self.state.opt_state))


def go(**changes):
  """[(batch, (metrics, params, optimizer states))] of five iterations."""
  with jax.enable_x64(True):
    run = Run(**changes)
    batches, results = [], []
    for _ in range(ITERATIONS):
      batches.append(run.collect())
      results.append(run.update(batches[-1]))
  return batches, results




_singles = {}


def single(preset):
  """`go` on one device."""
  model = EXPERTS if preset == 'ep' else {}
  if str(model) not in _singles:
    _singles[str(model)] = go(**ONE, model=model)
  return _singles[str(model)]


def assert_equal(found, expected, tolerance):
  """Leaves are equal to a fraction of their norm."""
  places = jax.tree.leaves_with_path(expected)
  for (path, b), a in zip(places, jax.tree.leaves(found), strict=True):
    if np.issubdtype(np.asarray(b).dtype, np.floating):
      error, norm = np.linalg.norm(a - b), np.linalg.norm(b)
      assert error <= tolerance * norm + 1e-14, (jax.tree_util.keystr(path), error, norm)


def assert_equal_runs(found, expected):
  for one, other in zip(found[0], expected[0], strict=True):
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.rewards, other.rewards)
  assert_equal(found[1][-1][1], expected[1][-1][1], 1e-8)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), *(r[1] for r in expected[1][::4]))
  assert max(jax.tree.leaves(moved)) > 1e-3


# It holds the rules of the others.
OFTEN = ('fsdp_tp_sp',)


@pytest.mark.parametrize(
  'preset',
  [pytest.param(name, marks=[] if name in OFTEN else pytest.mark.thorough) for name in PRESETS],
)
def test_loss_and_gradient_are_those_of_one_device(preset):
  """The first moments after one step are the gradient."""
  batches, results = single(preset)
  with jax.enable_x64(True):
    run = Run(**on(preset))
    shards = {x.sharding.mesh.size for x in jax.tree.leaves(run.state.params)}
    found = run.update(batches[0])
  assert shards == {8}
  assert found[0]['policy/loss'] == pytest.approx(results[0][0]['policy/loss'], rel=1e-10)
  assert found[0]['policy/kl_ref'] == pytest.approx(results[0][0]['policy/kl_ref'], abs=1e-12)
  assert_equal(found[2], results[0][2], 1e-10)
  assert_equal(found[1], results[0][1], 1e-8)


@pytest.mark.thorough
def test_a_run_that_samples_on_another_mesh_and_keeps_its_states_on_the_host(tmp_path):
  away = dict(
    sample_mesh=dict(data=8, fsdp=1, tensor=1), offload=dict(optimizer=True, reference=True)
  )
  with jax.enable_x64(True):
    run = Run(**on('fsdp_tp', **away))
    moments = jax.tree.leaves(run.state.opt_state)
    assert {x.sharding.memory_kind for x in moments} == {'pinned_host'}
    assert {x.sharding.memory_kind for x in jax.tree.leaves(run.frozen)} == {'pinned_host'}
    move = run.world.programs['policy'].move
    placed = move(run.state.params['policy'])
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(placed))
    batches, results = [], []
    with metrics.CompileWatch() as watch:
      for _ in range(ITERATIONS):
        batches.append(run.collect())
        results.append(run.update(batches[-1]))
    # The jit's own cache may have several entries of one program.
    assert [watch.counts[name] for name in ('update_step', 'sampler')] == [1, 1]
    moments = jax.tree.leaves(run.state.opt_state)
    assert {x.sharding.memory_kind for x in moments} == {'pinned_host'}
    with Checkpointer(tmp_path) as checkpointer:
      checkpointer.save(1, run.state, {})
      outline = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), run.state
      )
      restored, _ = checkpointer.restore(outline)
    for a, b in zip(jax.tree.leaves(restored.opt_state), moments, strict=True):
      assert a.sharding == b.sharding
      np.testing.assert_array_equal(a, b)
  assert_equal_runs((batches, results), single('fsdp_tp'))


@pytest.mark.slow
@pytest.mark.parametrize('preset', PRESETS)
def test_runs_are_those_of_one_device(preset):
  assert_equal_runs(go(**on(preset)), single(preset))


@pytest.mark.slow
@pytest.mark.parametrize(
  'changes',
  [
    dict(on('fsdp'), sample_mesh=dict(data=4, fsdp=1, tensor=2)),
    dict(on('fsdp'), sample_mesh=dict(fsdp=4, tensor=2)),
    dict(
      mesh=dict(fsdp=4),
      devices=dict(train='0:4', sample='4:8'),
      sample_mesh=dict(data=2, fsdp=1, tensor=2),
    ),
    dict(on('fsdp_tp'), rules=dict(reference=dict(name='rules.dp'))),
  ],
  ids=['tensor', 'tensor, fsdp', 'own devices', 'reference'],
)
def test_roles_stand_where_they_like(changes):
  assert_equal_runs(go(**changes), single('fsdp'))


ADAPTED = dict(lora=dict(name='models.lora', rank=2, alpha=8.0))
TENSOR = dict(data=4, fsdp=1, tensor=2)


def test_adapters_are_added_in_on_the_way_to_where_they_sample():
  with jax.enable_x64(True):
    run = Run(mesh=dict(fsdp=8), **ADAPTED, sample_mesh=TENSOR)
    program = run.world.programs['policy']
    rng = np.random.default_rng(0)
    adapters = jax.tree.map(
      lambda x: jax.device_put(x + rng.standard_normal(x.shape), x.sharding),
      run.state.params['policy'],
    )
    found = program.move(program.together(adapters))
    expected = run.world.merged(adapters)
    program.move(program.together(run.state.params['policy']))
    outline = program.outline(adapters)
  assert_equal(jax.device_get(found), jax.device_get(expected), 1e-12)
  assert found['layers']['wq'].sharding.mesh == program.mesh
  assert found['layers']['wq'].sharding.spec == P(None, None, 'tensor', None)
  assert program.move.program._cache_size() == 1
  assert jax.tree.map(lambda x: x.sharding, outline) == jax.tree.map(lambda x: x.sharding, found)


@pytest.mark.slow
def test_adapters_sample_where_they_like():
  away = go(mesh=dict(fsdp=8), **ADAPTED, sample_mesh=TENSOR)
  apart = dict(mesh=dict(fsdp=4), devices=dict(train='0:4', sample='4:8'))
  apart['sample_mesh'] = dict(data=2, fsdp=1, tensor=2)
  one = go(**ONE, **ADAPTED)
  assert_equal_runs(away, one)
  assert_equal_runs(go(**apart, **ADAPTED), one)


CRITIC = dict(
  advantage=dict(name='advantages.gae'),
  value=dict(name='losses.clipped_value'),
  critic=dict(name='models.decoder', **MODEL),
)


def test_roles_have_rules_of_their_own():
  rules = dict(reference=dict(name='rules.fsdp'), value=dict(name='rules.dp'))
  rules['policy'] = dict(name='rules.fsdp_tp', mlp=None)
  with jax.enable_x64(True):
    run = Run(mesh=dict(fsdp=4, tensor=2), rules=rules, rl=CRITIC)
  found = {'reference': run.frozen['reference'], **run.state.params}
  moments = optax.tree.get(run.state.opt_state['policy'], 'mu')
  for name, spec in (
    ('policy', P(None, 'fsdp', 'tensor', None)), ('reference', P(None, 'fsdp', None, None)),
    ('value', P(None, None, None, None)),
  ):  # fmt: skip
    assert found[name]['layers']['wq'].sharding.spec == spec
  assert found['policy']['layers']['w_up'].sharding.spec == P(None, 'fsdp', None)
  assert moments['layers']['wq'].sharding.spec == P(None, 'fsdp', 'tensor', None)


def test_nothing_that_is_divided_is_whole_on_a_device():
  """Parameters, moments, reference, critic, and the state that a checkpoint gives back."""
  with jax.enable_x64(True):
    run = Run(**on('fsdp'), rl=CRITIC)
  divided = [x for x in jax.tree.leaves((run.state, run.frozen)) if x.ndim > 2]
  assert len(divided) == 7 * 7  # matrices of the layers of two models, their moments, a reference
  for x in divided:
    assert {shard.data.size for shard in x.addressable_shards} == {x.size // 8}


@pytest.mark.slow
def test_a_critic_of_its_own_stands_where_it_likes():
  rules = dict(policy=dict(name='rules.fsdp_tp'), value=dict(name='rules.dp'))
  found = go(mesh=dict(fsdp=4, tensor=2), rules=rules, rl=CRITIC)
  assert_equal_runs(found, go(**ONE, rl=CRITIC))


# -- refusals


def refusal(**changes):
  with pytest.raises(ValueError) as caught, jax.enable_x64(True):
    Run(**changes)
  return str(caught.value)


def test_refusals_name_what_does_not_fit():
  tensor = dict(mesh=dict(fsdp=2, tensor=4))
  assert "layers/wk: the axis 'kv_heads' has 2 entries, which tensor=4" in refusal(**tensor)
  plain = dict(name='rules.fsdp')
  told = refusal(**{**tensor, 'rules': dict(policy=plain)})
  assert 'rules.policy: nothing stands on the mesh axis tensor=4' in told
  told = refusal(**on('fsdp'), rl=dict(rows=12))
  assert 'rl.rows is 12: it must be a multiple of data × fsdp × expert = 8' in told
  told = refusal(**on('fsdp'), rl=dict(sampler=dict(slots=12)))
  assert 'sampler.slots is 12' in told and 'data × fsdp = 8' in told
  told = refusal(mesh=dict(fsdp=1, sequence=8), rl=dict(row_length=12))
  assert 'rl.row_length is 12: it must be a multiple of sequence = 8' in told
  assert '0:9' in refusal(devices=dict(train='0:9'))
  assert 'sample_mesh: data=3' in refusal(sample_mesh=dict(data=3))
  own = dict(name='rules.table', embed='rows')
  assert "'embed' stands on 'rows'" in refusal(rules=dict(policy=own))
  assert sharding.RULES['kv_heads'] == 'tensor'
