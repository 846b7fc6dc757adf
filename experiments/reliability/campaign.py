"""Faults of every kind in a small run, each followed by a start that goes on, and compared.

  python experiments/reliability/campaign.py --out=runs/campaign --publish

The kills are added to those that an earlier call has made in <out>, until there are --kills, and
--further of each other run; the other faults are made anew. kills*.csv, faults.json and table.md
are written to <out>; --publish also puts them beside this file and the table into its README. Ends
with exit code 1 if anything is not as it should be.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import statistics
import sys

import endpoints
import faults
import kills
import nonfinite
import trial
from publishing import publish
from trial import EVERY, PHASES

FAULTS = {**faults.FAULTS, **endpoints.FAULTS, **nonfinite.FAULTS}
NAMES = {**faults.NAMES, **endpoints.NAMES, **nonfinite.NAMES}
FURTHER = {  # what is killed besides, and how it is called
  trial.TURNS: 'episodes of several turns, and a queue',
  trial.POOL: 'a pool that is rehearsed, and a queue',
  trial.TWO: 'two processes, of one or both',
}
MARKERS = ('<!-- campaign: written by campaign.py -->', '<!-- end of campaign -->')


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/campaign'))
  parser.add_argument('--kills', type=int, default=200)
  parser.add_argument('--further', type=int, default=10, help='kills of each other run')
  parser.add_argument('--runs', default='turns,pool,two', help='the other runs that are killed')
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
  rows = kills.campaign(trial.SMALL, out, whole, args.kills, args.seed, args.seconds)
  further = {subject: _further(subject, out, args) for subject in FURTHER}
  path = out / 'faults.json'
  kept, others = json.loads(path.read_text()) if path.exists() else {}, {}
  for name in filter(None, args.faults.split(',')):
    folder = out / 'faults' / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    others[name] = []
    for found in FAULTS[name](folder, whole, args.trials):
      others[name].append(found)
      print(f'{name}: {found}', flush=True)
    path.write_text(json.dumps({**kept, **others}, indent=1, ensure_ascii=False) + '\n')
  table = markdown(rows, {**kept, **others}, further)
  (out / 'table.md').write_text(table)
  print(table)
  if args.publish:
    names = ['faults.json', *(kills.name_of(subject) for subject in (trial.SMALL, *FURTHER))]
    publish(out, [name for name in names if (out / name).exists()], table, MARKERS)
  found = [rows, *further.values(), *others.values()]
  return int(any(row['violations'] for many in found for row in many))


def _further(subject, out, args):
  """The kills of another run; what an earlier call has done is kept."""
  whole = out / f'whole-{subject.name}'
  known = kills.read(out / kills.name_of(subject))
  if len(known) >= args.further or subject.name not in args.runs.split(','):
    return known
  codes = trial.wait_for_all(trial.start(subject, whole, trial.Board()))
  assert not any(codes), f'the run itself does not work: {whole}.log'
  return kills.campaign(subject, out, whole, args.further, args.seed, args.seconds)


def markdown(rows, others, further):
  """The table: kills by what they hit, those of other runs, then the other faults."""
  lines = [
    '| fault | count | outcome | seconds to recover (median, worst) | violations |',
    '|---|---|---|---|---|',
  ]
  for phase in PHASES:
    hit = [row for row in rows if row['hit'] == phase]
    if hit:
      lines.append(_line(f'kill -9 in: {phase}', hit, _goes_on(hit)))
  for subject, found in further.items():
    if found:
      lines.append(_line(f'kill -9: {FURTHER[subject]}', found, _goes_on(found)))
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


def _goes_on(rows):
  most = max(int(row['recomputed'] or 0) for row in rows)
  return f'goes on, at most {most} iterations recomputed'


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
