"""A run as one program gives what the loop gives, mapped or not; runs of one shape share it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import random_rollout
from tiny_runs import small_machine, tiny_config

from rljax import assembly, checkpoint, config, scanned, update
from rljax.data.packing import make_layout, pack
from rljax.metrics import read_metrics
from rljax.stages import make_stage
from rljax.structs import Batch
from rljax.train import train

ITERATIONS = 5
WIDE = dict(compute_dtype='float64', param_dtype='float64')


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


def one_letter(seed=0, model=WIDE, **rl):
  """Words of one letter: a random policy is right now and then."""
  small = dict(
    iterations=ITERATIONS,
    prompts=8,
    samples=8,
    minibatches=2,
    max_new_tokens=2,
    row_length=8,
    packed=False,
    optimizer=dict(learning_rate=3e-3),
    loss=dict(clip_high=dict(schedule='linear', start=0.2, end=0.4, steps=4)),
    kl_coef=0.01,
    reference_every=2,
    reference_update=dict(rate=0.5),
  )
  return tiny_config(
    seed=seed,
    stages=('rl',),
    model=model,
    task=dict(
      name='tasks.sorting', length=1, letters='abcd', num_train=64, num_test=2, test_fraction=0.5
    ),
    evaluation=dict(num_prompts=2, samples=5, ks=(1, 2, 4), every=2),
    rl={**small, **rl},
  )


def run_of(settings, every=2):
  """The run of a config, and what it starts from."""
  world = assembly.assemble(config.resolve(settings))
  stage = make_stage('rl', world)
  key = jax.random.fold_in(jax.random.key(world.config.seed), 0)
  state = stage.init(world.params, key)
  frozen = {'reference': world.params['policy']}
  return scanned.scanned_run(
    stage, state, frozen, held_out=world.held_out(0, 2), samples=5, every=every
  )


@pytest.fixture(scope='module')
def programs():
  return scanned.Programs()


@pytest.fixture
def tokens_are_written(monkeypatch):
  """A metric that tells which tokens a batch holds, in the order of its samples."""
  make = update.make_update_step

  def make_and_tell(*args, **kwargs):
    step = make(*args, **kwargs)

    def step_and_tell(state, frozen, batch, hyper):
      rows = batch.tokens.reshape(-1, batch.tokens.shape[-1])[batch.sample_slots]
      places = jnp.arange(rows.size, dtype=jnp.int32).reshape(rows.shape)
      told = jnp.sum((rows + 1) * (places * 7919 % 8191), dtype=jnp.int32)
      state, metrics = step(state, frozen, batch, hyper)
      return state, {**metrics, 'method/test/tokens': told}

    return step_and_tell

  monkeypatch.setattr(update, 'make_update_step', make_and_tell)


@pytest.mark.thorough
def test_it_is_the_loop(tmp_path, tokens_are_written, programs):
  with jax.enable_x64(True):
    train(one_letter(), workdir=str(tmp_path))
    run = run_of(one_letter())
    (found,) = programs.execute([run])
    params = found.state.params['policy']
    wanted = checkpoint.load_params(str(tmp_path), example=params)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(wanted)):
      assert a.dtype == np.float64
      np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)

  rows = [row for row in read_metrics(tmp_path) if 'policy/loss' in row]
  assert len(rows) == ITERATIONS and found.metrics['reward/mean'].max() > 0.05
  assert found.metrics['policy/kl_ref'].max() > 0
  exact = ('method/test/tokens', 'rollout/tokens', 'update/skipped')
  missing = ('reward/errors', 'reward/timeouts', 'group/size', 'rollout/capacity',
             'rollout/eos_rate', 'rollout/length_stopped', 'update/spikes')  # fmt: skip
  for name in rows[0]:
    if '/' in name and not name.startswith(('time/', 'memory/', 'eval/', *missing)):
      tolerance = 0 if name in exact else 1e-6
      expected = [row[name] for row in rows]
      np.testing.assert_allclose(found.metrics[name], expected, tolerance, tolerance, err_msg=name)

  points = run.inputs.ends.tolist()
  assert points == [0, 2, 4, 5]
  evaluated = {row['iteration']: row for row in read_metrics(tmp_path)}
  for point, metrics in zip(points, run.evaluations(found.seen, (1, 2, 4)), strict=True):
    for name, value in metrics.items():
      assert value == pytest.approx(evaluated[point][f'eval/sorting/{name}'], abs=1e-12)


@pytest.mark.slow
def test_mapped_over_seeds_and_rates_it_is_the_same(tokens_are_written, programs):
  with jax.enable_x64(True):
    runs = [
      run_of(one_letter(seed=seed, optimizer=dict(learning_rate=rate)))
      for seed, rate in ((0, 3e-3), (1, 3e-3), (1, 1e-3))
    ]
    alone = programs.execute(runs, together=False)
    assert len(programs.compiled) == 1  # seeds and rates are data, here and in the test before
    together = programs.execute(runs, together=True)
  assert not np.array_equal(alone[0].metrics['reward/mean'], alone[1].metrics['reward/mean'])
  ends = [jax.tree.leaves(o.state.params) for o in alone]
  assert not np.array_equal(ends[1][0], ends[2][0])
  for one, other in zip(alone, together):
    leaves = [jax.tree.leaves((o.state.params, o.metrics, o.seen)) for o in (one, other)]
    for a, b in zip(*leaves):
      np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_what_is_part_of_the_program_makes_another(programs):
  other, fingerprints = dict(name='weighting.seq_mean_token_mean'), []
  for change in ({}, dict(loss=dict(clip_low=0.1)), dict(weights=other)):
    run = run_of(one_letter(model={}, **change))
    fingerprints.append(programs.fingerprint(run.program, run.inputs))
  assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize(('prompts', 'minibatches'), [(6, 1), (5, 2)])
def test_rows_hold_what_the_host_packs(prompts, minibatches):
  rollout, rewards = random_rollout(prompts=prompts)
  rollout = dataclasses.replace(rollout, entropy=rollout.policy_logprobs + 1)
  layout = make_layout(
    samples=prompts * 4, group_size=4, max_length=20, rows=4, row_length=24,
    minibatches=minibatches, packed=False,
  )  # fmt: skip
  full = dataclasses.replace(
    rollout, num_tokens=np.full_like(rollout.num_tokens, 20), mask=np.ones_like(rollout.mask)
  )
  template, _ = pack(full, np.zeros_like(rewards), layout)
  placed = jax.jit(lambda r, x: scanned.place(template, r, x, {}))(rollout, rewards)
  packed, _ = pack(rollout, rewards, layout)
  np.testing.assert_array_equal(placed.num_micro, packed.num_micro)
  for field in dataclasses.fields(Batch):
    a, b = (getattr(batch, field.name) for batch in (placed, packed))
    if field.name in ('sample_slots', 'sample_ids', 'num_micro') or not np.ndim(b):
      continue
    if np.ndim(b) == 4:  # in the order of the samples
      a, b = (
        np.asarray(x).reshape(-1, x.shape[-1])[np.asarray(batch.sample_slots)]
        for x, batch in ((a, placed), (b, packed))
      )
    np.testing.assert_array_equal(a, b, err_msg=field.name)
    assert a.dtype == b.dtype
  which = [np.asarray(batch.sample_ids)[..., 0].reshape(minibatches, -1) for batch in
           (placed, packed)]  # fmt: skip
  np.testing.assert_array_equal(*(np.sort(ids, axis=1) for ids in which))


@pytest.mark.parametrize(
  ('changes', 'why'),
  [
    (dict(rl=dict(packed=True)), 'rl.packed=False'),
    (dict(rl=dict(packed=False, max_staleness=1)), 'wait in a queue'),
    (
      dict(rl=dict(packed=False, temperature_controller=dict(name='rollouts.entropy_temperature'))),
      'temperature_controller',
    ),
    (dict(rewards=dict(reward='rewards.random_reward')), 'a reward of its own'),
    (dict(task=dict(name='tasks.signs')), 'signs has no twin'),
    (dict(tokenizer=dict(alphabet='>dcba')), 'not those of the tokenizer'),
    (dict(tokenizer=dict(name='tokenization.byte_level')), 'not those of the tokenizer'),
  ],
)
def test_why_a_stage_is_no_program(changes, why):
  world = assembly.assemble(config.resolve(tiny_config(**{'rl': dict(packed=False), **changes})))
  stage = make_stage('rl', world)
  assert why in scanned.why_not(stage)
  with pytest.raises(ValueError, match='rl cannot be one program'):
    scanned.scanned_run(stage, None, {}, held_out=[], samples=1)
