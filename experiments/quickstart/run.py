"""The quick start and its controls over several seeds: runs, tables, plots.

  python experiments/quickstart/run.py --out=runs/quickstart-seeds --publish

Each run is an `rljax train` in <out>/<arm>-s<seed>; the same command again continues what was
stopped and passes over what is finished. results.csv, table.md and two plots are written to <out>;
--publish also puts them beside this file and the table into its README. Flags that begin with
--config. go to every run.
"""

import argparse
import csv
import itertools
import pathlib
import shutil
import statistics
import subprocess
import sys

from rljax.metrics import read_metrics, read_summary

HERE = pathlib.Path(__file__).resolve().parent
ARMS = {
  'quickstart': ['--config=quickstart'],
  'random': ['--config=quickstart', '--config.rewards.reward=rewards.random_reward'],
  'lr0': ['--config=quickstart', '--config.rl.optimizer.learning_rate=0'],
  'sft': [f'--config={HERE / "config.py"}'],
  'ppo': ['--config=ppo'],
}
TITLES = dict(
  zip(ARMS, ('quickstart', 'random rewards', 'learning rate 0', "SFT for RL's time", 'ppo'))
)
COLORS = dict(zip(ARMS, ('#2a6fbb', '#8a8f98', '#b8bcc4', '#3c9a5f', '#d9772b')))
PROBES = (20, 220)  # iterations; the difference of their times has no start-up and no compilation
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
FILES = ('results.csv', 'pass_at_k.png', 'training.png')


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/quickstart-seeds'))
  parser.add_argument('--seeds', default='0,1,2')
  parser.add_argument('--arms', default=','.join(ARMS), help='in the order in which they run')
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args, overrides = parser.parse_known_args()
  seeds, arms = [int(s) for s in args.seeds.split(',')], args.arms.split(',')
  if unknown := [a for a in arms if a not in ARMS]:
    parser.error(f'{unknown[0]!r} is none of the arms {", ".join(ARMS)}')
  if unknown := [o for o in overrides if not o.startswith(('--config.', '--noconfig.'))]:
    parser.error(f'unknown argument {unknown[0]!r}')

  for arm, seed in itertools.product(arms, seeds):
    flags = [*ARMS[arm], *overrides]
    if arm == 'sft':
      flags.append(f'--config.more.iterations={fitting(args.out, seed, overrides)}')
    train(args.out, f'{arm}-s{seed}', seed, flags)

  found = results(args.out, arms, seeds)
  write_csv(args.out / 'results.csv', found)
  table = markdown(found)
  (args.out / 'table.md').write_text(table)
  plot_pass_at_k(args.out / 'pass_at_k.png', found)
  plot_training(args.out / 'training.png', args.out, found)
  if args.publish:
    publish(args.out, table)
  print(table)


# ---------------------------------------------------------------------------------- the runs


def train(out, name, seed, flags):
  """One run in <out>/<name>; its output goes to <out>/<name>.log."""
  workdir, log = out / name, out / f'{name}.log'
  command = [sys.executable, '-m', 'rljax', 'train', *flags]
  print(f'{name}: {log}', flush=True)
  out.mkdir(parents=True, exist_ok=True)
  with log.open('a') as file:
    status = subprocess.run(
      [*command, f'--seed={seed}', f'--workdir={workdir}'],
      stdin=subprocess.DEVNULL,
      stdout=file,
      stderr=subprocess.STDOUT,
    ).returncode
  if status:
    sys.exit(f'{name} failed ({status}):\n' + '\n'.join(log.read_text().splitlines()[-5:]))


def fitting(out, seed, overrides):
  """Iterations of SFT that take as long as the RL of the same seed."""
  rl = [r for r in read_metrics(out / f'quickstart-s{seed}') if r['stage'] == 'rl']
  if not rl:
    sys.exit(f'the arm sft needs quickstart-s{seed} first: its time is what it has')
  available = sum(row.get('time/iteration', 0) for row in rl)  # seconds, compilation included
  taken = []
  for iterations in PROBES:
    name = f'probe-{iterations}'
    probe = ["--config.stages=('more',)", f'--config.more.iterations={iterations}']
    few = '--config.evaluation.num_prompts=8'
    train(out, name, 0, [*ARMS['sft'], *overrides, *probe, few])
    summary = read_summary(out / name)
    taken.append(summary['seconds'] - summary['compile_seconds'])
  return max(1, round(available * (PROBES[1] - PROBES[0]) / max(taken[1] - taken[0], 1e-3)))


# -------------------------------------------------------------------------------- the results


def results(out, arms, seeds):
  """{arm: [summary of each seed]}."""
  return {arm: [read_summary(out / f'{arm}-s{seed}') for seed in seeds] for arm in arms}


def sizes(found):
  """The k of pass@k, as they stand in a summary."""
  return list(next(iter(found.values()))[0]['end']['pass@k'])


def write_csv(path, found):
  cost = ('seconds', 'compile_seconds', 'peak_mib', 'tokens')
  rows = []
  for arm, summaries in found.items():
    for s in summaries:
      row = {'arm': arm, 'seed': s['seed']}
      for when in ('start', 'end'):
        values = {**s[when], **{f'pass@{k}': v for k, v in s[when]['pass@k'].items()}}
        del values['pass@k']
        row |= {f'{when} {name}': value for name, value in values.items()}
      last = s['config']['stages'][-1]
      rows.append({**row, 'iterations': s['config'][last]['iterations'], **{c: s[c] for c in cost}})
  with path.open('w', newline='') as file:
    writer = csv.DictWriter(file, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)


def mean(summaries, when, name, k=None):
  """Over seeds, in per cent."""
  return 100 * statistics.fmean(s[when][name] if k is None else s[when][name][k] for s in summaries)


def change(summaries, name):
  """'36.8 → 64.0' over seeds, the gain in points, and the gain of each seed."""
  start, end = (mean(summaries, when, name) for when in ('start', 'end'))
  each = ', '.join(f'{100 * (s["end"][name] - s["start"][name]):+.1f}' for s in summaries)
  return f'{start:.1f} → {end:.1f} | **{end - start:+.1f}** ({each})'


def crossing(summaries):
  """Where the end policy falls behind the start policy, in words."""
  ks = list(summaries[0]['end']['pass@k'])
  for k in ks:
    if mean(summaries, 'end', 'pass@k', k) < mean(summaries, 'start', 'pass@k', k):
      return f'falls behind its start from k = {k} on'
  return f'is nowhere below its start up to k = {ks[-1]}'


def markdown(found):
  """Both tables: gains with each seed's, and pass@k."""
  seeds = ', '.join(str(s['seed']) for s in next(iter(found.values())))
  lines = [
    '| run | pass@1, % | gain (each seed) | greedy, % | gain (each seed) | well-formed, % '
    '| minutes | peak, GiB |',
    '|---|---|---|---|---|---|---|---|',
  ]
  for arm, group in found.items():
    formed = ' → '.join(f'{mean(group, when, "well_formed"):.1f}' for when in ('start', 'end'))
    minutes = statistics.fmean(s['seconds'] for s in group) / 60
    peak = max(s['peak_mib'] for s in group) / 1024
    lines.append(
      f'| {TITLES[arm]} | {change(group, "pass@1")} | {change(group, "greedy")} | {formed} '
      f'| {minutes:.1f} | {peak:.1f} |'
    )
  ks = sizes(found)
  lines += ['', f'| pass@k, % | {" | ".join(ks)} |', '|---' * (len(ks) + 1) + '|']
  for arm, group in found.items():
    for when in ('start', 'end'):
      row = ' | '.join(f'{mean(group, when, "pass@k", k):.1f}' for k in ks)
      lines.append(f'| {TITLES[arm]}, {when} | {row} |')
  notes = [f'{TITLES[arm]} {crossing(found[arm])}' for arm in ('quickstart', 'ppo') if arm in found]
  lines += ['', f'Means over seeds {seeds}. pass@k: {"; ".join(notes)}.', '']
  return '\n'.join([*lines, '![pass@k](pass_at_k.png)', '![curves](training.png)', ''])


def publish(out, table):
  """Results into this folder, the table between the markers of the README."""
  for name in FILES:
    shutil.copyfile(out / name, HERE / name)
  readme = HERE / 'README.md'
  before, rest = readme.read_text().split(MARKERS[0])
  after = rest.split(MARKERS[1])[1]
  readme.write_text(f'{before}{MARKERS[0]}\n{table}{MARKERS[1]}{after}')


# ---------------------------------------------------------------------------------- the plots


def figure(columns, width):
  from matplotlib.figure import Figure

  fig = Figure(figsize=(width, 3.2), layout='constrained')
  axes = fig.subplots(1, columns, sharey=columns > 2, squeeze=False)[0]
  for axis in axes:
    axis.spines[['top', 'right']].set_visible(False)
    axis.grid(color='#e6e8ec')
  return fig, axes


def plot_pass_at_k(path, found):
  """Start and end of each arm: the mean over seeds, each seed thin."""
  fig, axes = figure(len(found), 2.9 * len(found))
  for axis, (arm, group) in zip(axes, found.items()):
    ks = sizes(found)
    for when, color in (('start', '#8a8f98'), ('end', '#2a6fbb')):
      for s in group:
        axis.plot(ks, [100 * s[when]['pass@k'][k] for k in ks], color=color, lw=0.7, alpha=0.5)
      means = [mean(group, when, 'pass@k', k) for k in ks]
      axis.plot(ks, means, color=color, lw=2, label=when)
    axis.set(title=TITLES[arm], xlabel='k')
  axes[0].set_ylabel('held-out pass@k, %')
  axes[0].legend(frameon=False, loc='lower right')
  fig.savefig(path, dpi=110)


def plot_training(path, out, found):
  """Training reward over the iterations of RL, and held-out pass@1 over the last stage."""
  fig, (left, right) = figure(2, 9)
  for arm, group in found.items():
    runs = [read_metrics(out / f'{arm}-s{s["seed"]}') for s in group]
    last = group[0]['config']['stages'][-1]
    rewards = zip(*[[r['reward/mean'] for r in run if 'reward/mean' in r] for run in runs])
    means = [statistics.fmean(values) for values in rewards]
    window = max(1, len(means) // 20)
    smooth = [statistics.fmean(means[max(0, i - window + 1) : i + 1]) for i in range(len(means))]
    if arm != 'random':  # its reward says nothing
      left.plot(range(1, len(smooth) + 1), smooth, color=COLORS[arm])
    for run, label in itertools.zip_longest(runs, [TITLES[arm]]):
      points = [(r['iteration'], r[n]) for r in run for n in r if n.endswith('/pass@1')
                if r['stage'] == last]  # fmt: skip
      x = [100 * i / points[-1][0] for i, _ in points]
      right.plot(x, [100 * y for _, y in points], color=COLORS[arm], marker='o', ms=3, label=label)
  left.set(title='training reward, mean over seeds', xlabel='iteration of RL')
  right.set(title='held-out pass@1, %', xlabel='part of the last stage, %')
  right.legend(frameon=False, fontsize=8)
  fig.savefig(path, dpi=110)


if __name__ == '__main__':
  main()
