"""Every preset of RL against its baseline, at small size: runs, tables, a plot.

  python experiments/presets/run.py --out=runs/presets --publish

A preset is compared with plain GRPO in its own regime: four steps a rollout (`quickstart`), one
(`grpo_on_policy`), sixteen (`grpo_off_policy`), or with a critic or a single sample of each prompt
(`ppo`). Each group is one call of experiments/compare.py in <out>/<group>; the same command again
passes over what is done. --publish puts tables and plots beside this file.
"""

import argparse
import csv
import pathlib
import shutil
import subprocess
import sys

from rljax import config

HERE = pathlib.Path(__file__).resolve().parent
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
SIZE = [
  *('--config.model.d_model=64', '--config.model.num_heads=2', '--config.model.num_kv_heads=2'),
  *('--config.model.d_ff=160', '--config.rl.iterations=40', '--config.rl.rows=32'),
]
BASELINES = {
  'four_steps': 'quickstart',
  'on_policy': 'presets/grpo_on_policy',
  'off_policy': 'presets/grpo_off_policy',
  'critic': 'presets/ppo',
}
# They compare the trainer with a sampler that is another program or an older policy. Here a rollout
# is drawn by the very policy with which its update begins, so all their weights are 1.
NOT_EXERCISED = {
  *('tis', 'icepop', 'mis', 'sequence_tis', 'geometric_mask', 'divergence_rejection', 'bypass'),
  *('decoupled_ppo', 'm2po', 'opsm', 'trust_region_mask'),
}
TITLES = {
  'four_steps': 'Four steps on each rollout',
  'on_policy': 'Strictly on-policy',
  'off_policy': 'Sixteen steps on each rollout',
  'critic': 'A critic, or one sample of each prompt',
}


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/presets'))
  parser.add_argument('--seeds', default='0,1,2,3,4')
  parser.add_argument('--groups', default=','.join(BASELINES))
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args()
  found = groups()
  for group in args.groups.split(','):
    compare(group, found[group], args.out / group, args.seeds)
  if args.publish:
    publish(args.out, args.groups.split(','))


def groups():
  """Group -> presets of RL in it, its baseline left out."""
  found = {name: [] for name in BASELINES}
  for name in sorted(config.listing()):
    if name.startswith('presets/') and name.removeprefix('presets/') not in NOT_EXERCISED:
      settings = config.resolve(config.load(str(config.find(name))))
      group = group_of(settings) if settings.stages[-1] == 'rl' else None
      if group and name != BASELINES[group]:
        found[group].append(name)
  return found


def group_of(settings):
  rl = settings.rl
  if rl.value or rl.samples == 1:
    return 'critic'
  return {1: 'on_policy', 4: 'four_steps', 16: 'off_policy'}[rl.epochs * rl.minibatches]


def compare(group, arms, out, seeds):
  """One comparison; 256 samples an iteration."""
  prompts = 256 if group == 'critic' else 16
  sizes = [*SIZE, f'--config.rl.prompts={prompts}']
  command = [sys.executable, str(HERE.parent / 'compare.py'), *arms]
  command += [f'--baseline={BASELINES[group]}', f'--seeds={seeds}', f'--out={out}']
  subprocess.run([*command, '--prompts=128', '--samples=16', *sizes], check=True)


def publish(out, names):
  """The tables into the README, plots and results beside it."""
  parts, rows = [], []
  for group in names:
    shutil.copyfile(out / group / 'curves.png', HERE / f'{group}.png')
    table = (out / group / 'table.md').read_text().replace('curves.png', f'{group}.png')
    parts.append(f'## {TITLES[group]}\n\n{table.strip()}\n')
    with (out / group / 'results.csv').open(newline='') as file:
      rows += [{'group': group, **row} for row in csv.DictReader(file)]
  columns = list(dict.fromkeys(name for row in rows for name in row))
  with (HERE / 'results.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, fieldnames=columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
  readme = HERE / 'README.md'
  before, rest = readme.read_text().split(MARKERS[0])
  text = '\n'.join(parts)
  readme.write_text(f'{before}{MARKERS[0]}\n\n{text}\n{MARKERS[1]}{rest.split(MARKERS[1])[1]}')


if __name__ == '__main__':
  main()
