"""Preference losses, reward models and distillation over three seeds: runs, tables, a plot.

  python experiments/stages/run.py --out=runs/stages --publish

Every arm of a seed begins with the same SFT policy. The same command again passes over runs that
are finished; --arms=dpo,ipo runs these and leaves the published results of the others. results.csv,
table.md and a plot are written to <out>; --publish also puts them beside this file and the tables
into its README. Flags that begin with --config. go to every run.
"""

import argparse
import pathlib
import shutil

from report import BASE, DEMONSTRATIONS, markdown, plot, with_published, write_csv

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


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/stages'))
  parser.add_argument('--seeds', default='0,1,2')
  parser.add_argument('--parts', default='preference,reward,distillation')
  parser.add_argument('--arms', default='', help='losses and models to run; default all')
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args, flags = parser.parse_known_args()
  seeds, parts = [int(s) for s in args.seeds.split(',')], args.parts.split(',')
  only = set(args.arms.split(',')) if args.arms else None
  devices.keep_compiled_programs()
  rows = []
  if 'preference' in parts:
    rows += preference(args.out, seeds, flags, only)
  if 'reward' in parts:
    rows += reward(args.out, seeds, flags, only)
  if 'distillation' in parts:
    rows += distillation(args.out, seeds, flags)
  rows = with_published(rows)
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


def is_asked(name, only):
  return only is None or name.removeprefix('presets/') in only


def of_preference(only):
  """Names of the presets whose last stage is the one of preferences."""
  found = []
  for name in sorted(config.listing()):
    if name.startswith('presets/') and is_asked(name, only):
      stages = config.load(str(config.find(name))).stages
      found += [name] if stages[-1] == 'preference' else []
  return found


def preference(out, seeds, flags, only):
  """Held-out accuracy of every preset of the family."""
  rows = []
  for name in of_preference(only):
    for seed in seeds:
      begin = start(out, seed, flags, 0.38)
      own = [*SMALL, f'--config.model.path={begin}', '--config.stages=preference']
      found = run(out, name, seed, name, [*own, *NO_SAMPLING, *flags])
      rows.append(row('preference', name.removeprefix('presets/'), seed, found, 'accuracy'))
  return rows


def reward(out, seeds, flags, only):
  """Held-out accuracy of reward models."""
  rows = []
  for name in (n for n in REWARD_MODELS if is_asked(n, only)):
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

if __name__ == '__main__':
  main()
