"""The verb `rljax plan`."""

from __future__ import annotations

import math
from typing import Any

from rljax import files
from rljax.plan import report
from rljax.plan import search as searching
from rljax.plan.chips import GIB
from rljax.plan.run import Plan, make_plan
from rljax.plan.topology import Topology, find


def run(
  config: Any, topology: str, *, stage: str = '', search: bool = False, out: str = ''
) -> None:
  """Plans a stage of a config and prints what it takes.

  Args:
    config: resolved.
    topology: see `topology.find`.
    stage: of the config; '' = the first that samples, else the first.
    search: whether other meshes and micro-batches are tried.
    out: file for the report besides, with its numbers in a .json beside it; '' = none.

  Raises:
    ValueError: no such stage or topology; what a run of the config would refuse.
  """
  devices = find(topology)
  name = stage or _main_stage(config)
  if name not in config.stages:
    raise ValueError(f'--stage={name}: the config has the stages {", ".join(config.stages)}')
  plan = _search(config, name, devices) if search else make_plan(config, name, devices)
  told = report.text(plan)
  print(told, end='')
  if out:
    path = files.as_path(out)
    files.write_text(path, told)
    files.write_json(path.with_suffix('.json'), report.numbers(plan))


def _main_stage(config: Any) -> str:
  return next((name for name in config.stages if 'sampler' in config[name]), config.stages[0])


def _search(config: Any, stage: str, topology: Topology) -> Plan:
  """The best of what was tried; prints all of it."""
  found = searching.search(config, stage, topology, lambda tried: print(_row(tried), flush=True))
  print('\nThe fastest that fits first:\n')
  print(*(f'- {_row(tried)}' for tried in found), sep='\n', end='\n\n')
  if found[0].plan is None:
    raise ValueError(f'--search: no mesh is possible: {found[0].refused}')
  return found[0].plan


def _row(tried: searching.Tried) -> str:
  if tried.plan is None:
    return f'{tried.choice.flags}: refused: {tried.refused}'
  most = max(phase.total for phase in tried.plan.residents.phases)
  fits = 'fits' if tried.plan.fits else 'does NOT fit'
  seconds = tried.plan.seconds
  time = 'time not known' if math.isnan(seconds) else f'{seconds:.3g} s'
  return f'{tried.choice.flags}: {time}, {most / GIB:.2f} GiB, {fits}'
