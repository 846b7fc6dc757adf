"""The scripts of experiments/reliability in a few trials: they run, and find nothing wrong."""

import csv
import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent.parent / 'experiments' / 'reliability'
pytestmark = pytest.mark.thorough


FEW = ('--faults=two_runs,scores', '--trials=1')


def script(name, *arguments):
  return subprocess.run([sys.executable, HERE / name, *arguments], capture_output=True, text=True)


def test_kills_a_second_run_and_odd_rewards(tmp_path):
  kept = {path: path.read_bytes() for path in HERE.iterdir() if path.is_file()}
  done = script('campaign.py', f'--out={tmp_path}', '--kills=3', '--further=0', *FEW)
  assert done.returncode == 0, done.stdout + done.stderr
  with open(tmp_path / 'kills.csv', newline='') as file:
    kills = list(csv.DictReader(file))
  assert len(kills) >= 3 and not any(row['violations'] for row in kills)
  assert all(row['resumed'] and int(row['recomputed']) <= 3 for row in kills)
  found = json.loads((tmp_path / 'faults.json').read_text())
  (second,) = found['two_runs']
  assert not second['violations'] and 'refused' in second['outcome']
  assert [(x['code'], x['violations']) for x in found['scores']] == [(0, []), (0, [])]
  assert '| kill -9 in: rollout |' in done.stdout
  assert all(path.read_bytes() == content for path, content in kept.items())  # not published
