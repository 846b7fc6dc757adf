"""Preference losses, reward models and distillation over three seeds: runs, tables, a plot.

  python experiments/stages/run.py --out=runs/stages --publish

Every arm of a seed begins with the same SFT policy. The same command again passes over runs that
are finished. results.csv, table.md and a plot are written to <out>; --publish also puts them beside
this file and the tables into its README. Flags that begin with --config. go to every run.
"""

import argparse
import csv
import pathlib
import shutil
import statistics

from rljax import config, devices, overrides
from rljax.metrics import read_summary
from rljax.train import train

HERE = pathlib.Path(__file__).resolve().parent
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
FILES = ('results.csv', 'accuracy.png')
NO_SAMPLING = ['--config.evaluation.samples=1', '--config.evaluation.ks=1']
SMALL = [  # the student, and every policy that is not a teacher
  '--config.model.d_model=64',
  '--config.model.num_heads=2',
  '--config.model.num_kv_heads=2',
  '--config.model.d_ff=160',
]
REWARD_MODELS = ('reward_model', 'process_reward_model')
# Arms of distillation: config, and what differs.
BASE = 'SFT on samples of the teacher'
DISTILLATION = {
  BASE: (
    'distill',
    [
      '--config.distill.loss.name=losses.nll',
      '--config.distill.on_policy_fraction=0.0',
      '--config.distill.optimizer.learning_rate=2e-3',  # better for it than 1e-3 and 3e-3
    ],
  ),
  'distill': ('distill', []),
  **{name: (f'presets/{name}', []) for name in
     ('gkd', 'opd', 'opd_sampled', 'mini_llm', 'top_k_distillation')},
}  # fmt: skip
DEMONSTRATIONS = 'SFT on right answers'  # of as many tokens: 512 of them each iteration
NO_STUDENTS = (BASE, DEMONSTRATIONS)
ACCURACY, LEAD = 0.9, 0.05  # goals: of preferences and reward models; of students over BASE


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/stages'))
  parser.add_argument('--seeds', default='0,1,2')
  parser.add_argument('--parts', default='preference,reward,distillation')
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args, flags = parser.parse_known_args()
  seeds, parts = [int(s) for s in args.seeds.split(',')], args.parts.split(',')
  devices.keep_compiled_programs()
  rows = []
  if 'preference' in parts:
    rows += preference(args.out, seeds, flags)
  if 'reward' in parts:
    rows += reward(args.out, seeds, flags)
  if 'distillation' in parts:
    rows += distillation(args.out, seeds, flags)
  table = markdown(rows)
  args.out.mkdir(parents=True, exist_ok=True)
  write_csv(args.out / 'results.csv', rows)
  (args.out / 'table.md').write_text(table)
  plot(args.out / 'accuracy.png', rows)
  if args.publish:
    for name in FILES:
      shutil.copyfile(args.out / name, HERE / name)
    readme = HERE / 'README.md'
    before, rest = readme.read_text().split(MARKERS[0])
    readme.write_text(f'{before}{MARKERS[0]}\n{table}{MARKERS[1]}{rest.split(MARKERS[1])[1]}')
  print(table)


# ---------------------------------------------------------------------------------- the runs


def run(out, name, seed, source, flags):
  """The summary of a run in <out>/<name>-s<seed>."""
  workdir = out / f'{name.replace(" ", "_").replace("/", "-")}-s{seed}'
  if (found := read_summary(workdir)) is None:
    print(f'== {workdir}', flush=True)
    settings, _ = overrides.override(config.load(str(config.find(source))), flags)
    found = train(settings, workdir=str(workdir), seed=seed, name=name)
  return found


def start(out, seed, flags, accuracy):
  """The work directory of the SFT policy of a seed: every arm begins with it."""
  name = f'sft-{accuracy}'
  flags = [*SMALL, *flags, '--config.stages=sft', f'--config.sft.stop_accuracy={accuracy}']
  run(out, name, seed, 'quickstart', [*flags, *NO_SAMPLING])
  return out / f'{name}-s{seed}'


def of_preference():
  """Names of the presets whose last stage is the one of preferences."""
  found = []
  for name in sorted(config.listing()):
    if name.startswith('presets/'):
      stages = config.load(str(config.find(name))).stages
      found += [name] if stages[-1] == 'preference' else []
  return found


def preference(out, seeds, flags):
  """Held-out accuracy of every preset of the family."""
  rows = []
  for name in of_preference():
    for seed in seeds:
      begin = start(out, seed, flags, 0.38)
      own = [*SMALL, f'--config.model.path={begin}', '--config.stages=preference']
      found = run(out, name, seed, name, [*own, *NO_SAMPLING, *flags])
      rows.append(row('preference', name.removeprefix('presets/'), seed, found, 'accuracy'))
  return rows


def reward(out, seeds, flags):
  """Held-out accuracy of reward models."""
  rows = []
  for name in REWARD_MODELS:
    for seed in seeds:
      begin = start(out, seed, flags, 0.38)
      own = [*SMALL, f'--config.model.path={begin}', f'--config.stages={name}']
      found = run(out, name, seed, name, [*own, *flags])
      rows.append(row('reward', name, seed, found, 'accuracy'))
  return rows


def distillation(out, seeds, flags):
  """Held-out pass@1 of students of one teacher, and of students of as many right answers."""
  rows = []
  evaluation = ['--config.evaluation.samples=16', '--config.evaluation.ks=1']
  for seed in seeds:
    run(out, 'teacher', seed, 'quickstart', [*flags, *evaluation])
    begin = start(out, seed, flags, 0.2)
    own = [f'--config.model.path={begin}', *evaluation, *flags]
    teacher = f'--config.distill.teacher.path={out / f"teacher-s{seed}"}'
    for name, (source, more) in DISTILLATION.items():
      found = run(out, name, seed, source, [*own, teacher, '--config.stages=distill', *more])
      rows.append(row('distillation', name, seed, found, 'pass@1'))
    iterations = found['config']['distill']['iterations']
    sizes = ('prompts=512', 'stop_accuracy=0.0', f'iterations={iterations}')
    more = ['--config.stages=sft', *(f'--config.sft.{size}' for size in sizes), *SMALL]
    found = run(out, DEMONSTRATIONS, seed, 'quickstart', [*own, *more])
    rows.append(row('distillation', DEMONSTRATIONS, seed, found, 'pass@1'))
  return rows


def row(part, name, seed, summary, what):
  """One line of results.csv."""
  return {
    'part': part,
    'arm': name,
    'seed': seed,
    'start': summary['start'].get(what),
    'end': summary['end'].get(what),
    'pass@1 start': summary['start'].get('pass@1'),
    'pass@1 end': summary['end'].get('pass@1'),
    'seconds': round(summary['seconds'], 1),
  }


# ---------------------------------------------------------------------------------- the tables


def write_csv(path, rows):
  with path.open('w', newline='') as file:
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)


def arms(rows, part):
  """arm -> rows of its seeds."""
  found = {}
  for r in rows:
    if r['part'] == part:
      found.setdefault(r['arm'], []).append(r)
  return found


def percent(values, sign=''):
  return ' / '.join(f'{100 * v:{sign}.1f}' for v in values)


def goal_cell(values, goal):
  """Whether every seed reaches the goal; how many do not."""
  below = sum(v < goal for v in values)
  return f'**missed**: {below} of {len(values)} seeds below' if below else 'reached'


def over_base(rows):
  """Student -> pass@1 over that of SFT on samples of the teacher, of each seed."""
  group = arms(rows, 'distillation')
  ends = {name: {r['seed']: r['end'] for r in found} for name, found in group.items()}
  base = ends.get(BASE, {})
  return {name: [x - base[seed] for seed, x in own.items()] for name, own in ends.items()}


def accuracies(rows):
  """Loss or model -> held-out accuracy of each seed."""
  group = {**arms(rows, 'preference'), **arms(rows, 'reward')}
  return {name: [r['end'] for r in found] for name, found in group.items()}


def markdown(rows):
  """The tables of all parts, and a line on what has missed its goal."""
  lines, missed = [], []
  for part, title in (('preference', 'loss'), ('reward', 'model')):
    if group := accuracies([r for r in rows if r['part'] == part]):
      goal = f'goal: {100 * ACCURACY:.0f} % on all seeds'
      lines.append(f'| {title} | held-out accuracy, % (each seed) | mean | {goal} |')
      lines.append('|---|---|---|---|')
      for name, ends in group.items():
        mean = f'{100 * statistics.fmean(ends):.1f}'
        lines.append(f'| {name} | {percent(ends)} | {mean} | {goal_cell(ends, ACCURACY)} |')
        missed += [f'{name} ({percent(ends)})'] if min(ends) < ACCURACY else []
      lines.append('')
  if group := arms(rows, 'distillation'):
    lines.append(
      '| student | pass@1, % (each seed) | gain | over SFT on samples of the teacher, points '
      f'| goal: {100 * LEAD:.0f} points on all seeds |'
    )
    lines.append('|---|---|---|---|---|')
    for name, over in over_base(rows).items():
      ends = percent(r['end'] for r in group[name])
      gain = statistics.fmean(100 * (r['end'] - r['start']) for r in group[name])
      told = '' if name in NO_STUDENTS else goal_cell(over, LEAD)
      lines.append(f'| {name} | {ends} | {gain:+.1f} | {percent(over, "+")} | {told} |')
      missed += [f'{name} ({percent(over, "+")})'] if 'missed' in told else []
    lines.append('')
  lines += [f'Goals missed: {", ".join(missed)}.' if missed else 'No goal is missed.', '']
  return '\n'.join([*lines, '![accuracy](accuracy.png)', ''])


def plot(path, rows):
  """Held-out accuracy of each loss, what students have over SFT: seeds as dots, their mean."""
  from matplotlib.figure import Figure

  students = {n: x for n, x in over_base(rows).items() if n != BASE}
  panels = [(accuracies(rows), ACCURACY, 0.5, 'held-out accuracy, %')]
  panels += [(students, LEAD, 0.0, f'pass@1 over {BASE}, points')]
  panels = [panel for panel in panels if panel[0]]
  height = 1 + 0.2 * max(len(values) for values, *_ in panels)
  fig = Figure(figsize=(6 * len(panels), max(height, 2.4)), layout='constrained')
  for axis, panel in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels):
    draw(axis, *panel)
  fig.savefig(path, dpi=110)


def draw(axis, values, goal, chance, label):
  """A line an arm, the best above; hollow where a seed misses the goal."""
  order = sorted(values, key=lambda name: statistics.fmean(values[name]))
  axis.axvline(100 * chance, color='#8a8f98', lw=0.8)
  axis.axvline(100 * goal, color='#d9772b', lw=0.8, ls='--')
  for y, name in enumerate(order):
    reached = min(values[name]) >= goal
    color = '#8a8f98' if name in NO_STUDENTS else '#2a6fbb' if reached else '#d9772b'
    axis.plot([100 * v for v in values[name]], [y] * len(values[name]), 'o', ms=3.4, mew=0,
              color=color)  # fmt: skip
    axis.plot(100 * statistics.fmean(values[name]), y, 'D', ms=6, mew=1.2, mec=color,
              mfc=color if reached else 'white', zorder=1)  # fmt: skip
  axis.set_yticks(range(len(order)), order, fontsize=8)
  axis.set(ylim=(-0.7, len(order) - 0.3))
  axis.set_xlabel(f'{label}\ndots: seeds · dashed: the goal · hollow: a seed misses it', fontsize=8)
  axis.spines[['top', 'right']].set_visible(False)
  axis.grid(color='#e6e8ec')
  axis.set_axisbelow(True)


if __name__ == '__main__':
  main()
