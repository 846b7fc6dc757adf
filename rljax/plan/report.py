"""A plan in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rljax.plan.chips import GIB
from rljax.plan.residents import Phase
from rljax.plan.run import Plan

LOOPS = (
  'Loops whose length is data count at capacity: all micro-batches of the layout, rows of one '
  'maximal sample, every sample decoded for max_new_tokens steps.'
)


def text(plan: Plan) -> str:
  """The report, in Markdown."""
  parts = [_head(plan), _programs(plan), *_traffic(plan), _memory(plan), _room(plan)]
  parts.append('\n'.join(f'- {line}' for line in [LOOPS, *plan.notes]))
  if plan.advice:
    parts.append('What would help:\n\n' + '\n'.join(f'- {line}' for line in plan.advice))
  return '\n\n'.join(part for part in parts if part) + '\n'


def numbers(plan: Plan) -> dict[str, Any]:
  """What a table of several plans shows."""
  mesh = plan.given.world.mesh.shape
  chip, found = plan.topology.chip, plan.residents
  return {
    'mesh': ' × '.join(f'{n} {size}' for n, size in mesh.items() if size > 1) or 'one device',
    'gib': {phase.name: phase.total / GIB for phase in found.phases},
    'capacity_gib': round(chip.hbm / GIB, 2) if chip else None,
    'fits': plan.fits,
    'slots': found.slots or (),
    'context': found.context,
    'seconds': {one.name: one.time if one.times else None for one in plan.programs},
    'bound': {one.name: one.bound for one in plan.programs},
    'flops': {one.name: one.work.flops for one in plan.programs},
    'hlo_over_model_flops': {
      one.name: one.work.flops / one.model_flops for one in plan.programs if one.model_flops
    },
    'bytes': {one.name: one.work.bytes for one in plan.programs},
    'sent': {one.name: one.sent for one in plan.programs},
    'compile_seconds': {one.name: round(one.seconds) for one in plan.programs},
    'failed': {one.name: one.failed for one in plan.programs if one.failed},
  }


def _head(plan: Plan) -> str:
  chip, mesh = plan.topology.chip, plan.given.world.mesh
  axes = ' × '.join(f'{n} {size}' for n, size in mesh.shape.items() if size > 1) or 'one device'
  node, layout = plan.given.node, plan.given.stage.layout
  has = f'; a chip has {_gib(chip.hbm)} GiB, {chip.flops / 1e12:g} TFLOP/s, ' if chip else ''
  has += f'{chip.bandwidth / 1e9:g} GB/s of memory, {chip.link / 1e9:g} GB/s a link' if chip else ''
  lines = [f'Mesh: {axes} on {plan.topology.name} ({mesh.size} chips{has}).']
  if plan.sampler is not None:
    lines.append(
      f'Stage {plan.given.stage.name}: {node.prompts} prompts × {node.samples} samples of '
      f'{node.max_prompt} + {node.max_new_tokens} tokens;'
    )
  remat = plan.given.world.model.get('remat', 'none')
  lines.append(
    f'update: {layout.minibatches} × {layout.micro_batches} micro-batches of {layout.rows} × '
    f'{layout.row_length} slots, remat {remat!r}.'
  )
  return '\n'.join(lines)


def _programs(plan: Plan) -> str:
  rows = []
  for one in plan.programs:
    if one.failed:
      rows.append([one.name, f'does not compile: {one.failed}'] + [''] * 8)
      continue
    ratio = one.work.flops / one.model_flops if one.model_flops else 0
    share = ''
    if plan.topology.chip and one.time:
      share = f'{one.model_flops / (one.time * plan.topology.chip.flops):.2f}'
    rows.append(
      [
        one.name,
        f'{one.work.flops / 1e12:.4g}',
        f'{ratio:.2f}',
        f'{one.work.bytes / 1e9:.4g}',
        f'{sum(one.sent.values()) / 1e9:.4g}',
        *(_seconds(one.times.get(k)) for k in ('compute', 'memory', 'network')),
        one.bound,
        share,
      ]
    )
  names = ['program', 'TFLOP', 'HLO / model FLOPs', 'GB moved', 'GB sent', 'compute s', 'memory s']
  return 'Per chip and iteration:\n\n' + table(
    [*names, 'network s', 'bound', 'model-FLOPs share'], rows
  )


def _traffic(plan: Plan) -> list[str]:
  out = []
  for one in plan.programs:
    if one.sent:
      told = ', '.join(f'{axes}: {sent / 1e9:.4g} GB' for axes, sent in one.sent.items())
      out.append(f'Sent by a chip in the {one.name}, by axis: {told}.')
    if one.name == 'update' and one.work.flops:
      share = one.prepare.flops / one.work.flops
      out.append(f'Of the update’s FLOPs {share:.0%} are before the first gradient (prepare).')
  return out


def _memory(plan: Plan) -> str:
  phases = plan.residents.phases
  kinds = list(dict.fromkeys(kind for phase in phases for kind in phase.kinds))
  rows = []
  for phase in phases:
    sizes = [_gib(phase.kinds[k]) if k in phase.kinds else '' for k in kinds]
    rows.append([phase.name, *sizes, f'**{_gib(phase.total)}**', _fits(phase)])
  host = plan.residents.host
  more = f' Besides, {_gib(host)} GiB for each chip in the host’s memory.' if host else ''
  return (
    f'GiB on each chip:{more}\n\n' + table(['phase', *kinds, 'total', 'fits'], rows)
  )


def _room(plan: Plan) -> str:
  found = plan.residents
  if found.slots is None:
    return ''
  return (
    f'Slots: {found.slots[0]} of {found.context} tokens in each of {found.groups} groups; '
    f'{found.slots[1]} fit.'
  )


def _fits(phase: Phase) -> str:
  return {None: '?', True: 'yes', False: 'NO'}[phase.fits]


def _gib(size: float) -> str:
  return f'{size / GIB:.2f}'


def _seconds(value: float | None) -> str:
  return '' if value is None else f'{value:.3g}'


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table."""
  lines = [names, ['---'] * len(names), *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)

