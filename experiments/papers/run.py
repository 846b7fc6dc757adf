"""The measured effect of the methods of configs/papers: each against its baseline, by the suite.

  python experiments/papers/run.py --out=runs/papers [--keys=ace,nsr] [--publish]

experiments/papers/claims.py says what is measured on which unit. Runs of a baseline serve all
methods that are compared with it; the same command again passes over what is done. --publish
writes <key>/ beside this file (table, results, curves), the README's table, and
configs/papers/effects.csv, from which `rljax methods` takes its column.
"""

import argparse
import csv
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from comparison import arms, effects, report, runs
from comparison.arms import A_A, Arm
from papers.claims import CLAIMS
from suite import gradients, units
from suite import run as suite

from rljax import devices, methods

HERE = pathlib.Path(__file__).resolve().parent
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
TREE = 'tree'  # level 0: gradients, no training
EFFECTS = HERE.parent.parent / 'configs' / 'papers' / 'effects.csv'


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/papers'))
  parser.add_argument('--seeds', type=suite.numbers, default=[0, 1, 2, 3, 4])
  parser.add_argument('--keys', default='', help='some of them; default: all')
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args()
  known = {claim.key: claim for claim in CLAIMS}
  if missing := set(filter(None, args.keys.split(','))) - set(known):
    sys.exit(f'papers: no claim for {", ".join(sorted(missing))}; there are {", ".join(known)}')
  devices.keep_compiled_programs()
  args.out.mkdir(parents=True, exist_ok=True)
  rows, failed = [], {}
  for key in args.keys.split(',') if args.keys else known:
    try:
      rows.append((known[key], measure(known[key], args.seeds, args.out)))
    except Exception as error:  # the others are measured all the same
      failed[key] = f'{type(error).__name__}: {error}'
    print(f'{key}: {failed.get(key) or said(*rows[-1])}', flush=True)
  if args.publish:
    publish(rows)
  if failed:
    sys.exit(f'papers: not measured: {", ".join(failed)}')


def measure(claim, seeds, out):
  """The comparison of a method with its baseline."""
  theirs, ours = arms_of(claim)
  again = Arm(A_A, theirs.settings, other_noise=True)
  if claim.task == TREE:
    found = gradients.run([theirs, again, ours], seeds, out)
    return gradients.Gradients(found, claim.primary, claims={ours.name: claim.way})
  found = runs.run([theirs, again, ours], seeds, out)
  return report.Comparison(
    found, claim.primary, claims={ours.name: claim.way}, about_reward=claim.about_reward
  )


def arms_of(claim):
  """(baseline, method) on the unit of a claim."""
  if claim.task == TREE:
    baseline, _, ours = arms.make_arms([f'papers/{claim.key}'], baseline_of(claim), [], {})
    return baseline, ours
  unit, evaluation = (claim.task, claim.regime), suite.evaluation_of()
  return (
    units.make_arm(baseline_of(claim), unit, evaluation, edit=claim.edit_baseline),
    units.make_arm(f'papers/{claim.key}', unit, evaluation, edit=claim.edit),
  )


def baseline_of(claim):
  return claim.baseline or methods.find(claim.key).baseline


def said(claim, comparison):
  """The effect in one line, and which gates it missed."""
  name, arm = comparison.primary, claim.key
  fraction = comparison.quantities[name][1]
  effect = comparison.effect(arm, name)
  ends = (effect.mean, effect.low, effect.high)
  mean, low, high = (report.number(x, fraction, '+') for x in ends)
  noise = report.number(comparison.noise(name), fraction)
  unit = f'{claim.task} {claim.regime}'.strip()
  text = (
    f'{name} {mean} [{low}, {high}] on {unit}, {len(effect.each)} seeds, A/A {noise}: '
    f'{comparison.verdict(arm, name)}'
  )
  more = more_samples(comparison, arm)
  if more and not name.startswith('auc'):  # areas end at equal samples
    text += f', from {more:.2f} × the samples'
  outside = gates_missed(comparison, arm)
  return f'{text} (outside the gates: {"; ".join(outside)})' if outside else text


def more_samples(comparison, arm):
  """Samples of the method in those of the baseline, where they are not as many; else None."""
  ours, theirs = (
    sum(r['samples'][-1] for r in comparison.found[name] if 'samples' in r)
    for name in (arm, comparison.baseline)
  )
  return ours / theirs if ours != theirs else None


def gates_missed(comparison, arm):
  """Gates of the suite that some seeds do not pass."""
  return [
    f'{gate} {count[0]}/{count[1]}'
    for gate, count in comparison.gates(arm).items()
    if count and len({*count}) > 1
  ]


def publish(rows):
  """A folder for each method, the table of all, and the column of `rljax methods`."""
  table = report.head('method', 'claim', 'effect')
  lines = read_effects()
  for claim, comparison in rows:
    folder = HERE / claim.key
    folder.mkdir(exist_ok=True)
    text = (gradients if claim.task == TREE else suite).write(comparison, folder)
    (folder / 'table.md').write_text(f'{heading(claim, comparison)}\n\n{text}')
    lines[claim.key] = said(claim, comparison)
  with EFFECTS.open('w', newline='') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(('key', 'effect'))
    writer.writerows(sorted(lines.items()))
  for claim in CLAIMS:
    if claim.key in lines:
      link = f'[{claim.key}]({claim.key}/table.md)'
      table.append(report.line(link, claim.text, lines[claim.key]))
  readme = HERE / 'README.md'
  before, rest = readme.read_text().split(MARKERS[0])
  text = '\n'.join(table)
  readme.write_text(f'{before}{MARKERS[0]}\n\n{text}\n\n{MARKERS[1]}{rest.split(MARKERS[1])[1]}')


def read_effects():
  if not EFFECTS.exists():
    return {}
  with EFFECTS.open(newline='') as file:
    return {row['key']: row['effect'] for row in csv.DictReader(file)}


def heading(claim, comparison):
  effect = comparison.effect(claim.key, comparison.primary)
  fraction = comparison.quantities[comparison.primary][1]
  least = effects.detectable(effect, comparison.noise(comparison.primary))
  return (
    f'# {claim.key}\n\nClaim: {claim.text}\n\nBaseline `{baseline_of(claim)}`, '
    f'{said(claim, comparison)}; smallest detectable {report.number(least, fraction)}.'
  )


if __name__ == '__main__':
  main()
