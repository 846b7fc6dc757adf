"""The scripts of experiments/reliability in a few trials: they run, and find nothing wrong."""

import csv
import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent.parent / 'experiments' / 'reliability'
pytestmark = pytest.mark.thorough


def script(name, *arguments):
  return subprocess.run([sys.executable, HERE / name, *arguments], capture_output=True, text=True)


def test_kills_and_a_second_run(tmp_path):
  kept = {path: path.read_bytes() for path in HERE.iterdir() if path.is_file()}
  done = script('campaign.py', f'--out={tmp_path}', '--kills=3', '--faults=two_runs', '--trials=1')
  assert done.returncode == 0, done.stdout + done.stderr
  with open(tmp_path / 'kills.csv', newline='') as file:
    kills = list(csv.DictReader(file))
  assert len(kills) >= 3 and not any(row['violations'] for row in kills)
  assert all(row['resumed'] and int(row['recomputed']) <= 3 for row in kills)
  (second,) = json.loads((tmp_path / 'faults.json').read_text())['two_runs']
  assert not second['violations'] and 'refused' in second['outcome']
  assert '| kill -9 in: rollout |' in done.stdout
  assert all(path.read_bytes() == content for path, content in kept.items())  # not published
