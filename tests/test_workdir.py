"""The work directory: fresh, continued, finished, refused, set aside, locked."""

import json
import os
import subprocess
import sys

import ml_collections
import numpy as np
import pytest

from rljax import files, metrics, workdir
from rljax.workdir import WorkdirError, open_workdir

CONFIG = {
  'stages': ('sft', 'rl'),
  'rl': {'iterations': 5, 'lr': 1e-3, 'beta': float('nan'), 'reward': len, 'a': {}, 'b': None},
  'grid': [{'a': 1}, {'a': (1, (2.0,))}],
  'lr': 0.1 + 0.2,
  'size': np.int64(3),
}


def changed(**rl):
  return {**CONFIG, 'rl': {**CONFIG['rl'], **rl}}


def finish(path):
  metrics.write_summary(
    path,
    start={},
    end={'greedy': 0.5},
    seconds=1,
    compile_seconds=1,
    peak_mib=1,
    tokens=1,
    config={},
    versions={},
    seed=0,
  )


def test_a_config_equals_itself_after_a_round_trip(tmp_path):
  for config in (CONFIG, ml_collections.ConfigDict({**CONFIG, 'grid': (1, 2)})):
    once = files.plain(config)
    text = json.dumps(once, allow_nan=False)
    assert files.plain(json.loads(text)) == once
    assert workdir.differences(json.loads(text), config) == {}


def test_differences():
  found = workdir.differences(
    {'a': 1, 'b': {'c': [1, 2], 'd': {}}, 'e': True, 'g': [{'h': 1}, {'h': 2}]},
    {'a': 1.0, 'b': {'c': (1, 3), 'f': None}, 'e': 1, 'g': [{'h': 1}, {'h': 3}]},
  )
  assert found == {
    'b.c': ([1, 2], [1, 3]),
    'b.d': ({}, workdir.ABSENT),
    'b.f': (workdir.ABSENT, None),
    'e': (True, 1),
    'g.1.h': (2, 3),
  }


def test_a_new_directory_for_each_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  first = open_workdir(None, 'configs/quickstart.py', CONFIG, 3)
  second = open_workdir(None, 'quickstart', CONFIG, 3)
  assert first.fresh and second.fresh and first.path != second.path
  for run in (first, second):
    assert str(run.path).startswith('runs/quickstart/2') and '-s3' in run.path.name
    saved = workdir.read_config(run.path)
    assert (saved['seed'], saved['config']['rl']['iterations']) == (3, 5)
    start = files.read_json(run.path / 'versions.json')[0]
    assert {'rljax', 'jax', 'python', 'started'} <= start.keys()


def test_start_continue_finish(tmp_path):
  path = tmp_path / 'run'
  path.mkdir()
  with open_workdir(path, 'q', CONFIG, 0) as run:
    assert run.fresh and run.notes == []
  saved = json.loads(json.dumps(files.plain(CONFIG)))
  with open_workdir(f'{path}/', 'other/name.py', saved, 0) as run:
    assert run.resumed and run.notes == [] and run.summary is None
  finish(path)
  with open_workdir(path, 'q', CONFIG, 0) as run:
    assert run.finished and run.summary['end']['greedy'] == 0.5


def test_another_config_is_refused_and_may_be_accepted(tmp_path):
  open_workdir(tmp_path, 'q', CONFIG, 0).release()
  finish(tmp_path)
  other = changed(iterations=9, lr=0.5)
  with pytest.raises(WorkdirError) as error:
    open_workdir(tmp_path, 'q', other, 1)
  message = str(error.value)
  for part in ('rl.iterations: 5 → 9', 'rl.lr: 0.001 → 0.5', 'seed: 0 → 1', '--restart'):
    assert part in message
  assert '--accept_config_change=rl.iterations,rl.lr,seed' in message and '\n' not in message
  with pytest.raises(WorkdirError, match=r'\(seed: 0 → 1\)'):
    open_workdir(tmp_path, 'q', other, 1, accept=['rl'])
  with pytest.raises(WorkdirError, match=r"no key 'rl.iteration'; did you mean rl.iterations"):
    open_workdir(tmp_path, 'q', other, 0, accept=['rl.iteration'])
  with open_workdir(tmp_path, 'q', other, 0, accept=['rl.iterations', 'rl.lr']) as run:
    assert run.resumed and len(run.notes) == 2 and 'rl.lr: 0.001 → 0.5' in run.notes[1]
  assert (tmp_path / 'summary-1.json').exists()
  with open_workdir(tmp_path, 'q', other, 0) as run:  # the new config is the run's now
    assert run.resumed and run.notes == []


def test_restart_moves_the_old_run_aside(tmp_path):
  path = tmp_path / 'run'
  for number in (0, 1, 2):
    with open_workdir(path, 'q', changed(iterations=number), 0, restart=True) as run:
      assert run.fresh
    (path / 'metrics.jsonl').write_text(str(number))
  assert sorted(os.listdir(tmp_path)) == ['run', 'run.old-1', 'run.old-2']
  assert (tmp_path / 'run.old-1' / 'metrics.jsonl').read_text() == '0'


def test_a_directory_of_something_else_is_left_alone(tmp_path):
  (tmp_path / 'thesis.tex').write_text('')
  for restart in (False, True):
    with pytest.raises(WorkdirError, match=r'thesis\.tex .* no run of rljax'):
      open_workdir(tmp_path, 'q', CONFIG, 0, restart=restart)
  assert os.listdir(tmp_path) == ['thesis.tex']


def test_a_second_run_is_refused_until_the_first_one_dies(tmp_path):
  code = (
    'import os, sys; from rljax import workdir\n'
    'run = workdir.open_workdir(sys.argv[1], "q", {"a": 1}, 0); print(os.getpid(), flush=True)\n'
    'sys.stdin.read()'
  )
  command = [sys.executable, '-c', code, str(tmp_path)]
  with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    pid = child.stdout.readline().decode().strip()
    for restart in (False, True):
      with pytest.raises(WorkdirError, match=f'in use by the process {pid}'):
        open_workdir(tmp_path, 'q', {'a': 1}, 0, restart=restart)
    child.kill()
  run = open_workdir(tmp_path, 'q', {'a': 1}, 0)
  assert run.resumed
  with pytest.raises(WorkdirError, match=f'process {os.getpid()}'):
    open_workdir(tmp_path, 'q', {'a': 1}, 0)
  run.release()
  with pytest.raises(WorkdirError, match='another config'):
    open_workdir(tmp_path, 'q', {'a': 2}, 0)
  open_workdir(tmp_path, 'q', {'a': 1}, 0).release()  # a refusal lets go of the lock


def test_other_versions_are_noted(tmp_path):
  open_workdir(tmp_path, 'q', CONFIG, 0).release()
  starts = files.read_json(tmp_path / 'versions.json')
  files.write_json(tmp_path / 'versions.json', [{**starts[0], 'jax': '0.1'}])
  with open_workdir(tmp_path, 'q', CONFIG, 0) as run:
    assert len(run.notes) == 1 and 'jax 0.1 → ' in run.notes[0]
  assert len(files.read_json(tmp_path / 'versions.json')) == 2


def test_an_edited_function_of_the_users_own_is_noted(tmp_path, monkeypatch):
  """By name, whether its module is imported before the run or not; files of others are not read."""
  monkeypatch.syspath_prepend(tmp_path)
  names = {'reward': 'edited_paper.reward', 'loss': {'name': 'edited_paper.loss'}}
  writers = ('jsonl', 'edited_writer.Mine')
  others = {'name': 'losses.cispo', 'path': 'edited_paper.jsonl', 'task': 'nowhere.at_all'}
  config = {**CONFIG, 'rl': [names, others], 'writers': writers}
  paper, writer = tmp_path / 'edited_paper.py', tmp_path / 'edited_writer.py'
  paper.write_text('def loss():\n  return 1\n\ndef reward():\n  return 2\n')
  writer.write_text('class Mine:\n  pass\n')
  import edited_paper

  for text, expected in (
    (paper.read_text(), []),
    (paper.read_text().replace('2', '3'), ['edited_paper.loss', 'edited_paper.reward']),
    (None, []),
  ):
    if text is not None:
      paper.write_text(text)
    with open_workdir(tmp_path / 'w', 'q', config, 0) as run:
      told = ', '.join(f'the file of {name}' for name in expected)
      note = f'other code than at the last start, results may differ: {told}'
      assert run.notes == ([note] if expected else [])
  writer.write_text('class Mine:\n  x = 1\n')
  with open_workdir(tmp_path / 'w', 'q', config, 0) as run:
    assert [note.rpartition(' ')[2] for note in run.notes] == ['edited_writer.Mine']
  kept = files.read_json(tmp_path / 'w' / 'versions.json')[-1]['code']
  assert {*kept} == {'edited_paper.loss', 'edited_paper.reward', 'edited_writer.Mine'}
  assert 'edited_writer' not in sys.modules and edited_paper.reward() == 2


def test_a_kill_before_the_config_was_saved_is_a_fresh_start(tmp_path):
  (tmp_path / '.lock').write_text('1\n')
  (tmp_path / '.config.json.host-1.tmp.json').write_text('{')
  (tmp_path / 'versions.json').write_text('[]')
  with open_workdir(tmp_path, 'q', CONFIG, 0) as run:
    assert run.fresh
