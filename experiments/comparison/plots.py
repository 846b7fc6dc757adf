"""The curves of a comparison: means over seeds, each seed thin."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from comparison.arms import A_A

COLORS = ('#4a4f57', '#2a6fbb', '#d9772b', '#3c9a5f', '#8e5bb5', '#c0504d', '#2aa3a2', '#a08a3c')
GRAY = '#b8bcc4'  # of the A/A arm, which is no result


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


def plot(path, found):
  """Writes the panels that there are for all arms.

  Args:
    path: of a PNG file.
    found: {arm: [record of each seed]}, the baseline first.
  """
  drawn = [(p, {arm: p[1](records) for arm, records in found.items()}) for p in PANELS]
  drawn = [(panel, lines) for panel, lines in drawn if None not in lines.values()]
  names = [arm for arm in found if arm != A_A]
  colors = {**dict(zip(names, COLORS * len(names))), A_A: GRAY}
  columns = min(3, len(drawn))
  rows = -(-len(drawn) // columns)
  figure = Figure(figsize=(4.4 * columns, 3.2 * rows + 0.3), layout='constrained')
  axes = figure.subplots(rows, columns, squeeze=False).ravel()
  for axis, ((title, _, scale, label), lines) in zip(axes, drawn):
    for arm, (x, y) in lines.items():
      behind = dict(zorder=1) if arm == A_A else dict(zorder=2)
      axis.plot(x, scale * y.T, color=colors[arm], lw=0.6, alpha=0.35, **behind)
      dots = dict(marker='o', ms=3) if len(x) < 20 else {}
      axis.plot(x, scale * y.mean(0), color=colors[arm], lw=1.9, **dots, **behind)
    if label == 'k':
      axis.set_xscale('log', base=2)
      axis.set_xticks(x, [str(k) for k in x])
      axis.minorticks_off()
    axis.set_title(title, loc='left', fontsize=10)
    axis.set_xlabel(label)
    axis.spines[['top', 'right']].set_visible(False)
    axis.grid(color='#e6e8ec')
    axis.set_axisbelow(True)
  for axis in axes[len(drawn) :]:
    axis.set_visible(False)
  handles = [Line2D([], [], color=colors[arm], lw=2, label=arm) for arm in found]
  figure.legend(
    handles=handles, loc='outside upper left', ncols=min(len(found), 6), frameon=False, fontsize=9
  )
  figure.savefig(path, dpi=120)
