"""Does RL teach when to call a tool? Three seeds with a calculator, three without; table, plot.

  python experiments/calculator/run.py --out=runs/calculator --publish

The same command again passes over runs that are finished. results.csv, table.md and curves.png are
written to <out>; --publish also puts them beside this file and the table into its README. Flags
that begin with --config. go to every run.
"""

import argparse
import csv
import pathlib
import shutil

from rljax import config, devices, overrides
from rljax.metrics import read_metrics, read_summary
from rljax.train import train

HERE = pathlib.Path(__file__).resolve().parent
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
WITH, WITHOUT = 'calculator', 'no tool'
RISE, LEAD = 20, 10  # goals, points of pass@1: over the start, over the arm without
COLORS = {WITH: '#2a6fbb', WITHOUT: '#8a8f98'}


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/calculator'))
  parser.add_argument('--seeds', default='0,1,2')
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args, flags = parser.parse_known_args()
  devices.keep_compiled_programs()
  seeds = [int(s) for s in args.seeds.split(',')]
  rows = [run(args.out, arm, seed, flags) for seed in seeds for arm in (WITH, WITHOUT)]
  table = markdown(rows)
  with (args.out / 'results.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
  (args.out / 'table.md').write_text(table)
  plot(args.out, rows)
  if args.publish:
    for name in ('results.csv', 'curves.png'):
      shutil.copyfile(args.out / name, HERE / name)
    readme = HERE / 'README.md'
    before, rest = readme.read_text().split(MARKERS[0])
    readme.write_text(f'{before}{MARKERS[0]}\n{table}{MARKERS[1]}{rest.split(MARKERS[1])[1]}')
  print(table)


def workdir(out, arm, seed):
  return out / f'{arm.replace(" ", "_")}-s{seed}'


def run(out, arm, seed, flags):
  """One line of results.csv; trains where that has not been done."""
  folder = workdir(out, arm, seed)
  if (found := read_summary(folder)) is None:
    settings = config.load(str(config.find('calculator')))
    settings.evaluation.update(samples=16, ks=(1,))
    if arm == WITHOUT:
      settings.environment, settings.task.tool_share = None, 0.0
      settings.health_check = False  # it would stop: nothing comes out right
    settings, _ = overrides.override(settings, flags)
    found = train(settings, workdir=str(folder), seed=seed, name=arm)
  last = [row for row in read_metrics(folder) if 'reward/mean' in row][-1]
  return {
    'arm': arm,
    'seed': seed,
    'start': found['start']['pass@1'],
    'end': found['end']['pass@1'],
    'greedy': found['end']['greedy'],
    'calls': last.get('tools/calls', 0.0),
    'turns': last.get('rollout/turns', 1.0),
    'tokens': found['tokens'],
    'seconds': round(found['seconds'], 1),
  }


def markdown(rows):
  lines = [
    '| arm | seed | pass@1 at the start, % | at the end, % | greedy, % | calls a sample | '
    'tokens sampled | minutes |',
    '|---|---|---|---|---|---|---|---|',
  ]
  for row in sorted(rows, key=lambda r: (r['arm'] != WITH, r['seed'])):
    lines.append(
      f'| {row["arm"]} | {row["seed"]} | {100 * row["start"]:.1f} | {100 * row["end"]:.1f} | '
      f'{100 * row["greedy"]:.1f} | {row["calls"]:.2f} | {row["tokens"]:,} | '
      f'{row["seconds"] / 60:.1f} |'
    )
  ends = {(r['arm'], r['seed']): r['end'] for r in rows}
  rise = [100 * (r['end'] - r['start']) for r in rows if r['arm'] == WITH]
  lead = [100 * (x - ends[WITHOUT, seed]) for (arm, seed), x in ends.items() if arm == WITH]
  for what, values, goal in (('over its start', rise, RISE), ('over no tool', lead, LEAD)):
    shown = ' / '.join(f'{v:+.1f}' for v in values)
    reached = 'reached' if min(values) >= goal else '**missed**'
    lines.append(f'\nWith the calculator, points {what}: {shown} (goal {goal:+}: {reached}).')
  return '\n'.join([*lines, '', '![curves](curves.png)', ''])


def plot(out, rows):
  """Reward and calls over the iterations of RL; a line a seed."""
  from matplotlib.figure import Figure

  fig = Figure(figsize=(9, 3.2), layout='constrained')
  panels = fig.subplots(1, 2)
  names = {'reward/mean': 'reward of training samples', 'tools/calls': 'calls a sample'}
  for axis, (name, label) in zip(panels, names.items()):
    for row in rows:
      curve = [r for r in read_metrics(workdir(out, row['arm'], row['seed'])) if 'reward/mean' in r]
      label_once = row['arm'] if row['seed'] == rows[0]['seed'] else None
      axis.plot(
        [r['iteration'] for r in curve], [r.get(name, 0.0) for r in curve],
        color=COLORS[row['arm']], lw=1.3, label=label_once,
      )  # fmt: skip
    axis.set(xlabel='iteration of RL', ylabel=label, ylim=(0, None))
    axis.spines[['top', 'right']].set_visible(False)
    axis.grid(color='#e6e8ec')
  panels[0].legend(frameon=False, loc='center right')
  fig.savefig(out / 'curves.png', dpi=110)


if __name__ == '__main__':
  main()
