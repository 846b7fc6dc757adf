"""How long a command takes until its first line.

  python experiments/start/run.py --out=runs/start --publish

Each command is started anew, in turns; `train` is ended at its first line. results.json and
table.md are written to <out>; --publish also puts results.json beside this file and the table into
its README.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from rljax import files, metrics, workdir

HERE = pathlib.Path(__file__).resolve().parent
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
COMMANDS = {
  'rljax --help': ['--help'],
  'rljax configs': ['configs'],
  'rljax show <run>': ['show', 'run'],
  'rljax samples <run>': ['samples', 'run'],
  'rljax train --config=quickstart': ['train', '--config=quickstart'],
}
GOAL = 2.0  # seconds


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/start'))
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    write_run(pathlib.Path(folder) / 'run')
    results = measure(folder, args.rounds)
  table = markdown(results)
  args.out.mkdir(parents=True, exist_ok=True)
  (args.out / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
  (args.out / 'table.md').write_text(table)
  if args.publish:
    publish(args.out, table)
  print(table)


def write_run(path):
  """A run of 500 iterations with eight samples of each, as its files tell it."""
  with workdir.open_workdir(path, 'mine', {'rl': {}, 'stages': ['rl']}, seed=0):
    rows = [{'stage': 'rl', 'iteration': i, 'reward/mean': i / 500} for i in range(1, 501)]
    files.write_text(path / metrics.METRICS, files.json_lines(rows))
    samples = [
      {**row, 'prompt': 'p' * 40, 'completion': 'c' * 400, 'reward': 1.0, 'draw_id': 0}
      for row in rows
      for _ in range(8)
    ]
    files.write_text(path / metrics.SAMPLES, files.json_lines(samples))


def measure(folder, rounds):
  """Wall and user seconds until the first line, in turns after one start that does not count."""
  load, found = os.getloadavg()[0], {name: [] for name in COMMANDS}
  for turn in range(rounds + 1):
    for name, arguments in COMMANDS.items():
      seconds = first_line(arguments, folder)
      if turn:
        found[name].append(seconds)
  return {
    'date': datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC'),
    'machine': f'{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}',
    'load': round(load, 1),
    'commands': found,
  }


def first_line(arguments, folder):
  """(wall seconds until the first line of a command, user seconds of its process)."""
  command = [sys.executable, '-m', 'rljax', *arguments]
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  places = (os.getcwd(), os.environ.get('PYTHONPATH', ''))
  environment['PYTHONPATH'] = os.pathsep.join(place for place in places if place)
  began = time.perf_counter()
  process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder, env=environment)
  line = process.stdout.readline()
  seconds = time.perf_counter() - began
  os.kill(process.pid, signal.SIGKILL)  # Popen.kill would reap a process that has ended
  _, _, usage = os.wait4(process.pid, 0)
  process.returncode = 0
  process.stdout.close()
  if not line:
    raise RuntimeError(f'{" ".join(command)} has printed nothing')
  return seconds, usage.ru_utime


def markdown(results):
  """The table, and what it was measured on."""
  lines = ['| command | first line, s: median (range) | user CPU, s: median | goal |']
  lines.append('|---|---|---|---|')
  for name, pairs in results['commands'].items():
    walls, users = zip(*pairs)
    wall = statistics.median(walls)
    told = f'{wall:.2f} ({min(walls):.2f} … {max(walls):.2f})'
    met = 'met' if wall <= GOAL else '**missed**'
    lines.append(f'| `{name}` | {told} | {statistics.median(users):.2f} | {GOAL:.0f}: {met} |')
  count = len(pairs)
  about = f'{results["date"]}; {results["machine"]}; load at the start {results["load"]}'
  return '\n'.join([*lines, '', f'{about}; {count} starts of each, in turns.', ''])


def publish(out, table):
  shutil.copy(out / 'results.json', HERE / 'results.json')
  before, _, rest = (HERE / 'README.md').read_text().partition(MARKERS[0])
  _, _, after = rest.partition(MARKERS[1])
  text = f'{before}{MARKERS[0]}\n{table}{MARKERS[1]}{after}'
  (HERE / 'README.md').write_text(text)


if __name__ == '__main__':
  main()
