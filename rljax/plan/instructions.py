"""One line of a compiled program's text (HLO), read."""

from __future__ import annotations

import dataclasses
import functools
import math
import re

BYTES = {
  'pred': 1, 's4': 0.5, 'u4': 0.5, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 's32': 4, 'u32': 4,
  's64': 8, 'u64': 8, 'f16': 2, 'bf16': 2, 'f32': 4, 'f64': 8, 'c64': 8, 'c128': 16,
}  # fmt: skip
_INSTRUCTION = re.compile(r'^\s+(ROOT )?%?([\w.\-]+) = ')
_ARRAY = re.compile(r'\b(pred|[suf]\d+\w*|bf16|c64|c128)\[([\d,]*)\](?:\{([^}]*)\})?')
_BRACKET = re.compile('[()]')
_SPACE = re.compile(r'S\((\d+)\)')
_CALLED = re.compile(
  r'\b(body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)'
)
_BRANCHES = re.compile(r'\b(?:branch_computations|called_computations)=\{([^}]*)\}')
Array = tuple[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    name: of its result.
    op: such as 'dot', 'while', 'all-gather-start'.
    arrays: (dtype, shape) of each array of its result, tuples flattened.
    spaces: the memory in which each of them stands; 0: the device's main memory.
    operands: names.
    inside: what stands in the brackets behind `op`, as text.
    text: all that follows: attributes and metadata.
    is_root: whether it is what the computation returns.
  """

  name: str
  op: str
  arrays: tuple[Array, ...]
  spaces: tuple[int, ...]
  operands: tuple[str, ...]
  inside: str
  text: str
  is_root: bool

  @functools.cached_property
  def called(self) -> tuple[tuple[str, str], ...]:
    """(role, computation) of what it calls: 'body', 'condition', 'calls', 'to_apply' …"""
    found = _CALLED.findall(self.text)
    for names in _BRANCHES.findall(self.text):
      found += [('branch', name.strip().lstrip('%')) for name in names.split(',')]
    return tuple(found)

  @functools.cached_property
  def source(self) -> str:
    """The path of the operation in the traced program, '' where the compiler tells none."""
    found = re.search(r'op_name="([^"]*)"', self.text)
    return found[1] if found else ''

  def attribute(self, name: str) -> str:
    """The text behind `name=`, up to the end of its brackets; '' if there is none."""
    found = re.search(rf'\b{name}=(\{{[^}}]*\}}|[^,\s]+)', self.text)
    return found[1].lstrip('%') if found else ''


def size_of(array: Array) -> float:
  """Bytes of an array, without the padding of its layout."""
  dtype, dims = array
  return BYTES.get(dtype, 1) * math.prod(dims)


def read(line: str) -> Instruction | None:
  """The instruction of a line `name = type op(operands), attributes`; None: it is none."""
  found = _INSTRUCTION.match(line)
  if not found:
    return None
  text = line[found.end() :]
  end = _closing(text, 0) + 1 if text.startswith('(') else text.index(' ')
  kind, text = text[:end], text[end:].lstrip()
  opening = text.index('(')
  closing = _closing(text, opening)
  inside = re.sub(r'/\*.*?\*/', '', text[opening + 1 : closing])
  operands = re.findall(r'%([\w.\-]+)', inside) or [x.strip() for x in inside.split(',') if x]
  arrays, spaces = [], []
  for dtype, dims, layout in _ARRAY.findall(kind):
    space = _SPACE.search(layout)
    arrays.append((dtype, tuple(int(n) for n in dims.split(',') if n)))
    spaces.append(int(space[1]) if space else 0)
  return Instruction(
    name=found[2],
    op=text[:opening].strip(),
    arrays=tuple(arrays),
    spaces=tuple(spaces),
    operands=tuple(operands),
    inside=inside,
    text=text[closing + 1 :],
    is_root=bool(found[1]),
  )


def _closing(text: str, opening: int) -> int:
  """Where the bracket that opens there closes."""
  depth = 0
  for found in _BRACKET.finditer(text, opening):
    depth += 1 if found[0] == '(' else -1
    if not depth:
      return found.start()
  raise ValueError(f'a bracket does not close in {text[:80]!r}')
