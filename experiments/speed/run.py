"""What rljax costs beside other programs that do the same work: one command for all of it.

  python experiments/speed/run.py --suite=cpu --out=runs/speed --publish \
    --torch_python=.venv-torch/bin/python --tunix_python=.venv-tunix/bin/python

Suite cpu compares on two cores, suite gpu on one card. A part can be run alone (--parts=step,…):
its results replace those of the same part in <out>/<suite>/results.json and the others stay.
table.md and plots are written beside it; --publish puts them beside this file and the tables into
its README. Peers whose environment is not given are left out.
"""

import argparse
import importlib
import json
import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from speed import machine, plots, report, shapes
from speed.context import Context

HERE = pathlib.Path(__file__).resolve().parent
SUITES = {
  'cpu': ('generation', 'step', 'long_tail', 'scaling', 'roofline', 'footprint'),
  'gpu': ('decode', 'update', 'four_of_7b'),
}


def main(argv=None):
  args = parse(argv)
  out = args.out / args.suite
  out.mkdir(parents=True, exist_ok=True)
  # Both before jax starts.
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # peers want the card, too
  if args.suite == 'cpu':
    os.environ['JAX_PLATFORMS'] = 'cpu'
  work = shapes.Work(shapes.COMPARISON)
  if args.tiny:
    work = shapes.Work(shapes.TINY, prompt=8, completion=8)
  pythons = {'torch': args.torch_python, 'tunix': args.tunix_python}
  context = Context(work, args.rounds, out, pythons, tiny=args.tiny)
  results = load(out / 'results.json', args.suite)
  for part in args.parts:
    print(f'== {part}', flush=True)
    results['parts'][part] = run_part(args.suite, part, context)
    write(out, results)
  write(out, results)
  print((out / 'table.md').read_text())
  if args.publish:
    publish(out, args.suite)


def parse(argv):
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  add = parser.add_argument
  add('--suite', choices=list(SUITES), default='cpu')
  add('--parts', default='', help='of the suite, with commas between; default all')
  add('--out', type=pathlib.Path, default=pathlib.Path('runs/speed'))
  add('--rounds', type=int, default=5, help='runs of each contestant that count')
  add('--torch_python', default='', help='interpreter of the environment with torch and TRL')
  add('--tunix_python', default='', help='interpreter of the environment with Tunix')
  add('--tiny', action='store_true', help='the smallest shapes: does everything run?')
  add('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args(argv)
  known = SUITES[args.suite]
  args.parts = [p for p in (args.parts.split(',') if args.parts else known) if p]
  if unknown := [p for p in args.parts if p not in known]:
    parser.error(f'{unknown[0]!r} is none of the parts {", ".join(known)}')
  return args


def run_part(suite, part, context):
  """What the part measured, with the machine and the time that it took."""
  started = time.perf_counter()
  if suite == 'gpu':
    measure = getattr(importlib.import_module('speed.gpu'), part)
  else:
    measure = importlib.import_module(f'speed.{part}').measure
  about = machine.describe()  # before: the load of others, not of this part
  found = measure(context)
  taken = time.perf_counter() - started
  return {'machine': about, 'minutes': round(taken / 60, 1), 'rounds': context.rounds, **found}


def load(path, suite):
  if path.exists():
    return json.loads(path.read_text())
  return {'suite': suite, 'parts': {}}


def write(out, results):
  """results.json, table.md, plots."""
  (out / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
  drawn = plots.draw(out, results)
  (out / 'table.md').write_text(report.markdown(results, drawn))


def publish(out, suite):
  """Results into this folder, the tables between the markers of the README."""
  shutil.copyfile(out / 'results.json', HERE / f'{suite}.json')
  for path in out.glob('*.png'):
    shutil.copyfile(path, HERE / path.name)
  begin, end = report.markers(suite)
  readme = HERE / 'README.md'
  before, rest = readme.read_text().split(begin)
  table = (out / 'table.md').read_text()
  readme.write_text(f'{before}{begin}\n{table}{end}{rest.split(end)[1]}')


if __name__ == '__main__':
  main()
