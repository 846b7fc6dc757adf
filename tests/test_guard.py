"""Updates that are not finite change nothing, and are saved; spikes are recorded."""

import contextlib
import io
import itertools
import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import ROWS, Stopped, Stopper, run, small_machine, without_times
from tiny_updates import GRPO, batches, make

from rljax import checkpoint, cli, files, guard, metrics, replay, sharding
from rljax.guard import batches as saved
from rljax.guard.spikes import spikes
from rljax.health import HealthError
from rljax.sharding import make_mesh  # the one that sees all devices
from rljax.stages import reinforcement

BAD = 3  # a token


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


def bits(tree):
  return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


def poisoned(
  logprobs, tokens, step, *, loss_at: float = -1.0, gradient_at: float = -1.0, until: float = -1.0
):
  """−ℓ; at one token the loss is infinite from the step `loss_at` to `until`, or its gradient NaN
  and the loss finite from the step `gradient_at` on.
  """
  hit = (tokens == BAD) & (step <= until)
  loss = jnp.where(hit & (step >= loss_at) & (loss_at >= 0), jnp.inf, -logprobs)
  root = jnp.where(hit & (step >= gradient_at) & (gradient_at >= 0), 0 * logprobs, 1)
  return loss + jnp.sqrt(root) - 1, {}


# -- the compiled update


def updated(**rates):
  """(what it was, the state after, metrics) of two epochs of two minibatches on eight devices."""
  stage = {**GRPO, 'loss': dict(name='test_guard.poisoned'), 'epochs': 2, 'minibatches': 2}
  stage['advantage'] = dict(name='advantages.single_stream', num_prompts=64)  # it remembers
  step, state, hyper, _ = make(stage, epochs=2)
  given = hyper()
  given['policy'] = {**given['policy'], **rates}
  before = jax.tree.map(np.array, (state.params, state.opt_state, state.method_state))
  batch = batches(0, minibatches=2, rows=4, row_length=20)
  assert batch.num_micro.min() > 1  # several micro-batches
  mesh = make_mesh(data=2, fsdp=2, tensor=2)
  batch = jax.device_put(batch, sharding.batch_shardings(batch, mesh))
  state = jax.device_put(state, sharding.replicated(mesh))
  state = jax.tree.map(jnp.copy, state)  # two of its leaves may be one buffer
  return before, *step(state, {}, batch, given)


@pytest.mark.parametrize('where', ['loss_at', 'gradient_at'])
def test_steps_that_are_not_finite_change_nothing(where):
  before, state, seen = updated(**{where: 0.0, 'until': 3.0})
  assert float(seen['update/nonfinite']) == float(seen['update/skipped']) == 4
  assert bits(before) == bits((state.params, state.opt_state, state.method_state))
  assert np.isfinite(float(seen['update/loss'])) == (where == 'gradient_at')
  assert int(state.step) == 4

  # One of four: the others count, and what is measured over all of them is not taken up.
  before, state, seen = updated(**{where: 1.0, 'until': 1.0})
  assert float(seen['update/nonfinite']) == float(seen['update/skipped']) == 1
  assert bits(before[2]) == bits(state.method_state) and bits(before[0]) != bits(state.params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.params, state.opt_state)))


def test_finite_steps_change_all():
  before, state, seen = updated()
  assert float(seen['update/nonfinite']) == float(seen['update/skipped']) == 0
  assert bits(before[2]) != bits(state.method_state)
  assert np.isfinite(float(seen['update/loss']))


def test_what_is_not_finite_in_a_batch_costs_its_steps():
  """At one token, or of one sample, of the first of two minibatches."""
  step, state, hyper, _ = make(GRPO)
  batch = batches(0, minibatches=2, rows=4, row_length=20)
  token = tuple(x[0] for x in np.nonzero(batch.action_mask))
  place = token[:3]
  sample = batch.sample_ids[place][batch.segment_ids[token]]
  assert place[0] == 0
  # Of a reward NaN says that there is none, and the group goes on without it.
  either, infinite = (np.nan, np.inf, -np.inf), (np.inf, -np.inf)
  for name, where, values, steps in (
    ('policy_logprobs', token, either, 1),
    ('token_rewards', token, either, 1),
    ('temperature', sample, either, 2),  # of a sample: looked at for the whole iteration
    ('rewards', sample, infinite, 2),
    ('rewards', sample, (np.nan,), 0),
  ):
    for value in values:
      hurt = np.array(getattr(batch, name))
      hurt[where] = value
      after, seen = step(jax.tree.map(jnp.copy, state), {}, batch.replace(**{name: hurt}), hyper())
      assert float(seen['update/nonfinite']) == steps, (name, value)
      assert (bits(after.params) == bits(state.params)) == (steps == 2)
      assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.params, after.opt_state)))


# -- a run

LOSS = dict(name='test_guard.poisoned', loss_at=1.0, until=1.0)
TOKENS = dict(loss=LOSS, weights=dict(name='weighting.token_mean'))
STAGES = dict(
  stages=('sft', 'preference', 'rl'),
  checkpoint_every=1,
  guard=dict(spike=1.01, window=2, samples=3),
  sft=dict(iterations=3, **TOKENS),
  preference=dict(iterations=3, prompts=4, max_length=8, **TOKENS, **ROWS),
  rl=dict(loss={**LOSS, 'loss_at': 2.0, 'until': 2.0}, iterations=6),
)


@pytest.fixture(scope='module')
def hurt(tmp_path_factory, machine):
  """The work directory of a run with a step in each stage that is not finite; what it printed."""
  folder = tmp_path_factory.mktemp('hurt') / 'w'
  out = io.StringIO()
  with contextlib.redirect_stdout(out):
    run(folder, **STAGES)
  return folder, out.getvalue()


@pytest.mark.thorough
def test_a_step_of_each_stage_is_skipped_and_its_batch_saved(hurt):
  folder, out = hurt
  rows = [r for r in metrics.read_metrics(folder) if 'update/nonfinite' in r]
  places = {'sft-000002', 'preference-000002', 'rl-000003'}
  assert {f'{r["stage"]}-{r["iteration"]:06}' for r in rows if r['update/nonfinite']} == places
  for row in rows:
    assert np.isfinite(row['update/loss']) != bool(row['update/nonfinite'])
  assert set(files.names(folder / saved.FOLDER)) == places
  with checkpoint.Checkpointer(folder / checkpoint.FOLDER, read_only=True) as kept:
    there = kept.steps()
    for name in places:
      batch, record = saved.read_batch(folder / saved.FOLDER / name)
      assert f'{record["stage"]}-{record["iteration"]:06}' == name
      assert np.any((batch.tokens == BAD) & batch.action_mask)
      # The checkpoint before it is kept, though many have followed.
      host = kept.host(record['checkpoint'])
      stage = STAGES['stages'][host['stage']]
      assert (stage, host['done'] + 1) == (record['stage'], record['iteration'])
      assert f'rljax replay {folder} --batch={saved.FOLDER}/{name}' in out
    assert len(there) == 5 and saved.pinned(folder) == {*there[:3]}


def test_spikes_are_recorded_with_their_samples(hurt):
  folder, out = hurt
  lines = files.read_jsonl(folder / metrics.SPIKES)
  rows = {(r['stage'], r['iteration']): r for r in metrics.read_metrics(folder)}
  counts = {place: row.get('update/spikes', 0) for place, row in rows.items()}
  assert {(x['stage'], x['iteration']) for x in lines} == {p for p, n in counts.items() if n}
  line = next(x for x in lines if x['stage'] == 'rl')
  told = line['spikes']['update/grad_norm']
  row = rows['rl', line['iteration']]
  assert told['value'] == row['update/grad_norm'] > 1.01 * told['median']
  assert len(line['samples']) == 3 and line['num_samples'] == 16
  known = files.read_jsonl(folder / metrics.SAMPLES)
  known = {(x['prompt'], x['completion']): x['reward'] for x in known}
  moved = [abs(x['log_ratio']) for x in line['samples']]
  assert moved == sorted(moved, reverse=True) and moved[0] > 0
  for sample in line['samples']:
    assert sample['ratio_min'] <= 1 <= sample['ratio_max'] and sample['prompt'].endswith('>')
  assert any(known.get((x['prompt'], x['completion'])) == x['reward'] for x in line['samples'])
  assert out.count('samples of such iterations are recorded') == len(
    {name for x in lines for name in x['spikes']}
  )


def watched(path, **node):
  """A guard of a stage that is not there, the lines that it has written, and pinned checkpoints."""
  lines, pins = [], []
  node = dict(nonfinite='skip', skips=3, batches=2, spike=10.0, window=32, samples=4) | node
  config = types.SimpleNamespace(guard=types.SimpleNamespace(**node))
  writer = types.SimpleNamespace(write=lambda i, scalars, **place: lines.append((i, scalars)))
  checkpoints = types.SimpleNamespace(latest=lambda: 7, pin=pins.append)
  progress = types.SimpleNamespace(watched={}, checkpointer=checkpoints, done=0)
  stage = types.SimpleNamespace(
    name='rl', steps_per_iteration=2, world=types.SimpleNamespace(mesh=None), samples=False
  )
  one = guard.Guard(path, config, writer, progress)

  def see(iteration, nonfinite):
    batch = batches(0, minibatches=2, rows=4, row_length=20)
    one.hold(stage, types.SimpleNamespace(params={}), iteration, batch)
    scalars = {'update/nonfinite': nonfinite, 'update/grad_norm': np.nan if nonfinite else 1.0}
    one.write(iteration, scalars, stage='rl')

  return see, lines, pins


def test_the_policy_stop_and_too_many_in_a_row_end_the_run(tmp_path, capsys):
  see, lines, pins = watched(tmp_path / 'stop', nonfinite='stop')
  see(1, 0.0)
  with pytest.raises(HealthError, match=r"rl, iteration 2: .* of 2 steps .*'stop'; to repeat it"):
    see(2, 1.0)
  assert [i for i, _ in lines] == [1, 2] and pins == [7]  # the line is there
  assert len(files.names(tmp_path / 'stop' / saved.FOLDER)) == 1

  see, lines, _ = watched(tmp_path / 'row')
  for iteration, nonfinite in enumerate([1, 1, 0, 1, 1]):
    see(iteration, nonfinite)
  with pytest.raises(HealthError, match=r'in 3 iterations in a row \(config.guard.skips=3\)'):
    see(5, 2.0)
  assert [x['update/nonfinite'] for _, x in lines] == [1, 1, 0, 1, 1, 2]
  assert len(files.names(tmp_path / 'row' / saved.FOLDER)) == 2
  assert 'its batch is not saved (2 are: config.guard.batches)' in capsys.readouterr().out
  with pytest.raises(ValueError, match=r"guard\.nonfinite is 'halt'; it is one of 'skip'"):
    watched(None, nonfinite='halt')


@pytest.mark.thorough
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_batch_that_is_not_finite_stops_a_run_and_is_repeated(tmp_path, monkeypatch, value):
  """Of a sampler that has gone wrong: one log-prob, in the second iteration."""
  place = reinforcement.Reinforcement.place

  def hurt_place(stage, batch):
    if int(batch.policy_step.max()) == 1:
      token = tuple(x[0] for x in np.nonzero(batch.action_mask))
      batch.policy_logprobs[token] = value
    return place(stage, batch)

  changes = dict(stages=('rl',), rl=dict(iterations=3), guard=dict(nonfinite='stop'))
  with monkeypatch.context() as patch:
    patch.setattr(reinforcement.Reinforcement, 'place', hurt_place)
    with pytest.raises(HealthError, match='batch of 1 of 1 steps is not finite'):
      run(tmp_path / 'w', **changes)
  (name,) = files.names(tmp_path / 'w' / saved.FOLDER)
  batch, record = saved.read_batch(tmp_path / 'w' / saved.FOLDER / name)
  assert name == 'rl-000002' and not np.isfinite(batch.policy_logprobs).all()
  found = replay.replay(tmp_path / 'w', batch=f'{saved.FOLDER}/{name}')
  assert found.same_batch is False  # the sampler is well again
  assert found.metrics['update/nonfinite'] == (1, 1) == (1, record['metrics']['update/nonfinite'])


@pytest.mark.thorough
def test_what_the_guard_has_seen_is_kept(tmp_path, monkeypatch):
  """A run that is stopped and goes on counts the same spikes and the same skips in a row."""
  changes = dict(
    stages=('sft',),
    guard=dict(spike=1.01, window=2, skips=4),
    writers=('jsonl', 'tiny_runs.Stopper'),
    sft=dict(loss={**LOSS, 'loss_at': 3.0, 'until': 5.0}, weights=TOKENS['weights']),
  )
  run(tmp_path / 'whole', **changes)
  monkeypatch.setattr(Stopper, 'row', 5)
  with pytest.raises(Stopped):
    run(tmp_path / 'stopped', **changes)
  monkeypatch.setattr(Stopper, 'row', None)
  run(tmp_path / 'stopped', **changes)
  folders = [tmp_path / 'whole', tmp_path / 'stopped']
  one, other = (without_times(metrics.read_metrics(f)) for f in folders)
  np.testing.assert_equal(one, other)
  assert [r['update/nonfinite'] for r in one[1:]] == [0, 0, 0, 1, 1, 1]
  lines = [files.read_jsonl(f / metrics.SPIKES) for f in folders]
  assert lines[0] == lines[1]


def test_a_spike_is_far_above_the_median_of_the_last_values():
  past = {}
  seen = [1.0, 2.0, 1.5, 40.0, 1.0, float('nan'), 1.0]
  found = [
    spikes({'update/grad_norm': x}, past, factor=10.0, window=3).get('update/grad_norm')
    for x in seen
  ]
  assert found == [None, None, None, (40.0, 1.5), None, None, None]
  assert past['update/grad_norm'] == [40.0, 1.0, 1.0]
  assert not spikes({'policy/kl_ref': 1.0}, {'policy/kl_ref': [0.0] * 3}, factor=10.0, window=3)
  assert not spikes({'update/grad_norm': 99.0}, past, factor=0.0, window=3)


def test_arrays_on_disk_hold_numbers_only(tmp_path):
  arrays = {'a/b': np.arange(3, dtype=np.int16), 'c': np.array([True, False])}
  files.write_arrays(tmp_path / 'x.npz', arrays)
  found = files.read_arrays(tmp_path / 'x.npz')
  assert found.keys() == arrays.keys() and found['a/b'].dtype == np.int16
  np.testing.assert_array_equal(found['c'], arrays['c'])
  with pytest.raises(ValueError, match='the array o is of type object'):
    files.write_arrays(tmp_path / 'y.npz', {'o': np.array([{}], object)})
  with open(tmp_path / 'z.npz', 'wb') as file:
    np.savez(file, o=np.array([{}], object))
  with pytest.raises(ValueError, match='pickle'):
    files.read_arrays(tmp_path / 'z.npz')
  with pytest.raises(ValueError, match='holds no saved batch'):
    saved.read_batch(tmp_path)


# -- replay


def whole(folder):
  """Every file of a folder."""
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.mark.thorough
def test_an_iteration_of_each_stage_is_replayed_bit_by_bit(hurt, capsys):
  folder, _ = hurt
  before = whole(folder)
  # rl 6 begins at the last checkpoint but one, rl 3, which is not finite, and the one of preference
  # at pinned ones, sft 1 at the start of the run.
  for stage, iteration in (('rl', 6), ('rl', 3), ('preference', 3), ('sft', 1)):
    found = replay.replay(folder, iteration, stage=stage)
    assert found.place == (stage, iteration) and not found.differing, found
    assert {'update/loss', 'update/grad_norm', 'update/spikes'} <= found.metrics.keys()
    assert bool(found.samples[0]) == (stage == 'rl')
  # A saved batch.
  assert cli.main(['replay', str(folder), '--batch=nonfinite/rl-000003']) == 0
  out = capsys.readouterr().out
  assert 'what was collected is the saved batch' in out and 'is the run, bit by bit' in out
  assert whole(folder) == before


def test_a_replay_that_differs_is_told(hurt, tmp_path, capsys):
  """Another number on disk, and another batch than the one that was collected."""
  copy = tmp_path / 'w'
  shutil.copytree(hurt[0], copy)
  text = (copy / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in text]
  row = next(r for r in rows if (r['stage'], r['iteration']) == ('rl', 3))
  row['update/grad_norm'] = row['rollout/tokens'] = 1
  (copy / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows))
  place = copy / 'nonfinite' / 'rl-000003'
  batch, _ = saved.read_batch(place)
  changed = batch.replace(tokens=np.where(batch.tokens == BAD, 0, batch.tokens))
  arrays = {**files.read_arrays(place / 'batch.npz'), 'tokens': changed.tokens}
  files.write_arrays(place / 'batch.npz', arrays)
  assert cli.main(['replay', str(copy), '--batch=nonfinite/rl-000003']) == cli.DIFFERS == 3
  out = capsys.readouterr().out
  assert 'what was collected is not the saved batch' in out
  found = [line.split()[0] for line in out.splitlines() if line.endswith('differs')]
  assert {'rollout/tokens', 'update/nonfinite'} <= {*found}
  assert f'differs from the run in {len(found)} of ' in out and f', first in {found[0]}' in out


calls = itertools.count()


def by_the_clock(completion):
  """As if the time of day decided."""
  return next(calls) % 7 / 7


@pytest.mark.thorough
def test_a_reward_that_depends_on_the_time_is_found(tmp_path):
  rewards = dict(reward='test_guard.by_the_clock')
  run(tmp_path / 'w', stages=('rl',), rewards=rewards, rl=dict(iterations=2))
  found = replay.replay(tmp_path / 'w', 2)
  assert {'reward/mean', 'samples'} <= {*found.differing}
  # The draws of the first iteration are the same all the same.
  first = replay.replay(tmp_path / 'w', 1)
  assert 'reward/mean' in first.differing and 'rollout/tokens' not in first.differing
  pairs = list(zip(*first.samples))
  assert pairs and all(a['completion'] == b['completion'] for a, b in pairs)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--step=99'], 'there is no iteration 99 of a stage; there are sft 1 … 3, preference 1 … 3'),
    (['--step=1', '--stage=lr'], "the run has no stage 'lr'"),
    (['--batch=nonfinite/rl-000004'], 'holds no saved batch'),
    ([], 'replay needs --step=<iteration> or --batch='),
    (['--step=1', '--batch=x'], 'replay needs --step=<iteration> or --batch='),
  ],
)
def test_mistakes_of_a_replay(hurt, capsys, arguments, message):
  assert cli.main(['replay', str(hurt[0]), *arguments]) == 2
  assert message in capsys.readouterr().err
