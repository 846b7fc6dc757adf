"""Runs in an object store, which cannot append and cannot rename."""

import json
import os
import subprocess
import sys
import threading

import jax
import numpy as np
import object_store
import pytest
from tiny_runs import flags_of_one_device, without_times

from rljax import checkpoint, files, metrics, models, report, workdir
from rljax.metrics import sinks
from rljax.workdir import WorkdirError, lease, open_workdir

BUCKET = 'gs://bucket'


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
  with object_store.serving(tmp_path_factory.mktemp('objects')) as environment:
    yield environment


@pytest.fixture
def store(environment, monkeypatch):
  """The objects of gs:// in this process; none at first."""
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  object_store.install(monkeypatch)
  objects = object_store.Objects(environment[object_store.FOLDER])
  for name in objects.names():
    objects.delete(name)
  return objects


def test_the_store_refuses(store):
  path = files.as_path(f'{BUCKET}/a/b.txt')
  path.write_bytes(b'1')
  assert store.names() == ['bucket/a/b.txt']
  assert not path._backend.fs(path).caches  # of listings, which grow old
  with pytest.raises(object_store.Refused, match='append'):
    path.open('a')
  with pytest.raises(object_store.Refused, match='rename'):
    path.rename(f'{BUCKET}/a/c.txt')


def test_files(store):
  place = f'{BUCKET}/run/x.json'
  assert not files.exists(place) and files.names(f'{BUCKET}/run') == []
  files.make_folder(f'{BUCKET}/run')
  files.write_json(place, [1])
  assert files.read_json(place) == [1] and files.names(f'{BUCKET}/run') == ['x.json']
  with pytest.raises(RuntimeError), files.atomic(place) as temporary:
    temporary.write_text('half')
    raise RuntimeError
  assert files.read_json(place) == [1]
  files.write_json(f'{BUCKET}/run/deep/y.json', 2)
  files.write_json(f'{BUCKET}/run/stays', 3)
  files.move(f'{BUCKET}/run', f'{BUCKET}/old', stays='stays', last='x.json')
  assert store.names() == ['bucket/old/deep/y.json', 'bucket/old/x.json', 'bucket/run/stays']
  files.move(f'{BUCKET}/old/x.json', f'{BUCKET}/old/z.json')
  assert files.names(f'{BUCKET}/old') == ['deep', 'z.json']
  files.remove(f'{BUCKET}/old/z.json')
  files.remove(f'{BUCKET}/old/z.json')
  assert store.names('bucket/old') == ['bucket/old/deep/y.json']


def test_lines_stand_in_parts(store, tmp_path):
  place = f'{BUCKET}/rows.jsonl'

  def lines(*numbers):
    return files.json_lines({'i': i} for i in numbers)

  def numbers(where=place):
    return [row['i'] for row in files.read_jsonl(where)]

  assert files.truncate_jsonl(place, lambda row: True) == 0
  first = files.LineFile(place)
  first.append(lines(0))
  first.append(lines(1, 2))
  first.end_part()
  first.end_part()
  first.append(lines(3, 4))
  files.append_text(place, lines(5))
  assert files.names(place) == ['000001.jsonl', '000002.jsonl', '000003.jsonl']
  assert numbers() == [0, 1, 2, 3, 4, 5]
  assert files.truncate_jsonl(place, lambda row: row['i'] < 4) == 2
  assert files.names(place) == ['000001.jsonl', '000002.jsonl'] and numbers() == [0, 1, 2, 3]
  # A copy on a disk is read, cut and continued.
  local = tmp_path / 'rows.jsonl'
  local.mkdir()
  for name in files.names(place):
    (local / name).write_text(files.read_text(f'{place}/{name}'))
  (local / '.000002.jsonl.host-1.tmp.jsonl').write_text('{')
  assert files.truncate_jsonl(local, lambda row: row['i'] < 3) == 1
  files.append_text(local, lines(9))
  assert numbers(local) == [0, 1, 2, 9] and len(files.parts(local)) == 2
  (local / '000001.jsonl').write_text('nonsense\n')
  with pytest.raises(ValueError, match=r'000001\.jsonl, line 1'):
    files.read_jsonl(local)


def write(writer, *rows):
  for row in rows:
    writer.write(row, {'row': row}, {'policy/loss': float(row)})


def test_a_part_for_each_checkpoint(store, monkeypatch):
  writer = sinks.JsonlWriter(f'{BUCKET}/run')
  write(writer, 0, 1)
  assert store.names() == []
  monkeypatch.setattr(writer, '_seconds', 0.0)  # a minute later
  write(writer, 2)
  write(writer, 3)
  assert store.names() == ['bucket/run/metrics.jsonl/000001.jsonl']
  writer.flush()
  writer.flush()
  write(writer, 4)
  writer.close()
  assert len(store.names()) == 2
  assert [row['row'] for row in metrics.read_metrics(f'{BUCKET}/run')] == [0, 1, 2, 3, 4]


def test_event_files(store, tmp_path):
  for first in (0, 2):  # the second start goes on from row 2
    writer = sinks.TensorboardWriter(f'{BUCKET}/run', first)
    write(writer, first, first + 1)
    writer.flush()
    write(writer, first + 2)
    writer.flush()
    write(writer, first + 3)  # and is killed
  names = files.names(f'{BUCKET}/run/tensorboard')
  assert [name[-4:] for name in names] == ['0000', '0001', '0002', '0003']
  sizes = [len(store.get(f'bucket/run/tensorboard/{name}')) for name in names]
  assert min(sizes) > 80


def finished(path):
  costs = dict(seconds=1, compile_seconds=1, peak_mib=1, tokens=1)
  metrics.write_summary(
    path, start={}, end={'greedy': 0.5}, config={}, versions={}, seed=0, **costs
  )


def test_the_work_directory(store):
  path = f'{BUCKET}/runs/one'
  with open_workdir(path, 'q', {'a': 1}, 0) as run:
    assert run.fresh and workdir.is_held(path)
    with pytest.raises(WorkdirError, match=f'in use by the process {os.getpid()}'):
      open_workdir(path, 'q', {'a': 1}, 0)
  assert '.lock' not in files.names(path) and not workdir.is_held(path)
  finished(path)
  with open_workdir(path, 'q', {'a': 1}, 0) as run:
    assert run.finished and run.summary['end']['greedy'] == 0.5
  with open_workdir(path, 'q', {'a': 2}, 0, accept=['a']) as run:
    assert run.resumed
  assert 'summary-1.json' in files.names(path) and 'summary.json' not in files.names(path)
  for number in (1, 2):
    files.append_text(f'{path}/metrics.jsonl', json.dumps(number) + '\n')
    with open_workdir(path, 'q', {'a': 3}, 0, restart=True) as run:
      assert run.fresh
    assert files.names(path) == ['config.json', 'versions.json']
    assert files.read_jsonl(f'{path}.old-{number}/metrics.jsonl') == [number]
  files.write_text(f'{BUCKET}/thesis/a.tex', '')
  with pytest.raises(WorkdirError, match=r'a\.tex .* no run of rljax'):
    open_workdir(f'{BUCKET}/thesis', 'q', {'a': 1}, 0)
  assert files.names(f'{BUCKET}/thesis') == ['a.tex']


def test_a_run_of_another_machine(store, monkeypatch):
  """One that lives is left alone; one that is silent is taken over."""
  path = files.as_path(f'{BUCKET}/run')
  for name, seconds in (('BEAT', 0.1), ('SILENCE', 1.0), ('SETTLE', 0.1)):
    monkeypatch.setattr(lease, name, seconds)
  with open_workdir(path, 'q', {'a': 1}, 0):
    here = files.read_text(path / '.lock').split()[0]
  with monkeypatch.context() as elsewhere:
    elsewhere.setattr(lease.socket, 'gethostname', lambda: 'elsewhere')
    other = lease.Lease(path / '.lock')
  assert here != 'elsewhere'
  with pytest.raises(WorkdirError, match=f'in use by elsewhere process {os.getpid()}'):
    open_workdir(path, 'q', {'a': 1}, 0)
  other._done.set()  # it dies without a word
  other._thread.join()
  with open_workdir(path, 'q', {'a': 1}, 0) as run:
    assert run.resumed
    beats = threading.Event()
    beats.wait(0.3)
    assert files.read_text(path / '.lock').startswith(here)
  assert not files.exists(path / '.lock')


def test_export_and_load(store):
  config = models.DecoderConfig(
    vocab_size=16, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1, d_ff=16, value_head=True
  )
  params = models.from_config(config).init(jax.random.key(0))
  models.export(f'{BUCKET}/model', params, config)
  models.export(f'{BUCKET}/model', params, config, max_file_bytes=1500)
  assert 'model.safetensors' not in files.names(f'{BUCKET}/model')
  _, loaded, _ = models.load(f'{BUCKET}/model', value_head=True)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


RUNS = """
import os, sys
import object_store, tiny_runs
import orbax.checkpoint  # once, before the forks
from rljax.train import train

small = dict(stages=('rl',), evaluation=dict(num_prompts=4))
config = tiny_runs.tiny_config(writers=('jsonl', 'tensorboard', 'tiny_runs.Stopper'), **small)
programs, *runs = sys.argv[1:]
for run in runs:
  workdir, _, row = run.partition('@')
  if os.fork() == 0:
    object_store.install()
    os.environ['KILL_AT'] = row
    with tiny_runs.kept_programs(programs):
      train(config, workdir=workdir)
    sys.exit()
  print('ended with', os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_and_continued(tmp_path, environment, store, capsys):
  """The same lines, samples and parameters as on a disk without a kill."""
  whole, remote = tmp_path / 'whole', f'{BUCKET}/runs/killed'
  env = {**os.environ, **environment, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags_of_one_device()}
  env['PYTHONPATH'] = os.pathsep.join(sys.path)
  command = [sys.executable, '-W', 'ignore', '-c', RUNS, str(tmp_path / 'programs')]
  command += [str(whole), f'{remote}@3', remote, remote]  # killed at iteration 3
  ran = subprocess.run(command, env=env, capture_output=True, text=True)
  codes = [line for line in ran.stdout.split('\n') if line.startswith('ended')]
  assert codes == [f'ended with {code}' for code in (0, -9, 0, 0)], ran.stdout + ran.stderr
  assert f'workdir {remote}' in ran.stdout and 'continues after iteration' in ran.stdout
  one, other = (without_times(metrics.read_metrics(d)) for d in (whole, remote))
  np.testing.assert_equal(one, other)
  assert [row['iteration'] for row in other] == [0, 1, 2, 3, 4]
  samples = [files.read_jsonl(files.as_path(d) / 'samples.jsonl') for d in (whole, remote)]
  assert samples[0] == samples[1]
  params = [jax.tree.leaves(checkpoint.load_params(d)) for d in (whole, remote)]
  jax.tree.map(np.testing.assert_array_equal, *params)
  ends = [metrics.read_summary(d) for d in (whole, remote)]
  assert ends[0]['end'] == ends[1]['end'] and ends[0]['tokens'] == ends[1]['tokens']
  assert workdir.read_config(remote)['config']['rl']['iterations'] == 4
  assert len(files.read_json(f'{remote}/versions.json')) == 2  # the last start had nothing to do
  assert ['.lock', *files.names(remote)] == sorted(os.listdir(whole))
  assert len(files.names(f'{remote}/metrics.jsonl')) > 2
  report.show(report.read_run(remote))
  told = capsys.readouterr().out
  assert 'finished' in told and 'reward/mean' in told
