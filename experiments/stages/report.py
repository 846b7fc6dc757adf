"""Tables and the plot of the stages."""

import csv
import pathlib
import statistics

HERE = pathlib.Path(__file__).resolve().parent
BASE = 'SFT on samples of the teacher'
DEMONSTRATIONS = 'SFT on right answers'  # of as many tokens: 512 of them each iteration
NO_STUDENTS = (BASE, DEMONSTRATIONS)
ACCURACY, LEAD = 0.9, 0.05  # goals: of preferences and reward models; of students over BASE

def with_published(rows):
  """The rows, and those of other arms that stand in this folder."""
  with (HERE / 'results.csv').open(newline='') as file:
    old = [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(file)]
  ran = {(row['part'], row['arm'], row['seed']) for row in rows}
  rows = rows + [row for row in old if (row['part'], row['arm'], row['seed']) not in ran]
  parts = ('preference', 'reward', 'distillation')
  names = list(dict.fromkeys(row['arm'] for row in [*old, *rows]))

  def place(row):
    by_name = row['part'] == 'preference'  # the others stand as they were run
    order = 0 if by_name else names.index(row['arm'])
    return parts.index(row['part']), order, row['arm'], row['seed']

  return sorted(rows, key=place)


def _number(text):
  try:
    return float(text) if '.' in text or 'e' in text else int(text)
  except ValueError:
    return text or None


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
