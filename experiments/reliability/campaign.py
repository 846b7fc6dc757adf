"""Faults of every kind in a small run, each followed by a start that goes on, and compared.

  python experiments/reliability/campaign.py --out=runs/campaign --publish

The kills are added to those that an earlier call has made in <out>, until there are --kills; the
other faults are made anew. kills.csv, faults.json and table.md are written to <out>; --publish also
puts them beside this file and the table into its README. Ends with exit code 1 if anything is not
as it should be.
"""

import argparse
import collections
import os
import pathlib
import sys

import kills
import trial

HERE = pathlib.Path(__file__).resolve().parent


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/campaign'))
  parser.add_argument('--kills', type=int, default=200)
  parser.add_argument('--seconds', type=float, default=1e9, help='after which no kills begin')
  parser.add_argument('--seed', type=int, default=0)
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
  print(collections.Counter(row['hit'] for row in rows))
  return int(any(row['violations'] for row in rows))


if __name__ == '__main__':
  sys.exit(main())
