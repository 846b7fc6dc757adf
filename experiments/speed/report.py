"""The tables of a suite, as Markdown; a part that has not run is said to be so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from speed import report_cpu, report_gpu
from speed.tables import MISSING

COMMAND = 'python experiments/speed/run.py --suite={} --parts={}'
SUITES = {'cpu': report_cpu, 'gpu': report_gpu}


def markers(suite: str) -> tuple[str, str]:
  """Between these stand the tables of a suite in the README."""
  return f'<!-- {suite} results: written by run.py -->', f'<!-- end of {suite} results -->'


def markdown(results: Mapping[str, Any], plots: Iterable[str] = ()) -> str:
  """All tables of a suite; `plots` are the parts that have one."""
  plots, suite, blocks = set(plots), results['suite'], []
  for part, title in SUITES[suite].TITLES.items():
    found = results['parts'].get(part)
    head = f'### {title}\n\n`{COMMAND.format(suite, part)}`'
    if found is None:
      blocks.append(f'{head}\n\n{MISSING}')
      continue
    text = [f'{head} ({found["minutes"]} minutes; {machine_line(found["machine"])})', '']
    text += SUITES[suite].PARTS[part](found)
    if part in plots:
      text += ['', f'![{title.lower()}]({part}.png)']
    blocks.append('\n'.join(text))
  return '\n\n'.join(blocks) + '\n'


def machine_line(machine: Mapping[str, Any]) -> str:
  versions = machine['versions']
  return (
    f'{machine["date"]}; {", ".join(machine["devices"])}; {machine["cpu"]}, '
    f'{machine["cores"]} cores; jax {versions["jax"]}, Python {machine["python"]}; '
    f'load at the start {machine["load"]}'
  )
