"""The figure of a comparison: the curves of a few arms, or the effects of many."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from comparison.arms import A_A

COLORS = ('#4a4f57', '#2a6fbb', '#d9772b', '#3c9a5f', '#8e5bb5', '#c0504d', '#2aa3a2', '#a08a3c')
GRAY = '#b8bcc4'  # of the A/A arm, which is no result
PLAIN = '#6d737c'  # of arms whose curves are not drawn
MANY = 8  # arms (with baseline and A/A) whose curves can still be told apart
SHOWN = 5  # of more, those whose curves are drawn
FAR = 3  # times what nine in ten arms stay below: a larger effect is written, not drawn


def smooth(values, window):
  """The mean of each value and those before it, as many as there are up to `window`."""
  total = np.cumsum(np.concatenate([[0.0], values]))
  index = np.arange(1, len(values) + 1)
  first = np.maximum(index - window, 0)
  return (total[index] - total[first]) / (index - first)


def training(records, name):
  """(samples, [seeds, I]) of a curve, smoothed; None where there is none."""
  if any(name not in r for r in records):
    return None
  window = max(1, len(records[0][name]) // 12)
  return records[0]['samples'], np.array([smooth(r[name], window) for r in records])


def held_out(records, name):
  """(samples, [seeds, evaluations]) of a held-out metric."""
  if any(name not in r['start'] for r in records):
    return None
  samples = [e['samples'] for e in records[0]['evaluations']]
  return samples, np.array([[e[name] for e in r['evaluations']] for r in records])


def pass_at_k(records):
  """(k, [seeds, k]) at the end."""
  sizes = sorted(int(n.split('@')[1]) for n in records[0]['end'] if n.startswith('pass@'))
  if len(sizes) < 2:
    return None
  return sizes, np.array([[r['end'][f'pass@{k}'] for k in sizes] for r in records])


PANELS = (
  ('training reward, %', lambda records: training(records, 'reward'), 100, 'samples'),
  ('held-out pass@1, %', lambda records: held_out(records, 'pass@1'), 100, 'samples'),
  ('held-out pass@k at the end, %', pass_at_k, 100, 'k'),
  ('entropy, nats', lambda records: training(records, 'entropy'), 1, 'samples'),
  ('completion length, tokens', lambda records: training(records, 'length'), 1, 'samples'),
)
BESIDE = ('training reward, %', 'entropy, nats', 'held-out pass@k at the end, %')


def plot(path, comparison):
  """Writes the figure of a comparison.

  Args:
    path: of a PNG file.
    comparison: a `report.Comparison`.
  """
  figure = of_few(comparison.found) if len(comparison.found) <= MANY else of_many(comparison)
  figure.savefig(path, dpi=100)
  # Lines of eight colors need no true color: a quarter of the size.
  Image.open(path).quantize(64).save(path, optimize=True)


# -- a few arms


def of_few(found):
  """All panels that there are for all arms: means over seeds, each seed thin."""
  drawn = panels(found)
  names = [arm for arm in found if arm != A_A]
  colors = {**dict(zip(names, COLORS)), A_A: GRAY}
  columns = min(3, len(drawn))
  rows = -(-len(drawn) // columns)
  figure = Figure(figsize=(4.4 * columns, 3.2 * rows + 0.3), layout='constrained')
  axes = figure.subplots(rows, columns, squeeze=False).ravel()
  for axis, (panel, lines) in zip(axes, drawn):
    draw_lines(axis, panel, lines, colors)
  for axis in axes[len(drawn) :]:
    axis.set_visible(False)
  handles = [Line2D([], [], color=colors[arm], lw=2, label=arm) for arm in found]
  figure.legend(
    handles=handles, loc='outside upper left', ncols=min(len(found), 6), frameon=False, fontsize=9
  )
  return figure


def panels(found, titles=None):
  """[(panel, {arm: its line})] of the panels that there are for all arms, some or all titles."""
  some = [p for p in PANELS if titles is None or p[0] in titles]
  drawn = [(p, {arm: p[1](records) for arm, records in found.items()}) for p in some]
  return [(panel, lines) for panel, lines in drawn if None not in lines.values()]


def draw_lines(axis, panel, lines, colors, each_seed=True):
  """One panel: the means over seeds, and each seed thin."""
  title, _, scale, label = panel
  for arm, (x, y) in lines.items():
    behind = dict(zorder=1) if arm == A_A else dict(zorder=2)
    if each_seed:
      axis.plot(x, scale * y.T, color=colors[arm], lw=0.6, alpha=0.35, **behind)
    dots = dict(marker='o', ms=3) if len(x) < 20 else {}
    axis.plot(x, scale * y.mean(0), color=colors[arm], lw=1.9, **dots, **behind)
  if label == 'k':
    axis.set_xscale('log', base=2)
    axis.set_xticks(x, [str(k) for k in x])
    axis.minorticks_off()
  axis.set_title(title, loc='left', fontsize=10)
  axis.set_xlabel(label)
  tidy(axis)


def tidy(axis):
  axis.spines[['top', 'right']].set_visible(False)
  axis.grid(color='#e6e8ec')
  axis.set_axisbelow(True)


# -- many arms


def of_many(comparison):
  """The effects of all arms on the primary quantity, and the curves of the most different ones."""
  c = comparison
  found = {arm: c.effect(arm, c.primary) for arm in c.others() if arm != A_A}
  shown = sorted(found, key=lambda arm: abs(found[arm].mean))[-SHOWN:]
  shown.sort(key=lambda arm: -found[arm].mean)
  colors = {c.baseline: COLORS[0], A_A: GRAY, **dict(zip(shown, COLORS[1:]))}
  beside = panels({arm: c.found[arm] for arm in colors}, BESIDE)
  rows = max(len(beside), 1)
  figure = Figure(figsize=(12, max(0.19 * len(found) + 1.3, 2.7 * rows)), layout='constrained')
  grid = figure.add_gridspec(rows, 2, width_ratios=(1.2, 1))
  forest(figure.add_subplot(grid[:, 0]), c, found, colors)
  for row, (panel, lines) in enumerate(beside):
    draw_lines(figure.add_subplot(grid[row, 1]), panel, lines, colors, each_seed=False)
  handles = [Line2D([], [], color=color, lw=2, label=arm) for arm, color in colors.items()]
  figure.legend(handles=handles, loc='outside upper right', ncols=4, frameon=False, fontsize=8)
  return figure


def forest(axis, comparison, found, colors):
  """A line an arm, the best above: its seeds, their mean and its interval; the noise behind."""
  c = comparison
  scale, unit = (100, ', points') if c.quantities[c.primary][1] else (1, '')
  noise = 2 * scale * c.noise(c.primary)
  order = sorted(found, key=lambda arm: found[arm].mean)
  left, right = reach([scaled(found[arm], scale) for arm in order], noise)
  axis.axvspan(-noise, noise, color='#eceef1', zorder=0)
  axis.axvline(0, color=COLORS[0], lw=1.2, zorder=1)
  for y, arm in enumerate(order):
    each, mean, low, high = scaled(found[arm], scale)
    color = colors.get(arm, PLAIN)
    told = c.verdict(arm, c.primary)
    if not left <= mean <= right:
      write_far(axis, y, (mean, low, high), (left, right), color)
      continue
    if told == 'not exercised':
      axis.text(mean, y, '   not exercised', color=PLAIN, va='center', fontsize=7)
    axis.plot([low, high], [y, y], color=color, lw=1, alpha=0.7)
    axis.plot(each, [y] * len(each), 'o', color=color, ms=3.4, mew=0)
    fill = color if told in ('holds', 'reversed') else 'white'
    axis.plot(mean, y, 'D', ms=5, mec=color, mfc=fill, mew=1.1)
  axis.set_yticks(range(len(order)), order, fontsize=8)
  for label, arm in zip(axis.get_yticklabels(), order):
    label.set_color(colors.get(arm, 'black'))
  axis.set(xlim=(left, right), ylim=(-0.7, len(order) - 0.3))
  axis.set_title(f'{c.primary}: difference to {c.baseline}{unit}', loc='left', fontsize=10)
  axis.set_xlabel(
    f'dots: {len(c.found[c.baseline])} seeds · line: 95 % t interval · filled: holds or reversed\n'
    'grey: twice the spread of the A/A row',
    fontsize=8, loc='left',
  )  # fmt: skip
  tidy(axis)


def write_far(axis, y, numbers, ends, color):
  """An effect beyond the ends of the axis, as text at the nearer one."""
  mean, low, high = (f'{x:.1f}'.replace('-', '−') for x in numbers)
  if numbers[0] < 0:
    text, x, side = f'◂ {mean} [{low}, {high}]', ends[0], 'left'
  else:
    text, x, side = f'{mean} [{low}, {high}] ▸', ends[1], 'right'
  axis.text(x, y, text, color=color, ha=side, va='center', fontsize=8)


def scaled(effect, scale):
  """(of each seed, mean, low, high)."""
  return [scale * np.array(x) for x in (effect.each, effect.mean, effect.low, effect.high)]


def reach(effects, noise):
  """Limits of the axis that hold all effects, but those that would leave no room for the others."""
  means = np.abs([mean for _, mean, _, _ in effects])
  near = [e for e, size in zip(effects, means) if size <= FAR * np.quantile(means, 0.9)]
  ends = np.concatenate([[-noise, noise], *(np.append(e[0], e[1:]) for e in near)])
  low, high = np.nanmin(ends), np.nanmax(ends)
  room = 0.04 * (high - low) or 1.0
  return low - room, high + room
