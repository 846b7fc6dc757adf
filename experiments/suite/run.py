"""Configs against a baseline on one unit of the suite: a task at its size, in a regime.

  python experiments/suite/run.py CONFIG [CONFIG …] --baseline=CONFIG --task=split --regime=O \
    --out=runs/suite/NAME [--config.a.b=value]

CONFIG is the name or the path of a config of RL; ARM=CONFIG names the arm. Task, model, SFT and
sizes are the unit's, what makes the method is the config's. Regimes: P one step on each rollout,
O sixteen, S4 one step on a rollout four iterations old, X a sampler that is not quite the policy.
Runs, tables and figures are those of experiments/compare.py.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from comparison import plots, report, runs
from comparison.arms import A_A, Arm

from rljax import config, devices
from suite import units

PROMPTS = 1024  # held-out ones; fewer where the task has fewer
SAMPLES = 16  # completions of each


def main(argv=None):
  args, changes = parse(argv)
  unit, evaluation = (args.task, args.regime), evaluation_of(args.prompts, args.samples)
  try:
    arms = [units.make_arm(t, unit, evaluation, changes) for t in (args.baseline, *args.configs)]
  except config.ConfigError as error:
    sys.exit(f'suite: {error}')
  arms.insert(1, Arm(A_A, arms[0].settings, other_noise=True))
  devices.keep_compiled_programs()
  args.out.mkdir(parents=True, exist_ok=True)
  comparison = report.Comparison(runs.run(arms, args.seeds, args.out), args.primary)
  print(write(comparison, args.out))


def evaluation_of(prompts=PROMPTS, samples=SAMPLES):
  """The node of the evaluation: at the start and at the end."""
  sizes = [k for k in (2**i for i in range(20)) if k <= samples]
  ks = tuple(dict.fromkeys([*sizes, samples]))
  return dict(num_prompts=prompts, samples=samples, ks=ks, every=0)


def write(comparison, out):
  """table.md, results.csv and curves.png; the table as text."""
  text = report.markdown(comparison)
  (out / 'table.md').write_text(text)
  report.write_csv(out / 'results.csv', comparison)
  plots.plot(out / 'curves.png', comparison)
  return text


def parse(argv):
  """(flags, the arguments that change all configs)."""
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=formatter, allow_abbrev=False
  )
  add = parser.add_argument
  add('configs', nargs='*', help='CONFIG or ARM=CONFIG')
  add('--baseline', required=True, help='CONFIG or ARM=CONFIG')
  add('--task', required=True, choices=units.TASKS)
  add('--regime', default='', help="P, O, S4, X; default: the config's own steps")
  add('--seeds', type=numbers, default=[0, 1, 2, 3, 4], help='default 0,1,2,3,4')
  add('--prompts', type=int, default=PROMPTS, help=f'held-out prompts (default {PROMPTS})')
  add('--samples', type=int, default=SAMPLES, help=f'completions of each (default {SAMPLES})')
  add('--primary', default='auc', help='quantity of the verdict (default auc)')
  add('--out', type=pathlib.Path, required=True)
  args, changes = parser.parse_known_args(argv)
  for change in changes:
    if not change.startswith(('--config.', '--noconfig.')):
      parser.error(f'unknown argument {change!r}')
  return args, changes


def numbers(text):
  return [int(part) for part in text.split(',')]


if __name__ == '__main__':
  main()
