"""Whole runs: what they leave behind, what they compile, where they stop, and their mesh."""

import dataclasses
import functools
import json
import pathlib

import jax
import numpy as np
import pytest
from tiny_runs import run, small_machine, without_times

from rljax import checkpoint, files, metrics, progress, sharding, stages
from rljax.rewards import Scorer

EVALUATION = {'greedy', 'pass@1', 'pass@k', 'avg@n'}
make_mesh, plot_curves = sharding.make_mesh, metrics.plot_curves  # the whole ones
SCHEDULED = dict(
  temperature=dict(schedule='linear', start=1.0, end=0.5, steps=2),
  kl=dict(name='regularizers.full_reverse_kl'),
  kl_coef=dict(schedule='cosine', start=0.2, end=0.0, steps=3),
  loss=dict(
    name='losses.clipped_surrogate',
    clip_low=dict(schedule='linear', start=0.3, end=0.1, steps=3),
  ),
  optimizer=dict(decay='linear', learning_rate=1e-3, warmup_steps=2),
  top_k=3,
)


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


@dataclasses.dataclass
class Finished:
  """A run with schedules: where it is, what it returned, what it compiled, its last stage."""

  path: pathlib.Path
  summary: dict
  compiled: dict
  stages: list

  @functools.cached_property
  def last(self):
    """(train state, host record, reference parameters) of the last checkpoint."""
    stage = self.stages[-1]
    shape = {'policy': stage.world.policies['policy'].init(jax.random.key(5))}
    example = stage.init(shape, jax.random.key(0))
    with checkpoint.Checkpointer(self.path / 'checkpoints', read_only=True) as saved:
      state, host = saved.restore(example)
      version = host['versions']['reference']
      return state, host, saved.restore_role('reference', version, state.params['policy'])


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  path, seen = tmp_path_factory.mktemp('train') / 'w', []

  def record(*args, **kwargs):
    seen.append(stages.make_stage(*args, **kwargs))
    return seen[-1]

  with pytest.MonkeyPatch.context() as patch, metrics.CompileWatch() as watch:
    patch.setattr(progress, 'make_stage', record)
    patch.setattr(metrics, 'plot_curves', plot_curves)
    summary = run(path, rl=SCHEDULED)
  compiled = {stage.name: stage.update._cache_size() for stage in seen}
  return Finished(path, summary, {**watch.counts, **compiled}, seen)


def test_summary(finished):
  path, summary = finished.path, finished.summary
  assert summary == json.loads((path / 'summary.json').read_text())
  keys = {'start', 'end', 'seconds', 'compile_seconds', 'peak_mib', 'tokens', 'config', 'versions'}
  assert keys | {'seed'} <= set(summary)
  assert EVALUATION <= set(summary['start']) and EVALUATION <= set(summary['end'])
  assert set(summary['end']['pass@k']) == {'1', '2', '4'} and summary['end']['n'] == 4
  assert summary['seconds'] > summary['compile_seconds'] > 0 and summary['peak_mib'] > 100
  assert summary['versions']['jax'] == jax.__version__ and summary['seed'] == 0
  assert summary['config']['rl']['loss']['clip_high'] == 0.2  # resolved


def test_each_iteration_has_one_line(finished):
  path, summary = finished.path, finished.summary
  rows = metrics.read_metrics(path)
  places = [(row['stage'], row['iteration']) for row in rows]
  assert places == [('sft', i) for i in range(1, 7)] + [('rl', i) for i in range(5)]
  assert all('sft/loss' in row and 'policy/loss' not in row for row in rows[:6])
  for row in rows[7:]:
    for name in ('reward/mean', 'reward/similarity', 'policy/loss', 'policy/kl_ref', 'step'):
      assert np.isfinite(row[name]), name
  for row, which in ((rows[6], 'start'), (rows[-1], 'end')):
    assert row['eval/reverse_text/greedy'] == summary[which]['greedy']
    assert row['eval/reverse_text/avg@4'] == summary[which]['avg@n']
  assert summary['tokens'] == sum(row['rollout/tokens'] for row in rows[7:])
  for row in rows[7:]:  # sampler and trainer agree at every temperature
    assert row['rollout/mismatch_max'] < 3e-5


def test_files(finished):
  path = finished.path
  for name in ('curves.png', 'pass_at_k.png'):
    assert (path / name).read_bytes().startswith(b'\x89PNG')
  samples = files.read_jsonl(path / 'samples.jsonl')
  assert {row['iteration'] for row in samples} == {1, 2, 3, 4}
  assert {'prompt', 'completion', 'reward', 'components', 'truncated'} <= set(samples[0])
  assert files.read_json(path / 'model.json')['vocab_size'] == 7


def test_one_program_for_each_stage(finished):
  compiled = finished.compiled
  assert compiled['sft'] == compiled['rl'] == 1 and compiled['update_step'] == 2
  # With top_k for the rollouts, without filters for evaluation.
  assert compiled['sampler'] == 2


def test_rl_starts_with_the_policy_of_sft(finished):
  """With a fresh optimizer at step 0, and with that policy as its reference."""
  state, host, reference = finished.last
  assert (host['stage'], host['done'], int(state.step)) == (1, 4, 4)
  counts = [x for x in jax.tree.leaves(state.opt_state) if x.dtype == np.int32]
  assert counts and all(int(x) == 4 for x in counts)
  rows = metrics.read_metrics(finished.path)
  world = finished.stages[1].world
  world = dataclasses.replace(world, judge=Scorer(world.task.reward, workers=0))
  found = world.evaluate(reference, 0, 8, samples=4, ks=(1, 2, 4))
  assert {k: rows[6][f'eval/reverse_text/{k}'] for k in found} == pytest.approx(found)
  # Where the policy still is its reference, the KL is 0.
  assert rows[7]['policy/kl_ref'] == pytest.approx(0, abs=1e-6) != rows[10]['policy/kl_ref']
  pairs = zip(*map(jax.tree.leaves, (state.params['policy'], reference)))
  assert all(np.max(np.abs(a - b)) > 0 for a, b in pairs)


def test_the_same_prompt_is_drawn_anew(finished):
  """In two iterations, in two samples, and in evaluation."""
  rows = files.read_jsonl(finished.path / 'samples.jsonl')
  assert len({row['draw_id'] for row in rows}) == 2 * 4  # of each iteration two groups are shown
  world, generate = finished.stages[1].world, finished.stages[1].generate
  params = finished.last[0].params['policy']
  judge = dataclasses.replace(world.evaluator(), prompts=4, samples=4)
  prompt = world.held_out(0, 1) * 4
  plain = dataclasses.replace(generate, top_k=0)

  def draw(generator, first):
    rollout = generator(params, generator.requests(prompt, range(first, first + 4)))
    return np.asarray(rollout.tokens)[:, 4:]

  one, two, evaluated = draw(plain, 0), draw(plain, 4), draw(judge, 0)
  assert not np.array_equal(one, two) and not np.array_equal(one, evaluated)
  assert len(np.unique(one, axis=0)) > 4
  np.testing.assert_array_equal(evaluated, draw(judge, 0))


def test_a_finished_run_prints_its_summary(finished, capsys):
  before = {p: p.read_bytes() for p in finished.path.rglob('*') if p.is_file()}
  assert run(finished.path, rl=SCHEDULED) == finished.summary
  assert 'held-out problems' in capsys.readouterr().out
  assert before == {p: p.read_bytes() for p in finished.path.rglob('*') if p.is_file()}


def test_a_temperature_schedule_is_followed(finished):
  stage, seen = finished.stages[1], []

  def strategy(arrays):
    seen.append(arrays['generate'].temperature)
    raise StopIteration

  stage.strategy = strategy
  for iteration in range(4):
    with pytest.raises(StopIteration):
      stage.collect(finished.last[0], iteration)
  assert seen == [1.0, 0.75, 0.5, 0.5]


def letters_a(completion):
  return completion.count('a') / 4


@pytest.mark.slow
def test_eight_devices_learn_what_one_does(tmp_path):
  changes = dict(stages=('rl',), rl=dict(iterations=3), checkpoint_every=9)
  changes['rewards'] = dict(reward='test_train.letters_a')
  run(tmp_path / 'one', **changes)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, 'make_mesh', make_mesh)
    run(tmp_path / 'eight', mesh=dict(data=2, fsdp=4), **changes)
  one, eight = (without_times(metrics.read_metrics(tmp_path / d)) for d in ('one', 'eight'))
  assert len(one) == len(eight) == 4
  samples = [files.read_jsonl(tmp_path / d / 'samples.jsonl') for d in ('one', 'eight')]
  assert [r['completion'] for r in samples[0]] == [r['completion'] for r in samples[1]]
  for a, b in zip(one, eight):
    assert a.keys() == b.keys()
    for name in a.keys() - {'stage', 'rollout/mismatch_max', 'rollout/mismatch_mean'}:
      assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-5), name
    assert b.get('update/grad_norm', 1) > 0.01
  first, second = (checkpoint.load_params(tmp_path / d) for d in ('one', 'eight'))
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
    assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a)
