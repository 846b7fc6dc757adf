"""Learning rates of the baselines, on the two seeds that measure nothing else (rule 5).

  python experiments/suite/scan.py --out=runs/scan [--units=split:P,split:O] [--rates=3e-5,1e-4]
    [--publish] [--config.a.b=value]

A unit is TASK:REGIME. Its rate is that of one step a rollout; regime O takes a third of it. The
same command again passes over what is done. --publish writes scan.md beside this file.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
from comparison import arms, effects, runs
from comparison.report import head, line, number

from rljax import devices
from suite import regimes, units
from suite import run as suite

HERE = pathlib.Path(__file__).resolve().parent
UNITS = (
  'split:P,split:O,ops:P,ops:O,pad:P,chain:P,graded:P,sorting:P,mixed:P,arithmetic:P,two_skill:P'
)
BASELINES = {'mixed': 'presets/mixed_tasks', 'O': 'presets/grpo_off_policy'}
BASELINE = 'presets/grpo_on_policy'


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=formatter, allow_abbrev=False
  )
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/scan'))
  parser.add_argument('--units', default=UNITS)
  parser.add_argument('--rates', type=rates, default=[3e-5, 1e-4, 3e-4])
  parser.add_argument('--seeds', type=suite.numbers, default=[5, 6])
  parser.add_argument('--publish', action='store_true', help='scan.md into this folder')
  args, changes = parser.parse_known_args()
  devices.keep_compiled_programs()
  args.out.mkdir(parents=True, exist_ok=True)
  rows = []
  for unit in args.units.split(','):
    task, regime = unit.split(':')
    for rate in args.rates:
      arm = arm_of(task, regime, rate, changes)
      found = runs.run([arm], args.seeds, args.out)[arm.name]
      rows.append(row(f'{task} {regime}', rate, found))
      print(rows[-1], flush=True)
  text = '\n'.join([*HEAD, *rows]) + '\n'
  (args.out / 'scan.md').write_text(text)
  if args.publish:
    (HERE / 'scan.md').write_text(f'{ABOUT.format(seeds=" and ".join(map(str, args.seeds)))}{text}')


def rates(text):
  return [float(part) for part in text.split(',')]


def arm_of(task, regime, rate, changes):
  """The baseline of a unit at a learning rate."""
  baseline = BASELINES.get(task) or BASELINES.get(regime, BASELINE)
  _, settings = arms.load(baseline)
  settings = units.put_on(settings, task, regime)
  settings.rl.optimizer.learning_rate = rate * regimes.SMALLER.get(regime, 1)
  name = f'{task} {regime} {rate:g}'
  return arms.make_arm(name, settings, list(changes), suite.evaluation_of())


ABOUT = """# Learning rates of the baselines

Written by `scan.py --publish`; seeds {seeds}, of which the first stands first. Fractions are in
percent; *auc*: the mean training reward. In regime O a third of the rate is used.

"""
HEAD = head(
  'unit', 'rate', 'start pass@1', 'start pass@16', 'end pass@1', 'auc', 'zero variance',
  'gates missed',
)  # fmt: skip


def row(unit, rate, found):
  """One rate on one unit: every seed, and the gates that some of them miss."""

  def each(value):
    return ', '.join(number(value(record), True) for record in found)

  counts = effects.gates(found, found)
  missed = [gate for gate, count in counts.items() if count and len({*count}) > 1]
  return line(
    unit, f'{rate:g}',
    each(lambda r: r['start']['pass@1']), each(lambda r: r['start']['pass@16']),
    each(lambda r: r['end']['pass@1']), each(lambda r: np.mean(r['reward'])),
    each(lambda r: np.mean(r['zero_variance'][: effects.FIRST])), '; '.join(missed),
  )  # fmt: skip


if __name__ == '__main__':
  main()
