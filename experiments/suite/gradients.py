"""A comparison at level 0 over seeds: a seed draws a tree with its checkpoints, and the samples."""

import functools

import numpy as np
from comparison import effects, report
from comparison.arms import OTHER_NOISE
from matplotlib.figure import Figure

from rljax import files
from suite import level0, tree

RESULTS = 'level0.jsonl'
LANES, STEPS = 256, 4
RLOO = 'RLOO'  # what variances are relative to


class Gradients(report.Comparison):
  """As of runs; the quantities are those of `level0.BETTER`, and there are no gates.

  Args:
    found: {arm: [record of each seed]}, the baseline first; `arms.A_A` and `RLOO` are among them.
    primary: of `level0.BETTER`.
    claims: {arm: +1 or −1}.
  """

  def __init__(self, found, primary, *, claims):
    self.found = level0.relative(found, found[RLOO])
    self.baseline, self.primary, self.claims = next(iter(found)), primary, claims
    self.quantities = {
      name: (lambda record, name=name: record[name], name == 'zero groups')
      for name in level0.BETTER
    }

  def verdict(self, arm, name):
    if level0.same_gradients(self.found[arm], self.found[self.baseline]):
      return 'not exercised'
    return effects.verdict(
      self.effect(arm, name), self.noise(name), claim=self.claims.get(arm, 1)
    )

  def gates(self, arm):
    return {}  # nothing is trained


def run(arms, seeds, out):
  """{name of the arm: [record of each seed]} and those of RLOO; what is done is passed over."""
  path, found = out / RESULTS, {}
  for record in files.read_jsonl(path) if path.exists() else ():
    found[record['arm'], record['digest'], record['seed']] = record
  todo = [(arm.name, arm.digest, arm.settings[arm.stage], arm.other_noise) for arm in arms]
  todo.append((RLOO, '', level0.RLOO, False))
  world = functools.cache(lambda seed: tree.make_tree(seed=seed))
  for name, digest, node, other_noise in todo:
    missing = [seed for seed in seeds if (name, digest, seed) not in found]
    made = missing and level0.make_gradients(
      node, world(missing[0]).prompts, lanes=LANES, steps=STEPS
    )
    for seed in missing:
      draws = seed ^ OTHER_NOISE if other_noise else seed
      (told,) = level0.records(name, node, world(seed), batches=1, seed=draws, made=made)
      record = {**told, 'seed': seed, 'digest': digest}
      files.append_text(path, files.json_lines([record]))
      found[name, digest, seed] = record
      print(f'{name} s{seed}: level 0', flush=True)
  return {name: [found[name, digest, seed] for seed in seeds] for name, digest, *_ in todo}


def write(comparison, out):
  """table.md, results.csv and curves.png; the table as text."""
  text = level0.table(
    comparison.found, comparison.baseline, samples=8, iterations=LANES * STEPS, drawn='trees'
  )
  text += '\n![quantities of each seed](curves.png)\n'
  (out / 'table.md').write_text(text)
  rows = [
    {'arm': arm, 'seed': r['seed'], **{name: r[name] for name in (*level0.BETTER, 'scale')}}
    for arm, records in comparison.found.items()
    for r in records
  ]
  report.write_rows(out / 'results.csv', rows)
  plot(out / 'curves.png', comparison)
  return text


def plot(path, comparison):
  """Each quantity of each arm: its seeds and their mean."""
  figure = Figure(figsize=(11, 3), layout='constrained')
  names = list(comparison.found)
  for axes, metric in zip(figure.subplots(1, len(level0.BETTER)), level0.BETTER):
    for place, arm in enumerate(names):
      values = comparison.values(arm, metric)
      axes.plot([place] * len(values), values, 'o', ms=3, color='#2a6fbb', alpha=0.6)
      axes.plot([place], [np.mean(values)], '_', ms=14, color='#4a4f57')
    axes.set_title(metric, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=30, ha='right', fontsize=7)
    axes.tick_params(axis='y', labelsize=7)
  figure.savefig(path, dpi=100)
