"""The matrix products of a compiled program: their shapes, by the name of the instruction."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_HEADER = re.compile(r'^(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{')
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%([\w.\-]+) = (\S+?)(?:\{[\d,]*\})? ([\w\-]+)\((.*)$')
_SHAPE = re.compile(r'^\(?(\w+)\[([\d,]*)\]')
_OPERAND = re.compile(r'%([\w.\-]+)')


class Product(NamedTuple):
  """batch × (m × k) · (k × n)."""

  batch: int
  m: int
  k: int
  n: int

  @property
  def flops(self) -> int:
    return 2 * self.batch * self.m * self.k * self.n

  def __str__(self) -> str:
    size = f'{self.m} × {self.k} × {self.n}'
    return size if self.batch == 1 else f'{self.batch} · ({size})'


def products(text: str) -> dict[str, list[Product]]:
  """Instruction -> the products that it makes: itself, or those of the computation it calls.

  Args:
    text: `compiled.as_text()`.
  """
  computations = _parse(text)
  own = {name: _dots(lines) for name, lines in computations.items()}
  found: dict[str, list[Product]] = {}
  for lines in computations.values():
    for name, (_, kind, rest) in lines.items():
      called = re.search(r'calls=%([\w.\-]+)', rest)
      if kind in ('fusion', 'call') and called:
        made = [product for _, product in own.get(called[1], ())]
        if made:
          found[name] = made
  fused = {c for lines in computations.values() for _, kind, rest in lines.values()
           if kind == 'fusion' for c in re.findall(r'calls=%([\w.\-]+)', rest)}  # fmt: skip
  for computation, dots in own.items():
    if computation not in fused:
      found |= {name: [product] for name, product in dots}
  return found


def _parse(text: str) -> dict[str, dict[str, tuple[list[int], str, str]]]:
  """Computation -> instruction -> (dimensions, kind, the rest of its line)."""
  computations, lines = {}, {}
  for line in text.splitlines():
    if header := _HEADER.match(line):
      lines = computations.setdefault(header[1], {})
    elif match := _INSTRUCTION.match(line):
      shape = _SHAPE.match(match[2])
      sizes = [int(d) for d in shape[2].split(',') if d] if shape else []
      lines[match[1]] = (sizes, match[3], match[4])
  return computations


def _dots(lines) -> list[tuple[str, Product]]:
  found = []
  for name, (_, kind, rest) in lines.items():
    if kind != 'dot':
      continue
    left, right = (lines[o][0] for o in _OPERAND.findall(rest.split(')')[0])[:2])
    batch, contracted = _axes(rest, 'lhs_batch_dims'), _axes(rest, 'lhs_contracting_dims')
    batch_size = math.prod(left[a] for a in batch)
    k = math.prod(left[a] for a in contracted)
    m = math.prod(left) // (batch_size * k)
    n = math.prod(right) // (batch_size * k)
    found.append((name, Product(batch_size, m, k, n)))
  return found


def _axes(rest: str, name: str) -> list[int]:
  match = re.search(name + r'=\{([\d,]*)\}', rest)
  return [int(d) for d in match[1].split(',') if d] if match else []
