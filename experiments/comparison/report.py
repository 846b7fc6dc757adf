"""The report of a comparison: table.md, results.csv and curves.png."""

import csv
import math

import numpy as np

from comparison import effects
from comparison.arms import A_A

LAST = 10  # iterations whose mean stands for the end of a curve


def of_curve(name, part=slice(-LAST, None)):
  """The mean of a part of a curve, by default of its last iterations."""
  return lambda r: float(np.mean(r[name][part])) if name in r else None


def held_out_area(record, until):
  """The area under held-out pass@1 over the samples 0 … until, straight between evaluations."""
  points = [(e['samples'], e['pass@1']) for e in record['evaluations'] if 'pass@1' in e]
  if len(points) < 2:
    return None
  x, y = np.array(points, float).T
  inside = x < until
  x, y = np.append(x[inside], until), np.append(y[inside], np.interp(until, x, y))
  return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def quantities(records):
  """Name -> (function of a record, whether it is a fraction), those that the records have."""
  until = min(r['samples'][-1] for r in records)  # arms are compared at equal samples

  def training_area(record):
    has = 'reward' in record
    return effects.area(record['samples'], record['reward'], until) if has else None

  ends = {name: (lambda r, name=name: r['end'].get(name), True) for name in records[0]['end']}
  gone = ('length_mean', 'truncated', 'errors', 'well_formed', 'distinct')
  known = {
    'auc': (training_area, True),
    'auc held-out': (lambda r: held_out_area(r, until), True),
    **{n: x for n, x in ends.items() if n not in gone and not n.startswith('avg@')},
    'held-out length': (lambda r: r['end'].get('length_mean'), False),
    'distinct': (lambda r: r['end'].get('distinct'), False),
    'entropy': (of_curve('entropy'), False),
    'zero variance': (of_curve('zero_variance', slice(None)), True),
  }
  return {
    name: found for name, found in known.items() if all(found[0](r) is not None for r in records)
  }


class Comparison:
  """What the tables say, worked out.

  Attributes:
    found: {arm: [record of each seed]}; the first arm is the baseline.
    quantities: see `quantities`.
    primary: the one that the verdict is about.
    about_reward: whether that is what the baseline is paid.
  """

  def __init__(
    self, found, primary, *, claims=None, mechanisms=None, ceiling=1.0, about_reward=None
  ):
    self.found, self.claims, self.mechanisms = found, claims or {}, mechanisms or {}
    told = about_reward is not None
    self.about_reward = about_reward if told else primary not in effects.NOT_REWARD
    self.baseline, self.ceiling = next(iter(found)), ceiling
    self.quantities = quantities([r for records in found.values() for r in records])
    if primary not in self.quantities:
      raise ValueError(f'--primary={primary}: there are {", ".join(self.quantities)}')
    self.primary = primary

  def values(self, arm, name):
    return [self.quantities[name][0](record) for record in self.found[arm]]

  def effect(self, arm, name):
    return effects.paired(self.values(arm, name), self.values(self.baseline, name))

  def noise(self, name):
    return effects.spread(self.effect(A_A, name))

  def verdict(self, arm, name):
    """The verdict on an arm, and why not where there is none."""
    ours, theirs = self.found[arm], self.found[self.baseline]
    if effects.is_idle(ours, theirs, self.mechanisms.get(arm)):
      return 'not exercised'
    return effects.verdict(
      self.effect(arm, name), self.noise(name), claim=self.claims.get(arm, 1)
    )

  def gates(self, arm):
    """See `effects.gates`."""
    return effects.gates(
      self.found[arm],
      self.found[self.baseline],
      ceiling=self.ceiling,
      about_reward=self.about_reward,
    )

  def others(self):
    return [arm for arm in self.found if arm != self.baseline]


def number(value, fraction, sign=''):
  """A value as text, fractions in percent."""
  if value is None or not math.isfinite(value):
    return '–'
  return format(100 * value, f'{sign}.1f') if fraction else format(value, f'{sign}.3g')


def line(*cells):
  return '| ' + ' | '.join(map(str, cells)) + ' |'


def head(*cells):
  return [line(*cells), '|' + '---|' * len(cells)]


def markdown(comparison):
  """All tables."""
  c, seeds = comparison, [r['seed'] for r in comparison.found[comparison.baseline]]
  text = [
    f'Baseline {c.baseline}; seeds {", ".join(map(str, seeds))}; primary: {c.primary}. '
    'Differences are paired by seed, with 95 % t intervals; fractions in percent.',
    '',
    *primary_table(c),
    '',
    *secondary_table(c),
    '',
    *gates_table(c),
    '',
    *activity_table(c),
    '',
    '![curves](curves.png)',
  ]
  return '\n'.join(text) + '\n'


def primary_table(c):
  """IQM of each arm, the paired difference with each seed's, the verdict."""
  _, fraction = c.quantities[c.primary]
  rows = head(
    'arm', f'{c.primary}, IQM [95 %]', 'difference', 'each seed', 'detectable', 'verdict',
    'samples', 'tokens', 'seconds without compiling',
  )  # fmt: skip
  for arm, records in c.found.items():
    iqm = [number(x, fraction) for x in effects.interquartile_interval([c.values(arm, c.primary)])]
    cells = [arm, f'{iqm[0]} [{iqm[1]}, {iqm[2]}]', '', '', '', '']
    if arm != c.baseline:
      effect = c.effect(arm, c.primary)
      said = [number(x, fraction, '+') for x in (effect.mean, effect.low, effect.high)]
      said[0] = f'**{said[0]}**' if is_bold(c, arm, c.primary) else said[0]
      cells[2] = f'{said[0]} [{said[1]}, {said[2]}]'
      cells[3] = ', '.join(number(x, fraction, '+') for x in effect.each)
    if arm == A_A:
      cells[5] = f'spread {number(c.noise(c.primary), fraction)}'
    elif arm != c.baseline:
      cells[4] = number(effects.detectable(effect, c.noise(c.primary)), fraction)
      cells[5] = c.verdict(arm, c.primary)
    cost = [records[0]['samples'][-1], np.mean([sum(r.get('tokens', [0])) for r in records])]
    cells += [f'{x:,.0f}' for x in cost]
    seconds = np.mean([r['seconds'] - r['compile_seconds'] for r in records])
    rows.append(line(*cells, f'{seconds:.0f}'))
  return rows


def secondary_table(c):
  """Every other quantity: the baseline's mean, and the differences with their intervals."""
  names = [name for name in c.quantities if name != c.primary]
  rows = head('', *[f'{n}, %' if c.quantities[n][1] else n for n in names])
  for when in ('start', 'end'):
    cells = []
    for name in names:
      fraction, ours = c.quantities[name][1], c.found[c.baseline]
      starts = [r['start'].get(name) for r in ours]
      there = when == 'end' or None not in starts
      values = c.values(c.baseline, name) if when == 'end' else starts
      cells.append(number(np.mean(values), fraction) if there else '')
    rows.append(line(f'{c.baseline}, {when}', *cells))
  for arm in c.others():
    cells = []
    for name in names:
      effect, fraction = c.effect(arm, name), c.quantities[name][1]
      text = f'{number(effect.mean, fraction, "+")} ± {number(effect.half_width, fraction)}'
      cells.append(f'**{text}**' if is_bold(c, arm, name) else text)
    rows.append(line(f'{arm} − baseline', *cells))
  return [*rows, '', 'Bold: the interval excludes 0, and the mean is twice the A/A spread or more.']


def is_bold(c, arm, name):
  """Whether an effect stands out of its interval and of the noise."""
  verdict = effects.verdict(c.effect(arm, name), c.noise(name))
  return arm != A_A and verdict in ('holds', 'reversed')


def gates_table(c):
  """Rule 6: how many seeds pass each gate; one line an arm."""
  rows = head('gate', *effects.GATES)
  for arm in c.found:
    counts = c.gates(arm)
    cells = [gate_cell(counts[g]) if g in counts else 'does not apply' for g in effects.GATES]
    rows.append(line(arm, *cells))
  return rows


def gate_cell(count):
  if count is None:
    return 'not measured'
  passed, seeds = count
  return 'passed' if passed == seeds else f'**failed** ({passed}/{seeds} pass)'


def activity_table(c):
  """Rule 7: what the update tells of its mechanisms, means over iterations and seeds."""
  rows = head('activity', 'mean')
  for arm, records in c.found.items():
    activity = [r['activity'] for r in records]
    cells = []
    for name in dict.fromkeys(n for told in activity for n in told):
      values = [told[name] for told in activity if told.get(name) is not None]
      cells += [f'{name} {np.mean(values):.3g}'] if values else []
    rows.append(line(arm, ' · '.join(cells)))
  return rows


def write_csv(path, comparison):
  """One line for each arm and seed."""
  rows = []
  for arm, records in comparison.found.items():
    for i, record in enumerate(records):
      row = {name: record[name] for name in ('arm', 'seed', 'engine', 'seconds')}
      row |= {f'start {name}': value for name, value in record['start'].items()}
      rows.append(row | {name: comparison.values(arm, name)[i] for name in comparison.quantities})
  write_rows(path, rows)


def write_rows(path, rows):
  """Dicts as a CSV file; not all have all keys."""
  with path.open('w', newline='') as file:
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(file, names, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
