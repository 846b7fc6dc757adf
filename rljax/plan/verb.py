"""The verb `rljax plan`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import files
from rljax.plan import report
from rljax.plan import search as searching
from rljax.plan.chips import GIB
from rljax.plan.run import Plan, make_plan
from rljax.plan.topology import Topology, find


def run(
  config: Any,
  topology: str,
  *,
  stage: str = '',
  among: Mapping[str, Sequence[int]] | None = None,
  out: str = '',
) -> None:
  """Plans a stage of a config and prints what it takes.

  Args:
    config: resolved.
    topology: see `topology.find`.
    stage: of the config; '' = the first that samples, else the first.
    among: None = the config's own mesh; else others are tried, see `search.search`.
    out: file for the report besides, with its numbers in a .json beside it; '' = none.

  Raises:
    ValueError: no such stage or topology; what a run of the config would refuse.
  """
  devices = find(topology)
  name = stage or _main_stage(config)
  if name not in config.stages:
    raise ValueError(f'--stage={name}: the config has the stages {", ".join(config.stages)}')
  if among is None:
    plan = make_plan(config, name, devices)
    told = report.text(plan)
  else:
    plan, told = _search(config, name, devices, among)
  print(told, end='')
  if out:
    path = files.as_path(out)
    files.write_text(path, told)
    files.write_json(path.with_suffix('.json'), report.numbers(plan))


def among(told: str, is_search: bool) -> dict[str, list[int]] | None:
  """What `--among` says: 'tensor=2,4 rows=1' → sizes by name; None where nothing is searched.

  Raises:
    ValueError: it is no such text, or nothing is searched.
  """
  if not is_search and told:
    raise ValueError(f'--among={told}: it goes with --search')
  found = {}
  for part in told.split():
    name, _, sizes = part.partition('=')
    if name not in searching.NAMES or not all(n.isdigit() and int(n) for n in sizes.split(',')):
      raise ValueError(
        f'--among: {part!r} is none of {", ".join(searching.NAMES)} with sizes, as in tensor=2,4'
      )
    found[name] = sorted(int(n) for n in sizes.split(','))
  return found if is_search else None


def _main_stage(config: Any) -> str:
  return next((name for name in config.stages if 'sampler' in config[name]), config.stages[0])


def _search(
  config: Any, stage: str, topology: Topology, among: Mapping[str, Sequence[int]]
) -> tuple[Plan, str]:
  """The best of what was tried, and all of it in words; prints each as it comes."""
  found = searching.search(
    config, stage, topology, lambda tried: print(' | '.join(_row(tried)), flush=True), among
  )
  best = found[0].plan
  if best is None:
    raise ValueError(f'--search: no mesh is possible: {found[0].refused}')
  named = ['tried', 'an iteration takes at least', 'bound', 'most memory', 'found']
  listed = report.table(named, [_row(tried) for tried in found])
  own = f'The first of them, {found[0].choice.flags}:'
  return best, f'\nThe fastest that fits first:\n\n{listed}\n\n{own}\n\n{report.text(best)}'


def _row(tried: searching.Tried) -> list[str]:
  """A choice, its time, what bounds its programs, its memory, and what came of it."""
  plan = tried.plan
  if plan is None:
    return [tried.choice.flags, '', '', '', _short(tried.refused)]
  most = max(plan.residents.phases, key=lambda phase: phase.total)
  failed = [f'the {one.name} does not compile: {_short(one.failed)}'
            for one in plan.programs if one.failed]  # fmt: skip
  fits = {True: 'fits', False: 'does NOT fit', None: 'capacity not known'}[most.fits]
  times = ['not known' if math.isnan(one.time) else f'{one.time:.3g}' for one in plan.programs]
  total = '' if math.isnan(plan.seconds) else f' = {plan.seconds:.3g} s'
  return [
    tried.choice.flags,
    ' + '.join(times) + total,
    ', '.join(f'{one.name}: {one.bound}' for one in plan.programs if one.bound),
    f'{most.total / GIB:.2f} GiB, {most.name}',
    '; '.join(failed) or fits,
  ]


def _short(told: str) -> str:
  """The first line of what a compiler said; the rest lists its buffers."""
  return told.strip().split('\n')[0].replace('|', '/')
