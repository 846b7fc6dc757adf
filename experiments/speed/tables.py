"""Pieces of Markdown that the reports share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MISSING = 'not measured'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
  """Lines of a Markdown table; None is an empty cell."""
  lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
  for row in rows:
    cells = ('' if x is None else str(x) for x in row)
    lines.append('| ' + ' | '.join(cells) + ' |')
  return lines


def number(value: float | None, digits: int = 2) -> str | None:
  return None if value is None else f'{value:,.{digits}f}'


def check_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
  """Checks of outputs: what failed first, then how many held."""
  failed = [c for c in found if not c['holds']]
  lines = [f'**Does not hold:** {c["what"]} ({c["said"]})  ' for c in failed]
  kept = '; '.join(f'{c["what"]}: {c["said"]}' for c in found if c['holds'])
  return ['', *lines, f'Checked in the same run: {kept}.']


def version_line(about: Mapping[str, Any]) -> list[str]:
  """'Peers: trl 1.16.0, torch 2.13.0 …', each once."""
  seen: dict[str, str] = {}
  for peer in about.values():
    seen |= peer['versions']
  return ['', 'Peers: ' + ', '.join(f'{n} {v}' for n, v in seen.items()) + '.'] if seen else []


def share(run: Mapping[str, Any], part: str, whole: str) -> str:
  """A fraction in per cent, if the run says both."""
  if run.get(part) is None or not run.get(whole):
    return MISSING
  return f'{100 * run[part] / run[whole]:.0f} %'
