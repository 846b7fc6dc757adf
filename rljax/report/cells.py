"""Texts and numbers as a terminal may print them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

BLOCKS = '▁▂▃▄▅▆▇█'
WIDTH = 34  # characters of a curve: with its name and two numbers it fits into 80
# Of C0, DEL and C1, but line feed and tab.
PICTURES = {chr(i): chr(0x2400 + i) for i in range(32) if chr(i) not in '\n\t'}
PICTURES |= {chr(i): '␡' if i == 127 else '\ufffd' for i in range(127, 160)}


def new_console() -> Any:
  """A rich console on standard output."""
  from rich.console import Console

  return Console(force_jupyter=False, highlight=False)


def visible(text: str) -> str:
  """Text of a model or a stranger as a terminal may print it: control characters as pictures.

  An escape would move the cursor, change the title, or write to the clipboard.
  """
  return ''.join(PICTURES.get(c, c) for c in text)


def cell(value: Any) -> str:
  """A cell of a table, in which brackets are no markup."""
  from rich.markup import escape

  return escape(visible(number(value)))


def number(value: Any) -> str:
  """A value in four digits; None is a dash, text is itself."""
  if value is None:
    return '–'
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def sparkline(values: Iterable[float], width: int = WIDTH) -> str:
  """The values as a line of blocks, each the mean of its share; '·' where none is finite.

  Examples:
    >>> print(report.sparkline([0.0, 0.5, 1.0, float('nan')], width=4))
    ▁▅█·
  """
  values = list(values)
  size = max(1, math.ceil(len(values) / width))
  means = []
  for first in range(0, len(values), size):
    part = [v for v in values[first : first + size] if v is not None and math.isfinite(v)]
    means.append(sum(part) / len(part) if part else None)
  there = [mean for mean in means if mean is not None]
  low, high = min(there, default=0), max(there, default=0)
  scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0
  return ''.join('·' if mean is None else BLOCKS[round((mean - low) * scale)] for mean in means)
