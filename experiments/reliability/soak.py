"""A small run of more than an hour that is watched: memory, buffers, files, processes, programs.

  python experiments/reliability/soak.py --out=runs/soak --publish

It takes little of the processor: its reward waits, as for a judge's answer, in worker processes.
A run that was stopped begins anew. soak.csv, soak.png and table.md are written to
<out>; --publish also puts them beside this file and the table into its README. Ends with exit code
1 if anything grows.
"""

import argparse
import csv
import pathlib
import shutil
import sys

import numpy as np
from publishing import publish
from watched import FIELDS

MARKERS = ('<!-- soak: written by soak.py -->', '<!-- end of soak -->')
SLOPE = 1.0  # MiB per 100 iterations: more is a leak
WARM_UP = 0.1  # of the iterations: programs, pools and caches fill
COUNTS = ('live_arrays', 'files', 'children', 'threads', 'programs')
ROWS = dict(rows=8, row_length=16)


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/soak'))
  parser.add_argument('--iterations', type=int, default=2250, help='of the stage rl')
  parser.add_argument('--seconds', type=float, default=0.2, help='that the reward waits, a sample')
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args()

  from rljax import devices
  from rljax.train import train

  devices.keep_compiled_programs()
  settings = config(args.iterations, args.seconds)
  train(settings, workdir=str(args.out / 'run'), name='soak', restart=True)
  rows = read(args.out / 'run' / 'watched.csv')
  found, is_flat = judge(rows)
  (args.out / 'table.md').write_text(found)
  shutil.copyfile(args.out / 'run' / 'watched.csv', args.out / 'soak.csv')
  plot(args.out / 'soak.png', rows)
  print(found)
  if args.publish:
    publish(args.out, ('soak.csv', 'soak.png'), found, MARKERS)
  return 0 if is_flat else 1


def config(iterations, seconds):
  """SFT, then RL with a reference, minibatches, evaluations, checkpoints and all local writers."""
  import rljax

  small = rljax.load_config('default')
  small.task = dict(
    name='tasks.reverse_text', letters='abcd', min_length=2, max_length=4, num_train=256,
    num_test=64, test_fraction=0.4,
  )  # fmt: skip
  small.tokenizer = dict(name='tokenization.characters', alphabet='abcd>')
  small.model.update(num_layers=2, d_model=32, num_heads=2, num_kv_heads=1, d_ff=64)
  small.rewards.update(reward=dict(name='watched.judged', seconds=seconds), workers=2)
  small.evaluation.update(num_prompts=16, samples=4, ks=(1, 2, 4), batch=64, every=100)
  small.writers = ('console', 'jsonl', 'tensorboard', 'watched.Watcher')
  small.health_check = False
  small.sft.update(iterations=50, prompts=16, max_length=10, **ROWS)
  small.rl.update(
    iterations=iterations, prompts=4, samples=4, max_prompt=5, max_new_tokens=5, minibatches=2,
    kl_coef=0.01, reference_every=50, optimizer=dict(name='optimizers.adamw', learning_rate=1e-3),
    **ROWS,
  )  # fmt: skip
  return small


def read(path):
  """Field -> its column."""
  with open(path, newline='') as file:
    lines = list(csv.DictReader(file))
  return {field: np.array([float(line[field]) for line in lines]) for field in FIELDS}


def judge(rows):
  """The table, and whether nothing grows."""
  warm = rows['row'] >= rows['row'][0] + WARM_UP * np.ptp(rows['row'])
  kept = {field: column[warm] for field, column in rows.items()}
  quarter = len(kept['row']) // 4
  per_hundred = {
    field: 100 * np.polyfit(kept['row'], kept[field], 1)[0] for field in ('rss_mib', 'children_mib')
  }
  hours = np.ptp(rows['seconds']) / 3600
  lines = [
    f'{len(rows["row"])} lines of metrics in {hours:.2f} h; the first {WARM_UP:.0%} are warm-up.',
    '',
    '| what | first quarter | last quarter | verdict |',
    '|---|---|---|---|',
  ]
  is_flat = True
  names = {'rss_mib': 'RSS of the run (MiB)', 'children_mib': 'RSS of the reward workers (MiB)'}
  for field, slope in per_hundred.items():
    first, last = kept[field][:quarter], kept[field][-quarter:]
    fine = slope < SLOPE
    is_flat &= fine
    verdict = f'{slope:+.3f} MiB per 100 iterations, {"flat" if fine else "GROWS"}'
    lines.append(f'| {names[field]} | {first.mean():.1f} | {last.mean():.1f} | {verdict} |')
  names = {
    'live_arrays': 'live device buffers', 'files': 'open file handles', 'children': 'processes',
    'threads': 'threads of Python', 'programs': 'programs compiled so far',
  }  # fmt: skip
  for field in COUNTS:
    first, last = np.median(kept[field][:quarter]), np.median(kept[field][-quarter:])
    fine = first == last
    is_flat &= fine
    verdict = 'equal' if fine else 'DIFFERS'
    lines.append(f'| {names[field]} (median) | {first:.0f} | {last:.0f} | {verdict} |')
  first, last = (kept['live_mib'][part].mean() for part in (slice(quarter), slice(-quarter, None)))
  lines.append(f'| bytes of live device buffers (MiB) | {first:.3f} | {last:.3f} | |')
  return '\n'.join(lines) + '\n', is_flat


def plot(path, rows):
  import matplotlib

  matplotlib.use('agg')
  from matplotlib import pyplot

  panels = (('rss_mib', 'children_mib'), ('live_arrays',), ('files', 'children'), ('programs',))
  figure, axes = pyplot.subplots(len(panels), 1, figsize=(7, 8), sharex=True)
  for axis, fields in zip(axes, panels):
    for field in fields:
      axis.plot(rows['row'], rows[field], label=field, linewidth=0.8)
    axis.set_ylim(bottom=0)
    axis.legend(loc='lower right')
  axes[-1].set_xlabel('iteration of the run')
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  pyplot.close(figure)


if __name__ == '__main__':
  sys.exit(main())
