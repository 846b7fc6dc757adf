"""The plots of a suite: one for each part that has a picture."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from speed import timing

OURS, THEIRS, NAIVE, CEILING = '#2a6fbb', '#d9772b', '#8a8f98', '#e1e4e9'
LIGHT = {OURS: '#9cc0e6', THEIRS: '#f0bd95', NAIVE: '#c9cdd3'}


def draw(out: pathlib.Path, results: Mapping[str, Any]) -> list[str]:
  """Writes <part>.png for the parts that have run and have one; their names."""
  parts = results['parts']
  drawn = [part for part in PLOTS if part in parts]
  for part in drawn:
    figure = PLOTS[part](parts[part])
    figure.savefig(out / f'{part}.png', dpi=120)
  return drawn


def color(name: str) -> str:
  if name.startswith('rljax'):
    return OURS
  return NAIVE if name.startswith('naive') else THEIRS


def figure(rows: int, columns: int, width: float, height: float, **options):
  from matplotlib.figure import Figure

  made = Figure(figsize=(width, height), layout='constrained')
  axes = made.subplots(rows, columns, squeeze=False, **options)
  for axis in axes.ravel():
    axis.spines[['top', 'right']].set_visible(False)
    axis.set_axisbelow(True)
  return made, axes


# ------------------------------------------------------------------------------------ suite cpu


def step(found):
  """Bars: generation dark, the rest of the step light, the range of the whole as a line."""
  arms = found['arms']
  made, axes = figure(1, 1, 8, 0.42 * len(arms) + 1.1)
  axis = axes[0, 0]
  for place, (name, arm) in enumerate(arms.items()):
    total, generation = timing.median(arm), timing.median(arm, 'generation')
    dark, seconds = color(name), timing.values(arm)
    axis.barh(place, generation, color=dark, height=0.66)
    axis.barh(place, total - generation, left=generation, color=LIGHT[dark], height=0.66)
    axis.plot([min(seconds), max(seconds)], [place, place], color='#33373d', lw=1.2)
    axis.text(max(seconds), place, f'  {total:.2f} s', va='center', fontsize=9)
  axis.set_yticks(range(len(arms)), arms)
  axis.invert_yaxis()
  axis.set_xlim(0, 1.12 * max(max(timing.values(arm)) for arm in arms.values()))
  axis.set_xlabel('seconds of one GRPO step: generation (dark) and the rest; median, line = range')
  axis.grid(axis='x', color='#e6e8ec')
  return made


def long_tail(found):
  """tokens/s over the window, with the lockstep sampler's as lines."""
  made, axes = figure(1, 1, 6.4, 3.6)
  axis = axes[0, 0]
  windows = [int(name.split()[-1]) for name in found['curve']]
  runs = list(found['curve'].values())
  rates = [[r['tokens'] / r['seconds'] for r in arm['runs']] for arm in runs]
  medians = [arm['runs'][-1]['tokens'] / timing.median(arm) for arm in runs]
  axis.vlines(windows, [min(r) for r in rates], [max(r) for r in rates], color=OURS, lw=1)
  axis.plot(windows, medians, color=OURS, marker='o', ms=4, lw=2, label='rljax')
  for (name, arm), style in zip(list(found['arms'].items())[1:], ('-', '--')):
    rate = arm['runs'][-1]['tokens'] / timing.median(arm)
    axis.axhline(rate, color=NAIVE, ls=style, lw=1.6, label=name)
  axis.set_xscale('log', base=2)
  axis.set_xticks(windows, [str(w) for w in windows])
  axis.minorticks_off()
  axis.set_ylim(bottom=0)
  axis.yaxis.set_major_formatter('{x:,.0f}')
  axis.set(xlabel='window: decode steps between two looks at the slots', ylabel='tokens/s')
  axis.grid(color='#e6e8ec')
  made.legend(frameon=False, fontsize=9, loc='outside upper left', ncols=3)
  return made


def scaling(found):
  """Tokens a second of generation and update against each axis."""
  made, axes = figure(1, len(found['axes']), 12, 3.1, sharey=True)
  for axis, (name, points) in zip(axes[0], found['axes'].items()):
    places = range(len(points))
    lines = (('generation', 'tokens', OURS), ('update', 'trained_tokens', THEIRS))
    for part, counted, shade in lines:
      rates = [p[counted] / p[part] for p in points]
      axis.plot(places, rates, color=shade, marker='o', ms=4, lw=2, label=part)
    axis.set_xticks(places, [str(p['value']) for p in points])
    axis.margins(x=0.12)
    axis.set_title(name, loc='left', fontsize=10)
    axis.grid(color='#e6e8ec')
  axes[0, 0].set(ylabel='tokens/s')
  axes[0, 0].set_ylim(bottom=0)
  axes[0, 0].yaxis.set_major_formatter('{x:,.0f}')
  axes[0, -1].legend(frameon=False, fontsize=9)
  return made


def roofline(found):
  """What each product reaches within its program, on the bar of what it reaches alone."""
  programs = {name: p['products'][:10] for name, p in found['programs'].items()}
  most = max(len(rows) for rows in programs.values())
  made, axes = figure(1, len(programs), 12, 0.34 * most + 1.2)
  for axis, (name, rows) in zip(axes[0], programs.items()):
    for place, row in enumerate(rows):
      axis.barh(place, row['ceiling_gf_s'], color=CEILING, height=0.76)
      axis.barh(place, row['gf_s'], color=OURS, height=0.44)
      label = f'  {1000 * row["seconds"]:.0f} ms'
      axis.text(max(row['ceiling_gf_s'], row['gf_s']), place, label, va='center', fontsize=8)
    axis.set_yticks(range(len(rows)), [row['product'] for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.set_title(f'{name}: products by their time', loc='left', fontsize=10)
    axis.set_xlabel('GF/s within the program (blue), alone (grey)')
    axis.grid(axis='x', color='#eef0f3')
  return made


PLOTS = {'step': step, 'long_tail': long_tail, 'scaling': scaling, 'roofline': roofline}
