"""Programs that misbehave in every way, among others that do not, through the sandbox.

  python experiments/sandbox/run.py --out=runs/sandbox --publish

results.json and table.md are written to <out>; --publish also puts results.json beside this file
and the table into its README. Ends with exit code 1 if anything is not as it should be.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import platform
import random
import shutil
import sys
import tempfile
import time

import psutil

from rljax.rewards import sandbox

HERE = pathlib.Path(__file__).resolve().parent
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
LIMITS = sandbox.Limits(
  cpu_seconds=1, wall_seconds=4.0, total_seconds=4.0, memory_mib=128, processes=8, output_mib=8
)
SPARE_SECONDS = 5.0  # of one program above its wall-clock limit: to start, to end, a busy machine
SHARE = 0.05  # of the programs, for each way to misbehave
PLACES = ('/', '/tmp', '/var/tmp', '/dev/shm')  # besides where this runs
MARK = 'rljax-campaign-'  # in the names of files
TESTS = ['assert f(0) == 1', 'assert f(1) == 2', 'assert f(-5) == -4']

ESCAPE = """
import os, time
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    time.sleep(1000)
  os._exit(0)
"""
HIDE = """
import os
for folder in ('.', {home!r}, *{places!r}):
  try: open(os.path.join(folder, {name!r}), 'w').write('x')
  except OSError: pass
"""
# Way to behave -> (programs of that kind, verdicts that are right).
WAYS = {
  'right': (['def f(x): return x + {k} - {k} + 1', 'f = lambda x: sum([x, 1])'], {'passed'}),
  'wrong': (['def f(x): return x + {k} + 2', 'def f(x): return x == {k}'], {'wrong'}),
  'raises': (['1 / 0', 'def f(x: return {k}', 'import sys; sys.exit({k})'], {'error'}),
  'loops': (['while True: pass', 'def f(x):\n  while True: x += 1',
    'import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass',
    'import time; time.sleep(1000)'], {'timeout'}),
  'takes memory': (['x = []\nwhile True: x.append(bytearray(10**6))', 'x = "x"\nwhile True: x += x',
    'import mmap; mmap.mmap(-1, 2**31)', 'def f(x): return [0] * 10**9'], {'memory'}),
  'forks': (['import os\nwhile True: os.fork()',
    'import os\nwhile True:\n  try: os.fork()\n  except OSError: pass',
    ESCAPE + 'while True: os.fork()', ESCAPE + 'time.sleep(1000)'], {'refused', 'timeout'}),
  'writes 1 GiB': (['f = open("f", "wb")\nfor _ in range(1024): f.write(bytes(2**20))',
    'for _ in range(2**20): print("x" * 1023)',
    'for i in range(1024): open(str(i), "wb").write(bytes(2**20))',
    HIDE + 'f = open("f", "wb")\nfor _ in range(1024): f.write(bytes(2**20))'], {'output'}),
  'opens sockets': (['import socket; socket.create_connection(("127.0.0.1", {port}))',
    'import urllib.request; urllib.request.urlopen("http://127.0.0.1:{port}")',
    'import socket as s\ns.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b"", ("8.8.8.8", 53))',
    'import socket; socket.socket().bind(("127.0.0.1", 0))'], {'refused'}),
}  # fmt: skip
MISBEHAVING = ('loops', 'takes memory', 'forks', 'writes 1 GiB', 'opens sockets')


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/sandbox'))
  parser.add_argument('--programs', type=int, default=1000)
  parser.add_argument('--jobs', type=int, default=2)
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args()
  print(sandbox.probe())
  results = campaign(args.programs, args.jobs)
  args.out.mkdir(parents=True, exist_ok=True)
  (args.out / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
  table = markdown(results)
  (args.out / 'table.md').write_text(table)
  if args.publish:
    publish(args.out, table)
  print(table)
  sys.exit(bool(complaints(results)))


# ------------------------------------------------------------------------------- the campaign


def campaign(num_programs, jobs):
  """Runs the mixture and returns what became of it, as JSON."""
  name = f'{MARK}{random.randrange(10**12)}'
  before = left_behind(name)
  started = time.monotonic()
  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    rows = list(pool.map(run, mixture(num_programs, name)))
  seconds = time.monotonic() - started
  after = left_behind(name)
  ways = {}
  for way, (_, expected) in WAYS.items():
    mine = [row for row in rows if row['way'] == way]
    ways[way] = {
      'programs': len(mine),
      'verdicts': dict(collections.Counter(row['kind'] for row in mine)),
      'unexpected': [row for row in mine if row['kind'] not in expected],
      'longest': max((row['seconds'] for row in mine), default=0.0),
    }
  return {
    'programs': num_programs,
    'jobs': jobs,
    'seconds': seconds,
    'bound': num_programs / jobs * (LIMITS.wall_seconds + SPARE_SECONDS),
    'ways': ways,
    'processes_left': sorted(after[0] - before[0]),
    'files_left': sorted(after[1] - before[1]),
    'containment': str(sandbox.probe()),
    'machine': f'{os.cpu_count()} cores, {platform.system()} {platform.release()}',
    'python': platform.python_version(),
  }


def mixture(num_programs, name):
  """(way, source) of each program, in random order that is always the same."""
  draw, each = random.Random(0), max(1, round(SHARE * num_programs))
  ways = [way for way in MISBEHAVING for _ in range(each)]
  rest = num_programs - len(ways)
  ways += ['wrong'] * (rest // 5) + ['raises'] * (rest // 5)
  ways += ['right'] * (num_programs - len(ways))
  counts = collections.Counter()
  programs = []
  for way in ways:
    sources = WAYS[way][0]
    source = sources[counts[way] % len(sources)]
    counts[way] += 1
    given = {'{k}': str(draw.randrange(1, 100)), '{port}': '9', '{name!r}': repr(name)}
    given |= {'{home!r}': repr(str(pathlib.Path.home())), '{places!r}': repr(PLACES)}
    for key, value in given.items():
      source = source.replace(key, value)
    programs.append((way, source))
  draw.shuffle(programs)
  return programs


def run(program):
  way, source = program
  started = time.monotonic()
  verdict = sandbox.run_tests(source, TESTS, limits=LIMITS, allow=True)
  seconds = time.monotonic() - started
  return {
    'way': way, 'kind': verdict.kind, 'message': verdict.message[:200], 'source': source[:200],
    'seconds': seconds,
  }  # fmt: skip


def left_behind(name):
  """(processes below this one or of users that nobody has, files of this campaign)."""
  processes = {f'{p.pid}' for p in psutil.Process().children(recursive=True)}
  for process in psutil.process_iter(['uids']):
    if process.info['uids'] and process.info['uids'].real >= 1_000_000_000:
      processes.add(f'{process.pid}')
  temporary = pathlib.Path(tempfile.gettempdir())
  folders = {temporary, pathlib.Path.home(), pathlib.Path.cwd(), *map(pathlib.Path, PLACES)}
  files = {str(f / name) for f in folders if (f / name).exists()}
  return processes, files | {str(f) for f in temporary.glob('rljax-sandbox-*')}


def complaints(results):
  """What is not as it should be, in words."""
  found = [
    f'{way}: {row["kind"]} ({row["message"]}) of {row["source"]!r}'
    for way, ways in results['ways'].items()
    for row in ways['unexpected']
  ]
  if results['seconds'] > results['bound']:
    found.append(f'{results["seconds"]:.0f} s, more than {results["bound"]:.0f} s')
  for what in ('processes_left', 'files_left'):
    found += [f'{what}: {name}' for name in results[what]]
  return found


# ------------------------------------------------------------------------------- the report


def markdown(results):
  lines = [
    '| programs | how many | verdicts | right | longest run |',
    '|---|---|---|---|---|',
  ]
  for way, row in results['ways'].items():
    verdicts = ', '.join(f'{kind} {count}' for kind, count in sorted(row['verdicts'].items()))
    right = row['programs'] - len(row['unexpected'])
    lines.append(
      f'| {way} | {row["programs"]} | {verdicts} | {right} / {row["programs"]} | '
      f'{row["longest"]:.1f} s |'
    )
  found = complaints(results)
  bound = f'{results["seconds"]:.0f} s for all, {results["jobs"]} at a time'
  left = f'{len(results["processes_left"])} processes and {len(results["files_left"])} files left'
  lines += [
    '',
    f'{bound} (bound: {results["bound"]:.0f} s); {left}.',
    f'{results["machine"]}, Python {results["python"]}.',
    '',
    f'*This machine:* {results["containment"]}',
    '',
    'Verdict: ' + ('all as it should be.' if not found else '**not** as it should be:'),
    *(f'- {line}' for line in found),
  ]
  return '\n'.join(lines) + '\n'


def publish(out, table):
  if out.resolve() != HERE:
    shutil.copy(out / 'results.json', HERE / 'results.json')
  readme = HERE / 'README.md'
  before, rest = readme.read_text().split(MARKERS[0])
  after = rest.split(MARKERS[1])[1]
  readme.write_text(f'{before}{MARKERS[0]}\n{table}{MARKERS[1]}{after}')


if __name__ == '__main__':
  main()
