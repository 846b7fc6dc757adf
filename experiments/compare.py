"""Configs against a baseline over paired seeds: curves, intervals, gates and a verdict.

  python experiments/compare.py CONFIG [CONFIG …] --baseline=CONFIG --seeds=0,1,2,3,4 \
    --out=runs/compare/NAME [--config.a.b=value] [--set ARM:--config.a.b=value]

CONFIG is the name or the path of a config; ARM=CONFIG names the arm, so one config may stand for
several. `--config.…` goes to all arms, `--set` to one. The last stage is compared; the stages
before it run once for each seed and are shared. A seed fixes start, prompts and sampling noise; the
row A/A is the baseline with other sampling noise. Where the task has a twin on token arrays, a run
is one program, else it runs in the ordinary loop; a program is compiled once for all arms that
differ in floats (learning rate, clip, coefficients …) only.

<out> holds results.jsonl (one line a run; the same command again passes over those that are done),
table.md, results.csv and curves.png.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from comparison import arms, plots, report, runs

from rljax import config, devices


def main(argv=None):
  args, changes = parse(argv)
  sizes = [k for k in (2**i for i in range(20)) if k <= args.samples]
  evaluation = dict(
    num_prompts=args.prompts,
    samples=args.samples,
    ks=tuple(dict.fromkeys([*sizes, args.samples])),
    every=args.every,
  )
  try:
    chosen = arms.make_arms(args.configs, args.baseline, changes, evaluation, args.set)
    known = [arm.name for arm in chosen]
    for arm, _ in [*args.claim, *args.mechanism]:
      if arm not in known:
        raise config.ConfigError(f'{arm!r} is none of the arms {", ".join(known)}')
  except config.ConfigError as error:
    sys.exit(f'compare: {error}')
  print(f'devices {devices.check_accelerator(allow_cpu=args.allow_cpu)}', flush=True)
  devices.keep_compiled_programs()
  args.out.mkdir(parents=True, exist_ok=True)
  found = runs.run(chosen, args.seeds, args.out)
  comparison = report.Comparison(
    found,
    args.primary,
    claims={arm: {'up': 1, 'down': -1}[way] for arm, way in args.claim},
    mechanisms=dict(args.mechanism),
    ceiling=args.ceiling,
  )
  text = report.markdown(comparison)
  (args.out / 'table.md').write_text(text)
  report.write_csv(args.out / 'results.csv', comparison)
  plots.plot(args.out / 'curves.png', comparison)
  print(f'\n{text}\n{args.out}: table.md, results.csv, results.jsonl, curves.png')


def parse(argv):
  """(flags, the arguments that change all configs)."""
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=formatter, allow_abbrev=False
  )
  add = parser.add_argument
  add('configs', nargs='*', help='CONFIG or ARM=CONFIG')
  add('--baseline', required=True, help='CONFIG or ARM=CONFIG')
  add('--seeds', type=numbers, default=[0, 1, 2, 3, 4], help='default 0,1,2,3,4')
  add('--out', type=pathlib.Path, required=True)
  add('--set', action='append', type=of_arm, default=[], help='ARM:--config.a.b=value')
  add('--prompts', type=int, default=256, help='held-out prompts (default 256)')
  add('--samples', type=int, default=16, help='completions of each (default 16)')
  add('--every', type=int, default=0, help='iterations between evaluations; 0 = start and end')
  add('--primary', default='auc', help='quantity of the verdict (default auc)')
  add('--claim', action='append', type=of_arm, default=[], help='ARM:up (default) or ARM:down')
  add('--mechanism', action='append', type=of_arm, default=[],
      help='ARM:METRIC of its activity; all 0 = not exercised')  # fmt: skip
  add('--ceiling', type=float, default=1.0, help='the highest pass@1 that can be reached')
  add('--allow_cpu', action='store_true', help='go on if jax does not see the accelerator')
  args, changes = parser.parse_known_args(argv)
  for change in changes:
    if not change.startswith(('--config.', '--noconfig.')):
      parser.error(f'unknown argument {change!r}')
  for arm, way in args.claim:
    if way not in ('up', 'down'):
      parser.error(f'--claim={arm}:{way}: it is up or down')
  return args, changes


def numbers(text):
  return [int(part) for part in text.split(',')]


def of_arm(text):
  """ARM:value as (arm, value)."""
  arm, found, value = text.partition(':')
  if not found:
    raise argparse.ArgumentTypeError(f'{text!r} is no ARM:value')
  return arm, value


if __name__ == '__main__':
  main()
