"""Two real processes whose updates go wrong: both skip or stop, and one of them saves the batch."""

import subprocess

import numpy as np
import pytest
from host_runs import SHORT, WIDE, assert_same, command, ended, environment, run, said, start
from tiny_runs import merge

from rljax import cli, files, metrics
from rljax.guard import batches

# The first of the two steps of the second iteration is not finite.
LOSS = dict(name='test_guard.poisoned', loss_at=2.0, until=2.0)
HURT = merge(
  SHORT,
  dict(
    model=WIDE,
    checkpoint_every=1,
    guard=dict(spike=0.1, window=1, samples=3),  # nearly every one is a spike
    rl=dict(iterations=4, loss=LOSS),
  ),
)
BATCH = f'{batches.FOLDER}/rl-000002'


@pytest.mark.slow
def test_all_hosts_skip_a_step_and_the_batch_is_saved_once_and_repeated(tmp_path):
  one = run(tmp_path / 'one', processes=1, x64=True, **HURT)
  two = run(tmp_path / 'two', x64=True, **HURT)
  assert_same(two, one, 1e-8)  # the parameters, too
  rows = [row for row in metrics.read_metrics(two) if 'update/nonfinite' in row]
  assert [row['update/nonfinite'] for row in rows] == [0, 1, 0, 0]
  spikes = [files.read_jsonl(path / metrics.SPIKES) for path in (two, one)]
  assert [x['iteration'] for x in spikes[0]] == [
    row['iteration'] for row in rows if row['update/spikes']
  ]
  assert spikes[0] and [x['spikes'].keys() for x in spikes[0]] == [
    x['spikes'].keys() for x in spikes[1]
  ]
  assert all(len(x['samples']) == 3 and x['num_samples'] == 32 for x in spikes[0])

  assert files.names(two / batches.FOLDER) == ['rl-000002']
  batch, record = batches.read_batch(two / BATCH)
  alone, _ = batches.read_batch(one / BATCH)
  assert (batch.sample_slots >= 0).sum() == (alone.sample_slots >= 0).sum() == 32
  np.testing.assert_array_equal(
    np.sort(batch.tokens[batch.action_mask]), np.sort(alone.tokens[alone.action_mask])
  )
  line = f'to repeat it: rljax replay {two} --batch={BATCH}'
  assert line in said(two, 0) and line not in said(two, 1)
  again = subprocess.run(
    command('replay', str(two), f'--batch={BATCH}'),
    env=environment(two, devices=8, x64=True), capture_output=True, text=True,
  )  # fmt: skip
  # One process packs otherwise, and so adds otherwise.
  assert again.returncode in (0, cli.DIFFERS), again.stderr
  told = {x[0]: x[1:3] for line in again.stdout.splitlines() if len(x := line.split()) >= 3}
  assert [float(x) for x in told['update/nonfinite']] == [1, 1]
  assert float(told['rollout/tokens'][0]) == float(told['rollout/tokens'][1])
  assert record['metrics']['update/nonfinite'] == 1


@pytest.mark.slow
def test_all_hosts_stop(tmp_path):
  begun = start(tmp_path / 'w', x64=True, **merge(HURT, dict(guard=dict(nonfinite='stop'))))
  assert ended(begun, 300) == [1, 1]
  for process in (0, 1):
    assert 'of 1 of 2 steps is not finite' in said(tmp_path / 'w', process), process
  rows = [row for row in metrics.read_metrics(tmp_path / 'w') if 'update/nonfinite' in row]
  assert [row['update/nonfinite'] for row in rows] == [0, 1]
  assert files.names(tmp_path / 'w' / batches.FOLDER) == ['rl-000002']
