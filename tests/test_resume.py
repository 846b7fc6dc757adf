"""A run that is stopped and started again is the run that was never stopped, bit by bit."""

import os
import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from tiny_runs import (
  Stopped,
  Stopper,
  flags_of_one_device,
  merge,
  run,
  small_machine,
  tiny_config,
  without_times,
)

from rljax import checkpoint, files, metrics, stages
from rljax.progress import Progress
from rljax.train import train

WITH_ALL = dict(
  kl_coef=0.1,
  epochs=2,
  minibatches=2,
  advantage=dict(name='advantages.gae'),
  value=dict(name='losses.clipped_value'),
)
CONFIG = """
import sys
sys.path.insert(0, {tests!r})
from ml_collections import ConfigDict
import tiny_runs

def get_config():
  config = tiny_runs.tiny_config(writers=('jsonl', 'tiny_runs.Stopper'), rl={rl!r})
  return ConfigDict(config, type_safe=False)
"""


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


def assert_same_run(one, other):
  """Metrics, samples, model and last train state."""
  first, second = (without_times(metrics.read_metrics(d)) for d in (one, other))
  np.testing.assert_equal(first, second)  # NaN equals NaN
  assert files.read_jsonl(one / 'samples.jsonl') == files.read_jsonl(other / 'samples.jsonl')
  places = [(row['stage'], row['iteration']) for row in second]
  assert len(set(places)) == len(places) == 6 + 1 + 4
  for a, b in zip(*(jax.tree.leaves(checkpoint.load_params(d)) for d in (one, other))):
    np.testing.assert_array_equal(a, b)
  ends = [metrics.read_summary(d) for d in (one, other)]
  for name in ('start', 'end', 'tokens', 'config'):
    assert ends[0][name] == ends[1][name]


def start(folder, workdir, kill_at=None):
  """`rljax train` in a process of its own; it kills itself at a row of the metrics."""
  env = {k: v for k, v in os.environ.items() if k != 'KILL_AT'}
  env |= {'RLJAX_DATA': str(folder / 'data'), 'JAX_PLATFORMS': 'cpu'}
  env |= {'XLA_FLAGS': flags_of_one_device()}
  if kill_at is not None:
    env['KILL_AT'] = str(kill_at)
  command = [sys.executable, '-m', 'rljax', 'train', '--config=tiny.py', f'--workdir={workdir}']
  return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.thorough
@pytest.mark.parametrize(
  'rl', [pytest.param({}, id='grpo'), pytest.param(WITH_ALL, id='all', marks=pytest.mark.slow)]
)
def test_kill_9_in_both_stages(tmp_path, rl):
  tests = str(pathlib.Path(__file__).parent)
  (tmp_path / 'tiny.py').write_text(CONFIG.format(tests=tests, rl=rl))
  assert start(tmp_path, 'whole').returncode == 0
  for row in (4, 10):  # iteration 4 of SFT, iteration 3 of RL
    killed = start(tmp_path, 'killed', kill_at=row)
    assert killed.returncode == -9, killed.stderr
  last = start(tmp_path, 'killed')
  assert last.returncode == 0, last.stderr
  assert 'continues after iteration' in last.stdout  # which one: saves go on behind
  assert_same_run(tmp_path / 'whole', tmp_path / 'killed')


def interrupted(workdir, *rows, **changes):
  """A run that is stopped at each of `rows`, started again, and goes to its end."""
  for row in (*rows, None):
    Stopper.row = row
    try:
      summary = run(workdir, writers=('jsonl', 'tiny_runs.Stopper'), **changes)
    except Stopped:
      assert row is not None
    else:
      assert row is None
  return summary


def test_an_iteration_counts_when_the_checkpoint_before_it_is_whole(tmp_path, monkeypatch):
  watch = types.SimpleNamespace(seconds=0.0, peak_mib=0.0)
  progress, seen = Progress(tmp_path, keep=1, compiled=watch, memory=watch), []
  monkeypatch.setattr(progress.checkpointer, 'wait', lambda: seen.append(progress.done))
  progress.count(4, 30)
  progress.count(8, 20)
  assert seen == [0, 1]  # waited for first, counted then
  assert (progress.done, progress.draws, progress.tokens) == (2, 8, 50)
  monkeypatch.undo()
  progress.checkpointer.close()


@pytest.mark.slow
def test_value_head_reference_and_minibatches(tmp_path):
  changes = dict(rl=WITH_ALL, checkpoint_every=3)
  interrupted(tmp_path / 'whole', **changes)
  interrupted(tmp_path / 'stopped', 10, **changes)
  assert_same_run(tmp_path / 'whole', tmp_path / 'stopped')
  assert any(row.get('policy/kl_ref', 0) > 0 for row in metrics.read_metrics(tmp_path / 'whole'))


@pytest.mark.slow
def test_rollouts_that_wait_are_kept(tmp_path):
  """With a queue of two; at the third iteration of RL both were drawn before the checkpoint."""
  changes = dict(rl=dict(max_staleness=2, old_logprobs='sampler'))
  interrupted(tmp_path / 'whole', **changes)
  interrupted(tmp_path / 'stopped', 10, **changes)
  assert_same_run(tmp_path / 'whole', tmp_path / 'stopped')
  rows = [r for r in metrics.read_metrics(tmp_path / 'whole') if 'rollout/age' in r]
  assert [row['rollout/age'] for row in rows] == [0, 1, 2, 2]
  ratios = [row['policy/ratio_max'] for row in rows]
  assert ratios[0] == pytest.approx(1, abs=1e-5) and min(ratios[1:]) > 1.0001


@pytest.mark.slow
def test_an_early_end_of_sft_is_kept(tmp_path, monkeypatch):
  """SFT has reached its goal at iteration 2; what follows does not begin it again."""
  goal = stages.Supervised.is_good_enough
  monkeypatch.setattr(stages.Supervised, 'is_good_enough', lambda self, state, done: done == 2)
  with pytest.raises(Stopped):  # at the start of RL, before its first checkpoint
    monkeypatch.setattr(Stopper, 'row', 7)
    run(tmp_path / 'w', writers=('jsonl', 'tiny_runs.Stopper'), rl=dict(iterations=1))
  monkeypatch.setattr(Stopper, 'row', None)
  monkeypatch.setattr(stages.Supervised, 'is_good_enough', goal)
  run(tmp_path / 'w', writers=('jsonl', 'tiny_runs.Stopper'), rl=dict(iterations=1))
  places = [(r['stage'], r['iteration']) for r in metrics.read_metrics(tmp_path / 'w')]
  assert places == [('sft', 1), ('sft', 2), ('rl', 0), ('rl', 1)]


@pytest.mark.slow
def test_a_finished_run_with_another_config(tmp_path):
  """More iterations go on where it ended; a model of another shape is refused."""
  workdir, short = str(tmp_path / 'w'), dict(sft=dict(iterations=1), rl=dict(iterations=1))
  run(workdir, **short)
  longer = merge(short, dict(rl=dict(iterations=2)))
  with pytest.raises(ValueError, match=r'rl\.iterations: 1 → 2'):
    run(workdir, **longer)
  wider = tiny_config(**merge(longer, dict(model=dict(d_ff=48))))
  with pytest.raises(ValueError, match=r'policy.* has shape .* on disk, expected is') as error:
    train(wider, workdir=workdir, accept_config_change=['rl.iterations', 'model.d_ff'])
  assert '\n' not in str(error.value)
  accepted = ['rl.iterations', 'model.d_ff']
  summary = train(tiny_config(**longer), workdir=workdir, accept_config_change=accepted)
  rows = metrics.read_metrics(workdir)
  assert [r['iteration'] for r in rows if r['stage'] == 'rl'] == [0, 1, 2]
  assert summary['end']['length_mean'] == rows[-1]['eval/reverse_text/length_mean']
  # A draw of the continued run has a number of its own: two iterations of four prompts.
  with checkpoint.Checkpointer(f'{workdir}/{checkpoint.FOLDER}', read_only=True) as saved:
    assert saved.host()['draws'] == 8
  draws = [row['draw_id'] for row in files.read_jsonl(f'{workdir}/samples.jsonl')]
  assert max(draws) >= 4
