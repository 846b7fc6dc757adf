"""The experiments: their configs and flags are valid, and their reports say what the runs found."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from rljax import config, overrides

ROOT = pathlib.Path(__file__).resolve().parent.parent


def copy_of(name, tmp_path, monkeypatch):
  """An experiment's run.py from a copy of its folder, which it imports from as a script does."""
  folder = shutil.copytree(ROOT / 'experiments' / name, tmp_path / name)
  monkeypatch.syspath_prepend(folder)
  monkeypatch.delitem(sys.modules, 'report', raising=False)
  spec = importlib.util.spec_from_file_location(f'{name}_run', folder / 'run.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def quickstart(tmp_path, monkeypatch):
  return copy_of('quickstart', tmp_path, monkeypatch)


@pytest.fixture
def stages(tmp_path, monkeypatch):
  return copy_of('stages', tmp_path, monkeypatch)


def write_run(out, arm, seed, gain):
  def record(accuracy):
    passes = {'1': accuracy, '2': 0.5}
    return {'greedy': accuracy, 'pass@1': accuracy, 'pass@k': passes, 'well_formed': 1.0}

  cost = dict(seconds=60.0, compile_seconds=6.0, peak_mib=1024.0, tokens=9)
  node = {'stages': ['sft', 'rl'], 'rl': {'iterations': 2}}
  summary = dict(start=record(0.25), end=record(0.25 + gain), seed=seed, config=node, **cost)
  rows = [
    {'stage': 'sft', 'iteration': 1, 'sft/loss': 1.0, 'time/iteration': 9.0},
    {'stage': 'rl', 'iteration': 0, 'eval/sorting/pass@1': 0.25},
    {'stage': 'rl', 'iteration': 1, 'reward/mean': 0.3, 'time/iteration': 4.0},
    {'stage': 'rl', 'iteration': 2, 'reward/mean': 0.4, 'time/iteration': 2.0},
    {'stage': 'rl', 'iteration': 2, 'eval/sorting/pass@1': 0.25 + gain},
  ]
  (out / f'{arm}-s{seed}').mkdir(parents=True)
  (out / f'{arm}-s{seed}' / 'summary.json').write_text(json.dumps(summary))
  (out / f'{arm}-s{seed}' / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)) + '\n')


def test_the_arms_of_the_quick_start_are_configs(quickstart):
  for name, value in quickstart.ARMS.items():
    name, *changes = value
    changed, _ = overrides.override(config.load(name.removeprefix('--config=')), changes)
    config.resolve(changed)
  resolved = config.resolve(config.load(str(quickstart.HERE / 'config.py')))
  assert resolved.stages == ('sft', 'more') and resolved.more.stop_accuracy == 0
  assert resolved.sft == config.resolve(config.load('quickstart')).sft


def test_the_report_of_the_quick_start(quickstart, tmp_path, monkeypatch):
  out, started = tmp_path / 'out', []
  for arm, gains in dict(quickstart=(0.25, 0.5), random=(0.0, -0.125)).items():
    for seed, gain in enumerate(gains):
      write_run(out, arm, seed, gain)
  monkeypatch.setattr(quickstart, 'train', lambda *args: started.append(args))
  arguments = f'run.py --out={out} --arms=quickstart,random --seeds=0,1 --publish'
  monkeypatch.setattr('sys.argv', [*arguments.split(), '--config.rl.rows=8'])
  quickstart.main()
  assert [args[1:3] for args in started[:2]] == [('quickstart-s0', 0), ('quickstart-s1', 1)]
  assert all('--config.rl.rows=8' in args[3] for args in started)

  page = (quickstart.HERE / 'README.md').read_text()
  assert '| quickstart | 25.0 → 62.5 | **+37.5** (+25.0, +50.0) |' in page
  assert '| random rewards | 25.0 → 18.8 | **-6.2** (+0.0, -12.5) |' in page
  assert 'quickstart is nowhere below its start up to k = 2' in page and 'not measured' not in page
  table = (quickstart.HERE / 'results.csv').read_text().splitlines()
  assert table[0].startswith('arm,seed,start greedy,') and len(table) == 5
  for name in ('pass_at_k.png', 'training.png'):
    assert (quickstart.HERE / name).read_bytes().startswith(b'\x89PNG')
  quickstart.publish(out, 'again\n')
  assert '+37.5' not in (quickstart.HERE / 'README.md').read_text()


def test_sft_gets_the_time_of_rl(quickstart, tmp_path, monkeypatch):
  write_run(tmp_path, 'quickstart', 0, 0.25)

  def train(out, name, seed, flags):
    seconds = {'probe-20': 10.0, 'probe-220': 30.0}[name]
    (out / name).mkdir()
    (out / name / 'summary.json').write_text(json.dumps(dict(seconds=seconds, compile_seconds=2)))

  monkeypatch.setattr(quickstart, 'train', train)
  assert quickstart.fitting(tmp_path, 0, []) == 60  # 6 s of RL, 0.1 s each


# -- stages


def rows_of(part, ends, start=0.25):
  return [
    dict(part=part, arm=arm, seed=seed, start=start, end=end, seconds=1.0)
    for arm, each in ends.items()
    for seed, end in enumerate(each)
  ]


def test_the_report_of_the_stages_says_what_has_missed_its_goal(stages, tmp_path):
  rows = rows_of('preference', {'dpo': (0.95, 0.9), 'kto': (0.97, 0.8875)})
  rows += rows_of('reward', {'reward_model': (0.7, 0.75)})
  rows += rows_of(
    'distillation',
    {
      stages.BASE: (0.30, 0.35),
      'opd': (0.375, 0.40),
      'gkd': (0.38, 0.39),
      stages.DEMONSTRATIONS: (0.2, 0.2),
    },
  )
  page = stages.markdown(rows)
  assert '| dpo | 95.0 / 90.0 | 92.5 | reached |' in page
  assert '| kto | 97.0 / 88.8 | 92.9 | **missed**: 1 of 2 seeds below |' in page
  assert '| reward_model | 70.0 / 75.0 | 72.5 | **missed**: 2 of 2 seeds below |' in page
  assert '| opd | 37.5 / 40.0 | +13.8 | +7.5 / +5.0 | reached |' in page
  assert '| gkd | 38.0 / 39.0 | +13.5 | +8.0 / +4.0 | **missed**: 1 of 2 seeds below |' in page
  assert '| SFT on right answers | 20.0 / 20.0 | -5.0 | -10.0 / -15.0 |  |' in page
  assert (
    'Goals missed: kto (97.0 / 88.8), reward_model (70.0 / 75.0), gkd (+8.0 / +4.0).' in page
  )
  assert 'No goal is missed.' in stages.markdown(rows[:2])
  stages.plot(tmp_path / 'all.png', rows)
  stages.plot(tmp_path / 'one.png', rows[:2])
  assert (tmp_path / 'all.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.thorough
def test_the_arms_of_the_stages_are_configs(stages):
  presets = stages.of_preference(None)
  assert stages.of_preference({'dpo', 'ipo'}) == ['presets/dpo', 'presets/ipo']
  assert {'presets/dpo', 'presets/kto', 'presets/list_mle'} <= {*presets}
  for source, flags in (*stages.DISTILLATION.values(), *((n, stages.SMALL) for n in presets[:3])):
    changed, _ = overrides.override(config.load(str(config.find(source))), flags)
    config.resolve(changed)
  base = overrides.override(config.load('distill'), stages.DISTILLATION[stages.BASE][1])[0]
  assert base.distill.loss.name == 'losses.nll' and base.distill.on_policy_fraction == 0


def test_published_results_of_other_arms_stay(stages):
  row = {'part': 'preference', 'arm': 'zebra', 'seed': 0, 'end': 1.0}
  old = stages.with_published([])
  rows = stages.with_published([row, {**old[0], 'end': 0.125}])
  assert len(rows) == len(old) + 1 and rows[0]['end'] == 0.125
  order = [r['part'] for r in rows]
  assert order == sorted(order, key=('preference', 'reward', 'distillation').index)


# -- the calculator


def test_the_report_of_the_calculator(tmp_path, monkeypatch):
  calculator = copy_of('calculator', tmp_path, monkeypatch)
  common = dict(greedy=0.5, calls=1.0, turns=2.0, tokens=1000, seconds=60.0)
  rows = [
    dict(arm=arm, seed=seed, start=start, end=end, **common)
    for arm, start, end in ((calculator.WITH, 0.3, 0.55), (calculator.WITHOUT, 0.3, 0.4))
    for seed in (0, 1)
  ]
  page = calculator.markdown(rows)
  assert 'over its start: +25.0 / +25.0 (goal +20: reached)' in page
  assert 'over no tool: +15.0 / +15.0 (goal +10: reached)' in page
  rows[0]['end'] = 0.45
  page = calculator.markdown(rows)
  assert page.count('**missed**') == 2


def test_the_first_line_of_a_command_is_waited_for(tmp_path, monkeypatch):
  start = copy_of('start', tmp_path, monkeypatch)
  (tmp_path / 'empty').mkdir()
  wall, user = start.first_line(['--help'], tmp_path / 'empty')
  assert wall > 0 and user > 0

  class Ended(subprocess.Popen):
    def __init__(self, *args, **kwargs):
      super().__init__(*args, **kwargs)
      os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

  monkeypatch.setattr(start.subprocess, 'Popen', Ended)
  with pytest.raises(RuntimeError, match='show nowhere has printed nothing'):
    start.first_line(['show', 'nowhere'], tmp_path / 'empty')
  commands = {'rljax --help': [(0.5, 0.3), (0.3, 0.2), (0.9, 0.4)], 'slow': [(3.0, 1.0)] * 3}
  told = start.markdown({'date': 'now', 'machine': 'm', 'load': 1.0, 'commands': commands})
  assert '| `rljax --help` | 0.50 (0.30 … 0.90) | 0.30 | 2: met |' in told
  assert '2: **missed**' in told and '3 starts of each' in told
