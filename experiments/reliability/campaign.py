"""Faults of every kind in a small run, each followed by a start that goes on, and compared.

  python experiments/reliability/campaign.py --out=runs/campaign --publish

The kills are added to those that an earlier call has made in <out>, until there are --kills; the
other faults are made anew. kills.csv, faults.json and table.md are written to <out>; --publish also
puts them beside this file and the table into its README. Ends with exit code 1 if anything is not
as it should be.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import statistics
import sys

import kills
import trial
from faults import FAULTS, NAMES
from publishing import publish
from trial import EVERY, PHASES

MARKERS = ('<!-- campaign: written by campaign.py -->', '<!-- end of campaign -->')


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/campaign'))
  parser.add_argument('--kills', type=int, default=200)
  parser.add_argument('--seconds', type=float, default=1e9, help='after which no kills begin')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--faults', default=','.join(FAULTS), help='other than kills; anew each')
  parser.add_argument('--trials', type=int, default=10, help='of each fault that has several')
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args()
  out = args.out.absolute()
  out.mkdir(parents=True, exist_ok=True)
  os.environ['RLJAX_DATA'] = str(out / 'data')
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  whole = out / 'whole'
  code, seconds, _ = trial.run(whole)
  assert code == 0, f'the run itself does not work: {whole}.log'
  print(f'the run that is never stopped begins after {seconds:.1f} s', flush=True)
  rows = kills.campaign(out, whole, args.kills, args.seed, args.seconds)
  others = {name: [] for name in args.faults.split(',') if name}
  for name in others:
    folder = out / 'faults' / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for found in FAULTS[name](folder, whole, args.trials):
      others[name].append(found)
      print(f'{name}: {found}', flush=True)
  path = out / 'faults.json'
  kept = json.loads(path.read_text()) if path.exists() else {}
  path.write_text(json.dumps({**kept, **others}, indent=1, ensure_ascii=False) + '\n')
  table = markdown(rows, {**kept, **others})
  (out / 'table.md').write_text(table)
  print(table)
  if args.publish:
    publish(out, ('kills.csv', 'faults.json'), table, MARKERS)
  found = [r['violations'] for r in (*rows, *(r for many in others.values() for r in many))]
  return int(any(found))


def markdown(rows, others):
  """The table: kills by what they hit, then the other faults."""
  lines = [
    '| fault | count | outcome | seconds to recover (median, worst) | violations |',
    '|---|---|---|---|---|',
  ]
  for phase in PHASES:
    hit = [row for row in rows if row['hit'] == phase]
    if hit:
      most = max(int(row['recomputed'] or 0) for row in hit)
      outcome = f'goes on, at most {most} iterations recomputed'
      lines.append(_line(f'kill -9 in: {phase}', hit, outcome))
  unfinished = sum(row['unfinished'] in ('1', 1) for row in rows)
  for name, found in others.items():
    outcomes = collections.Counter(row['outcome'].partition(',')[0] for row in found)
    if name == 'full_disk':
      outcomes = {f'exit codes {sorted({row["code"] for row in found})}, then goes on': len(found)}
    told = '; '.join(f'{key} ({count})' for key, count in outcomes.items())
    lines.append(_line(NAMES[name], found, told))
  lines += [
    '',
    f'{len(rows)} kills; {unfinished} of them found a checkpoint that was being written (it is '
    f'dropped, and the one before is used). {_lost(rows)}',
  ]
  return '\n'.join(lines) + '\n'


def _lost(rows):
  """How many kills cost more iterations than lie between two checkpoints."""
  lost = [row for row in rows if int(row['recomputed'] or 0) > EVERY]
  unfinished = sum(row['unfinished'] in ('1', 1) for row in lost)
  return (
    f'After {len(lost)} kills more than the {EVERY} iterations between two checkpoints were '
    f'recomputed, which counts as a violation; {unfinished} of these had found one unfinished.'
  )


def _line(name, rows, outcome):
  seconds = [float(row['seconds']) for row in rows if row['seconds'] not in ('', None)]
  took = f'{statistics.median(seconds):.1f}, {max(seconds):.1f}' if seconds else ''
  wrong = sum(bool(row['violations']) for row in rows)
  return f'| {name} | {len(rows)} | {outcome} | {took} | {wrong} |'


if __name__ == '__main__':
  sys.exit(main())
