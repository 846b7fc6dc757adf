"""`rljax train --seeds`: one run after the other, and a table over them."""

import io
import math
import sys
import types

import pytest
from rich.console import Console
from scipy import stats

from rljax import cli, metrics
from rljax.metrics.seeds import mean_interval


@pytest.fixture
def runs(tmp_path, monkeypatch):
  """What the trainer was given; a seed in 'raises' raises."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  monkeypatch.setattr(cli.devices, 'keep_compiled_programs', lambda: None)
  seen = {'runs': [], 'raises': {}}

  def train(config, **options):
    seed = options['seed']
    seen['runs'].append((options['workdir'], seed))
    if seed in seen['raises']:
      raise seen['raises'][seed]
    end = dict(greedy=0.5, **{'pass@1': 0.4 + seed / 10, 'pass@k': {'1': 0.4 + seed / 10}})
    return dict(start={**end, 'pass@1': 0.25, 'pass@k': {'1': 0.25}}, end=end, seed=seed)

  fake = types.SimpleNamespace(train=train, HealthError=type('HealthError', (RuntimeError,), {}))
  monkeypatch.setitem(sys.modules, 'rljax.train', fake)
  seen['HealthError'] = fake.HealthError
  return seen


def test_each_seed_has_a_directory_and_all_have_a_table(runs, capsys):
  assert cli.main(['train', '--config=quickstart', '--seeds=0,1,2', '--workdir=mine']) == 0
  assert runs['runs'] == [('mine-s0', 0), ('mine-s1', 1), ('mine-s2', 2)]
  out = capsys.readouterr().out
  assert 'seeds 0, 1, 2' in out and '3 seeds' in out
  # By hand: ends 40, 50, 60, t(2) = 4.303, 4.303 · 10 / √3 = 24.8.
  line = next(line for line in out.splitlines() if 'pass@1' in line)
  assert '25.0 ± 0.0 %' in line and '50.0 ± 24.8 %' in line and '+25.0 ± 24.8 %' in line

  runs['runs'].clear()
  assert cli.main(['train', '--config=quickstart', '--seeds=3,4']) == 0
  folders = [folder for folder, _ in runs['runs']]
  assert folders[0].startswith('runs/quickstart/') and folders[0].endswith('-s3')
  assert folders[1] == folders[0].removesuffix('3') + '4'
  capsys.readouterr()
  assert cli.main(['train', '--config=quickstart', '--seeds=3']) == 0
  assert 'interval' not in capsys.readouterr().out


def test_a_seed_that_fails_does_not_stop_the_others(runs, capsys):
  runs['raises'][1] = runs['HealthError']('all rewards are equal')
  assert cli.main(['train', '--config=quickstart', '--seeds=0,1,2', '--workdir=mine']) == 1
  said = capsys.readouterr()
  assert len(runs['runs']) == 3 and 'seeds 0, 2' in said.out and 'all rewards' in said.err
  runs['raises'][1] = KeyboardInterrupt()
  assert cli.main(['train', '--config=quickstart', '--seeds=0,1', '--restart']) == 130
  command = 'rljax train --config=quickstart --seeds=0,1 --workdir=runs/quickstart/'
  error = capsys.readouterr().err
  assert command in error and not error.strip().endswith(('-s0', '-s1'))


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ('--seeds=0,1 --seed=2', '--seed is for one run'),
    ('--seeds=0,x', 'seeds are whole numbers'),
    ('--seeds=0,1,0', 'a seed twice'),
  ],
)
def test_mistakes(runs, capsys, flags, message):
  assert cli.main(['train', '--config=quickstart', *flags.split()]) == 2
  assert message in capsys.readouterr().err and not runs['runs']


def test_intervals():
  values = [0.1, 0.4, 0.2, 0.3]
  mean, half = mean_interval(values)
  known = stats.ttest_1samp(values, 0).confidence_interval(0.95)
  assert (mean - half, mean + half) == pytest.approx((known.low, known.high))
  assert mean_interval([2.0])[0] == 2 and math.isnan(mean_interval([2.0])[1])


def test_what_some_seeds_lack_is_a_dash():
  text = io.StringIO()
  start = {'greedy': 0.5, 'pass@1': 0.25}
  some = [dict(start=start, end=start, seed=0), dict(start=start, end={'pass@1': 0.5}, seed=1)]
  metrics.print_seeds(some, console=Console(file=text, width=80))
  lines = text.getvalue().splitlines()
  assert next(line for line in lines if 'greedy' in line).count('–') == 2
  assert '37.5' in next(line for line in lines if 'pass@1' in line)
