"""Metric names, writers that hold each iteration once, curves, the summary."""

import io
import json
import os
import struct
import subprocess
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from rljax import files, metrics
from rljax.metrics import compilations, memory
from rljax.metrics import console as console_module

STAGES = {'sft': 3, 'rl': 5}


@pytest.mark.parametrize(
  'name',
  [
    'reward/mean',
    'reward/format',
    'group/zero_variance',
    'rollout/mismatch_max',
    'mismatch/k3',
    'sft/loss',
    'policy/kl_ref',
    'value/explained_variance',
    'update/grad_norm',
    'eval/arithmetic/greedy',
    'eval/arithmetic/pass@16',
    'eval/gsm8k/avg@4_se',
    'time/rollout',
    'memory/host_mib',
    'method/cispo/clipped',
    'router/entropy',
    'tools/calls',
  ],
)
def test_vocabulary_knows(name):
  assert metrics.check_name(name) == name


@pytest.mark.parametrize(
  ('name', 'hint'),
  [
    ('policy/entropi', 'policy/entropy'),
    ('rollout/length', 'rollout/length_mean'),
    ('eval/arithmetic/gredy', 'eval/arithmetic/greedy'),
    ('loss', 'vocabulary'),
    ('rl/loss', 'sft/loss'),
    ('method/cispo', 'vocabulary'),
    ('nonsense/x', 'begins with one of'),
    ('eval/arithmetic/pass@0', 'pass@16'),
  ],
)
def test_vocabulary_refuses_and_names_near_ones(name, hint):
  with pytest.raises(metrics.MetricNameError, match=hint):
    metrics.check_name(name)


def test_stages_have_their_own_names():
  assert metrics.check_name('dpo/margin', stages=['dpo']) == 'dpo/margin'
  with pytest.raises(metrics.MetricNameError):
    metrics.check_name('dpo/margin')


def test_jsonl_is_exact_and_valid_json(tmp_path):
  values = np.random.default_rng(0).normal(size=50).astype(np.float32)
  with metrics.make_writers(['jsonl'], tmp_path, stages={'rl': 50}) as writer:
    for i, value in enumerate(values):
      writer.write(
        i + 1,
        {'reward/mean': value, 'reward/std': jnp.float32('nan'), 'update/lr': -np.inf},
        stage='rl',
        step=i,
      )
    with pytest.raises(metrics.WriterError, match=r'reward/mean is no scalar: .* \(2,\)'):
      writer.write(51, {'reward/mean': np.ones(2)}, stage='rl')
    with pytest.raises(metrics.MetricNameError):
      writer.write(51, {'reward_mean': 1.0}, stage='rl')
  first = json.loads((tmp_path / 'metrics.jsonl').read_text().split('\n')[0], parse_constant=None)
  assert first['reward/std'] is None
  assert first['nonfinite'] == {'reward/std': 'nan', 'update/lr': '-inf'}
  assert (first['stage'], first['iteration'], first['step']) == ('rl', 1, 0)
  rows = metrics.read_metrics(tmp_path)
  assert np.array_equal(np.float32([row['reward/mean'] for row in rows]), values)
  assert np.isnan(rows[0]['reward/std']) and rows[0]['update/lr'] == -np.inf


def test_metrics_come_one_iteration_late_and_merge(tmp_path):
  writer = metrics.make_writers(['jsonl'], tmp_path, stages=STAGES)
  delayed = metrics.Delayed(writer)
  delayed.write(1, {'policy/loss': jnp.float32(0.5)}, stage='rl', step=2)
  assert not (tmp_path / 'metrics.jsonl').exists()
  delayed.write(1, {'eval/toy/greedy': 0.25}, stage='rl')
  delayed.write(2, {'policy/loss': jnp.float32(0.25)}, stage='rl', step=4)
  assert metrics.read_metrics(tmp_path) == [
    {'stage': 'rl', 'iteration': 1, 'step': 2, 'policy/loss': 0.5, 'eval/toy/greedy': 0.25}
  ]
  delayed.flush()
  delayed.flush()
  assert [row['iteration'] for row in metrics.read_metrics(tmp_path)] == [1, 2]


def write_all(writer, first=0):
  places = [('sft', i) for i in range(4)] + [('rl', i) for i in range(6)]
  for stage, i in places[first:]:
    writer.write(i, {'update/lr': i, 'time/rollout': 1.0}, stage=stage)
    sample = {'prompt': '1+1=', 'completion': f'{i}', 'reward': np.float32(i)}
    writer.samples(i, [sample], stage=stage)


def event_steps(folder):
  """(step, is a start marker) of all events in order."""
  from tensorboardX.proto.event_pb2 import Event

  found = []
  for name in sorted(os.listdir(folder)):
    data = (folder / name).read_bytes()
    while data:
      (size,) = struct.unpack('<Q', data[:8])
      event = Event.FromString(data[12 : 12 + size])
      data = data[16 + size :]
      if event.HasField('session_log'):
        found.append((event.step, True))
      elif any(value.tag == 'update/lr' for value in event.summary.value):
        found.append((event.step, False))
  return found


@pytest.mark.parametrize(
  ('after', 'first'), [(None, 0), (('sft', 2), 3), (('sft', 3), 4), (('rl', 0), 5), (('rl', 5), 10)]
)
def test_each_iteration_stands_once_after_a_resume(tmp_path, after, first):
  names = ['jsonl', 'tensorboard']
  with metrics.make_writers(names, tmp_path, stages=STAGES) as writer:
    write_all(writer)
  whole = files.read_jsonl(tmp_path / 'metrics.jsonl')
  samples = (tmp_path / 'samples.jsonl').read_text()
  files.append_text(tmp_path / 'metrics.jsonl', '{"stage": "rl", "iter')
  with metrics.make_writers(names, tmp_path, stages=STAGES, after=after) as writer:
    write_all(writer, first)
  assert files.read_jsonl(tmp_path / 'metrics.jsonl') == whole
  assert (tmp_path / 'samples.jsonl').read_text() == samples
  events = event_steps(tmp_path / 'tensorboard')
  restart = [i for i, (_, is_start) in enumerate(events) if is_start][-1]
  kept = [step for step, start in events[:restart] if not start and step < events[restart][0]]
  assert kept + [step for step, _ in events[restart + 1 :]] == list(range(10))


def test_unknown_and_missing_writers(tmp_path, monkeypatch):
  with pytest.raises(metrics.WriterError, match='did you mean tensorboard'):
    metrics.make_writers(['tensorbord'], tmp_path, stages=STAGES)
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(metrics.WriterError, match=r"'wandb': .*extra \[wandb\]") as error:
    metrics.make_writers(['wandb'], tmp_path, stages=STAGES)
  assert '\n' not in str(error.value)
  with pytest.raises(metrics.WriterError, match="stage 'dpo' is none of sft, rl"):
    metrics.make_writers(['jsonl'], tmp_path, stages=STAGES).write(0, {}, stage='dpo')


def test_wandb_is_offline_without_login_and_keeps_its_page(tmp_path, monkeypatch):
  calls, logged = [], []

  def init(**kwargs):
    calls.append(kwargs)
    log = lambda values, step: logged.append((step, values))  # noqa: E731
    return types.SimpleNamespace(log=log, finish=lambda: None)

  table = lambda columns, data: (columns, data)  # noqa: E731
  fake = types.SimpleNamespace(init=init, Table=table)
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  monkeypatch.setenv('NETRC', str(tmp_path / 'none'))
  monkeypatch.setenv('HOME', str(tmp_path))
  for name in ('WANDB_MODE', 'WANDB_API_KEY'):
    monkeypatch.delenv(name, raising=False)
  with metrics.make_writers(['wandb'], tmp_path, stages=STAGES, config={'a': 1}) as writer:
    write_all(writer)
  monkeypatch.setenv('WANDB_API_KEY', 'key')
  metrics.make_writers(['wandb'], tmp_path, stages=STAGES, after=('rl', 5)).close()
  assert [call['mode'] for call in calls] == ['offline', 'online']
  assert calls[0]['id'] == calls[1]['id'] and calls[0]['resume'] == 'allow'
  assert calls[0]['config'] == {'a': 1} and calls[0]['dir'] == str(tmp_path)
  assert [step for step, values in logged if 'update/lr' in values] == list(range(10))


class FakeClu:
  made = []

  def __init__(self, workdir):
    self.scalars = {}
    self.made.append(self)

  def write_scalars(self, step, scalars):
    self.scalars[step] = scalars

  def flush(self):
    pass

  def close(self):
    self.scalars['closed'] = True


def test_a_writer_of_clu_by_dotted_name(tmp_path):
  with metrics.make_writers([f'{__name__}.FakeClu'], tmp_path, stages=STAGES) as writer:
    write_all(writer)
  assert list(FakeClu.made[-1].scalars) == [*range(10), 'closed']


RL = {
  'reward/mean': 0.4123,
  'policy/entropy': 0.81,
  'rollout/length_mean': 1234.5,
  'policy/kl_ref': 0.002,
  'rollout/truncated': 0.25,
  'policy/loss': -0.0123,
  'update/grad_norm': 123.4,
}
EVALUATION = {f'eval/arithmetic/pass@{k}': 0.5 for k in (1, 2, 4, 8, 16, 32, 64)}


def printed(width, scalars, *, terminal=False, iterations=3):
  out = io.StringIO()
  target = Console(file=out, width=width, force_terminal=terminal, highlight=False)
  writer = console_module.ConsoleWriter({'rl': 100}, console=target, show_samples=True)
  for i in range(1, iterations + 1):
    writer.write(i, {'stage': 'rl', 'iteration': i}, scalars)
  writer.samples(1, {}, [{'prompt': '[1]\x1b[2J', 'completion': '2', 'reward': float('nan')}])
  writer.close()
  return out.getvalue()


def test_console_is_plain_and_fits_in_80_columns():
  text = printed(80, {**RL, **EVALUATION, 'reward/errors': 2, 'reward/std': float('nan')})
  lines = text.split('\n')
  assert max(len(line) for line in lines) <= 80
  assert '\x1b' not in text and '[1]\\x1b[2J' in text
  assert lines[0].startswith('rl   1/100  reward 0.412  !2 reward errors  entropy 0.810')
  at = next(line for line in lines if line.startswith('rl   3/100  reward'))
  assert '  ETA ' in at and 'grad' not in at
  assert 'grad 123.40' in printed(200, RL)
  assert 'eval arithmetic:  pass@1 50.0%  pass@2 50.0%' in text


def test_components_of_an_evaluation_are_told_where_they_are_fractions(tmp_path):
  found = {'eval/a/greedy': 0.5, 'eval/a/component/lenient': 0.75, 'eval/a/component/f.words': 31.0}
  text = printed(80, {**RL, **found})
  assert 'eval a:  greedy 50.0%  lenient 75.0%' in text and 'words' not in text
  record = metrics.evaluation_record(found)
  assert record['component/lenient'] == 0.75 and record['component/f.words'] == 31.0
  rows = metrics.summary.summary_rows(record, record)
  assert ('lenient', 0.75, 0.75, 'fraction') in rows and len(rows) == 2
  with metrics.make_writers(['jsonl'], tmp_path, stages={'rl': 1}) as writer:
    writer.write(1, found, stage='rl')
  assert [path.name for path in metrics.plot_curves(tmp_path)] == ['curves.png']


def test_console_has_a_bar_on_a_terminal():
  text = printed(100, {'reward/mean': float('nan')}, terminal=True)
  assert '━' in text and 'reward nan' in text and '3/100' in text


def test_stages_of_quick_steps_have_few_lines():
  out = io.StringIO()
  writer = console_module.ConsoleWriter({'sft': 50}, console=Console(file=out, width=80))
  for i in range(1, 51):
    writer.write(i, {'stage': 'sft', 'iteration': i}, {'sft/loss': 1.0})
  lines = out.getvalue().split('\n')
  assert 'sft  1/50' in lines[0] and 'sft 50/50' in lines[-2] and len(lines) < 10


def test_time_left():
  pace = console_module.Pace()
  assert pace.tick('rl', 0.0) is None
  assert [pace.tick('rl', t) for t in (30.0, 31.0, 32.0, 34.0)] == [None, 1.0, 1.0, 1.0]
  assert pace.tick('other', 40.0) is None
  assert [console_module.duration(s) for s in (7.4, 725, 3723)] == ['0:07', '12:05', '1:02:03']


def run_metrics(tmp_path, *, start=True):
  with metrics.make_writers(['jsonl'], tmp_path, stages={'sft': 30, 'rl': 30}) as writer:
    for i in range(1, 31):
      writer.write(i, {'sft/loss': 1 / i}, stage='sft')
    for i in range(0 if start else 1, 31):
      scalars = {**RL, 'reward/mean': i / 30} if i else {}
      if i % 15 == 0:
        passes = {f'eval/toy/pass@{k}': 1 - (0.7 - i / 60) ** k for k in (1, 2, 4)}
        scalars |= {'eval/toy/greedy': 0.4 + i / 60, 'eval/toy/avg@4': 0.3 + i / 60, **passes}
      writer.write(i, scalars, stage='rl')


def test_curves(tmp_path):
  run_metrics(tmp_path)
  with metrics.make_writers([], tmp_path, stages=STAGES, after=('rl', 0)):
    pass
  before = set(sys.modules)
  run_metrics(tmp_path)
  paths = metrics.plot_curves(tmp_path)
  assert [path.name for path in paths] == ['curves.png', 'pass_at_k.png']
  for path in paths:
    assert path.read_bytes().startswith(b'\x89PNG') and len(path.read_bytes()) > 9000
  assert 'matplotlib.pyplot' not in set(sys.modules) - before
  assert sorted(os.listdir(tmp_path)) == ['curves.png', 'metrics.jsonl', 'pass_at_k.png']


def test_curves_of_almost_nothing(tmp_path):
  (tmp_path / 'metrics.jsonl').write_text('')
  assert metrics.plot_curves(tmp_path) == []
  with metrics.make_writers(['jsonl'], tmp_path, stages={'rl': 1}) as writer:
    writer.write(1, {'reward/mean': float('nan'), 'eval/toy/greedy': 0.5}, stage='rl')
  assert [path.name for path in metrics.plot_curves(tmp_path)] == ['curves.png']


def test_summary(tmp_path):
  run_metrics(tmp_path)
  rows = [row for row in metrics.read_metrics(tmp_path) if metrics.evaluation_record(row)]
  assert metrics.read_summary(tmp_path) is None
  written = metrics.write_summary(
    tmp_path,
    start=rows[0],
    end=metrics.evaluation_record(rows[-1]),
    seconds=251.0,
    compile_seconds=41.0,
    peak_mib=2048.0,
    tokens=np.int64(1234567),
    config={'lr': float('nan'), 'f': (1, 2)},
    versions={'jax': jax.__version__},
    seed=3,
  )
  summary = metrics.read_summary(tmp_path)
  assert summary == json.loads(json.dumps(written, allow_nan=False))
  for which in ('start', 'end'):
    assert {'greedy', 'pass@1', 'pass@k', 'avg@n'} <= summary[which].keys()
  keys = {'seconds', 'compile_seconds', 'peak_mib', 'tokens', 'config', 'versions', 'seed'}
  assert keys <= summary.keys()
  assert summary['start']['pass@1'] == pytest.approx(0.3) and summary['end']['n'] == 4
  assert list(summary['end']['pass@k']) == ['1', '2', '4']
  out = io.StringIO()
  target = Console(file=out, width=80, force_terminal=False)
  metrics.print_summary(summary, next_commands=['rljax train --config=[x]'], console=target)
  text = out.getvalue()
  assert '+50.0' in text and 'avg@4' not in text and 'next: rljax train --config=[x]' in text
  assert '4:11 (compiling 0:41)' in text and '1,234,567 tokens' in text


def test_compilations_are_counted_by_function():
  def update(x):
    return x * 3

  with metrics.CompileWatch() as watch:
    program = jax.jit(update)
    for size in (2, 3, 2, 3):
      program(np.ones(size, np.float32))
  program(np.ones(4, np.float32))
  assert watch.counts['update'] == 2
  assert watch.seconds > 0


def test_a_long_compilation_is_told_while_it_lasts(capsys, monkeypatch):
  monkeypatch.setattr(compilations, 'AGAIN_SECONDS', 0.1)
  event, name = compilations.BACKEND_COMPILE, 'jit(update)'
  said = ''
  with metrics.CompileWatch(0.05):
    jax.monitoring.record_scalar(event, 0.0, fun_name='jit(quick)')
    jax.monitoring.record_event_duration_secs(event, 0.01, fun_name='jit(quick)')
    jax.monitoring.record_scalar(event, 0.0, fun_name=name)
    while said.count('compiling update: 0:0') < 2:
      time.sleep(0.02)
      said += capsys.readouterr().out
    assert 'compiled' not in said and 'quick' not in said
    jax.monitoring.record_event_duration_secs(event, 34.0, fun_name=name)
    assert 'compiled update in 0:34\n' in capsys.readouterr().out


def test_jax_says_when_it_begins_to_compile(monkeypatch):
  begun = []
  monkeypatch.setattr(compilations.CompileWatch, '_begin', lambda self, event, value, **details: (
    begun.append((event, details.get('fun_name')))))  # fmt: skip
  with metrics.CompileWatch(60.0):
    jax.jit(lambda x: x * 5)(np.ones(3, np.float32))
  assert any(event == compilations.BACKEND_COMPILE for event, _ in begun)


def test_memory_of_the_process_tree():
  watch = metrics.MemoryWatch(interval=0.05).start()
  code = 'x = b"1" * 200_000_000; import time; print(len(x), flush=True); time.sleep(60)'
  with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    alone = memory.own_peak_bytes() / memory.MIB
    peak = watch.peak_mib
    child.kill()
  watch.stop()
  if os.path.exists('/proc'):
    assert peak > 190 + alone / 2
    assert memory.tree_bytes() / memory.MIB <= peak
  assert alone > 50
  assert all(mib > 0 for mib in metrics.device_memory().values())


def test_import_is_light():
  code = (
    'import sys, rljax.metrics, rljax.checkpoint, rljax.files\n'
    'heavy = {"matplotlib", "rich", "orbax.checkpoint", "tensorboardX", "wandb", "tensorflow"}\n'
    'sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)'
  )
  subprocess.run([sys.executable, '-c', code], check=True)
