"""What a compiled program costs: FLOPs and bytes of memory traffic, loops by their trips."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable

from rljax.plan.hlo import Place, Program
from rljax.plan.instructions import Instruction, size_of
from rljax.trips import FILLED

# They move no byte of the main memory themselves.
FREE = {
  'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'while', 'conditional', 'call',
  'after-all', 'partition-id', 'replica-id', 'iota', 'opt-barrier', 'optimization-barrier',
}  # fmt: skip
PARTS = ('dynamic-slice', 'slice', 'gather')  # they read of their operand what they give
_ESTIMATE = re.compile(r'"?flops"?\s*:\s*"?(\d+)')
_MOVED = re.compile(r'"?bytes_accessed"?\s*:\s*"?(\d+)')
# Products of a pair of tokens and an entry of a head, in the parts of jax's attention kernel.
SPLASH = {'fwd': 2, 'dq': 3, 'dkv': 4}
_SPLASH = re.compile(r'splash_m[hq]a_(fwd|dq|dkv)')
# A TPU's grouped products, which say the work of all their rows: the rows of a tile, and the share
# of them that is in a group.
_GROUPED = re.compile(r'ragged-dot')
_TILE = re.compile(r'ragged_dot_tiling="(\d+)')
_FILLED = re.compile(FILLED + r'([\d.e\-]+)')
Computation = dict[str, Instruction]
_WINDOW = re.compile(r'(\w+)=([\dx_\-]+)')


@dataclasses.dataclass(frozen=True)
class Work:
  """What one device does in a run of a program.

  Attributes:
    flops: of products and of custom calls; elementwise work is not counted.
    bytes: read from main memory and written to it.
    unknown: custom calls of which nothing tells the FLOPs.
    uncounted: loops that count once, since nothing says how often they turn.
  """

  flops: float
  bytes: float
  unknown: tuple[str, ...] = ()
  uncounted: tuple[str, ...] = ()


def work(program: Program, within: Callable[[str], bool] = lambda source: True) -> Work:
  """The work of a program, or of the instructions whose source path is `within`."""
  flops = moved = 0.0
  unknown: set[str] = set()
  for place in program.walk():
    one = place.instruction
    if not place.times or not within(one.source):
      continue
    if one.op == 'custom-call' and not is_known(one):
      unknown.add(one.attribute('custom_call_target').strip('"') or one.name)
    flops += place.times * flops_of(place)
    moved += 0.0 if place.is_fused else place.times * bytes_of(place, program)
  return Work(flops, moved, tuple(sorted(unknown)), tuple(sorted(program.uncounted())))


# -- FLOPs


def flops_of(place: Place) -> float:
  """FLOPs of one execution of an instruction: two for each product that is summed."""
  one = place.instruction
  if one.op == 'dot':
    left = place.operand(0).arrays[0][1]
    summed = [left[int(i)] for i in re.findall(r'\d+', one.attribute('lhs_contracting_dims'))]
    return 2.0 * math.prod(one.arrays[0][1]) * math.prod(summed)
  if one.op == 'convolution':
    return _convolution(place)
  if is_grouped(one):
    rows, matrix = _factors(place)
    return 2.0 * _visited(one, rows, matrix[0]) * math.prod(matrix[1:])
  if one.op == 'custom-call' and (told := _ESTIMATE.search(one.text)):
    return float(told[1])
  if one.op == 'custom-call' and (part := _SPLASH.search(f'{one.name} {one.source}')):
    return _splash(place, SPLASH[part[1]])
  return 0.0


def _splash(place: Place, products: int) -> float:
  """Of causal attention: half of all pairs of a query [..., H, T, d] and a key [..., KV, S, d]."""
  given = [place.operand(i) for i in range(len(place.instruction.operands))]
  arrays = [x.arrays[0] for x in given if x is not None and x.arrays]
  queries, keys = [dims for dtype, dims in arrays if 'f' in dtype and len(dims) > 2][:2]
  return 2.0 * products * math.prod(queries) * keys[-2] / 2


def is_grouped(one: Instruction) -> bool:
  """Whether it is a TPU's product of rows [M, A] with one of the matrices [E, A, B] each, or a
  derivative of that.
  """
  return one.op == 'custom-call' and bool(_GROUPED.match(one.name) and _TILE.search(one.text))


def _visited(one: Instruction, rows: int, groups: int) -> float:
  """Rows that are multiplied: none of no group, and twice a tile that two groups share."""
  found, tile = _FILLED.search(one.source), int(_TILE.search(one.text)[1])
  return min(rows, (float(found[1]) if found else 1.0) * rows + tile * (groups - 1))


def _factors(place: Place) -> tuple[int, tuple[int, ...]]:
  """(rows M, shape of the matrices) of a grouped product."""
  one = place.instruction
  given = [place.operand(i) for i in range(len(one.operands))]
  arrays = [x.arrays[0][1] for x in given if x is not None and x.arrays and 'f' in x.arrays[0][0]]
  matrix = next(dims for dims in [*arrays, one.arrays[0][1]] if len(dims) == 3)
  return arrays[0][0], matrix


def is_known(one: Instruction) -> bool:
  """Whether a custom call says its FLOPs, or has none that count."""
  target = one.attribute('custom_call_target').strip('"')
  kernel = ('tpu_custom_call', 'cudnn', 'cublas', 'triton', 'matmul')
  told = _ESTIMATE.search(one.text) or _SPLASH.search(f'{one.name} {one.source}')
  told = told or _GROUPED.match(one.name)
  return bool(told) or not any(name in target for name in kernel)


def _convolution(place: Place) -> float:
  """A TPU's products are convolutions: axes of the batch, and some that are summed, are spatial."""
  one = place.instruction
  left, right = (place.operand(i).arrays[0][1] for i in range(2))
  lhs, rest = one.attribute('dim_labels').split('_')
  rhs, out = rest.split('->')
  result = one.arrays[0][1]
  inputs = right[rhs.index('i')] * result[out.index('b')] * result[out.index('f')]
  window = dict(_WINDOW.findall(one.attribute('window')))
  pairs = 1
  for axis in sorted(c for c in lhs if c.isdigit()):
    number = int(axis)
    pairs *= _pairs(
      size=right[rhs.index(axis)],
      outputs=result[out.index(axis)],
      inputs=left[lhs.index(axis)],
      stride=int(_of_axis(window, 'stride', number, '1')),
      low=int(_of_axis(window, 'pad', number, '0_0').split('_')[0]),
      spread=int(_of_axis(window, 'lhs_dilate', number, '1')),
      apart=int(_of_axis(window, 'rhs_dilate', number, '1')),
    )
  return 2.0 * inputs * pairs


def _of_axis(window: dict[str, str], name: str, axis: int, default: str) -> str:
  return window[name].split('x')[axis] if name in window else default


def _pairs(
  *, size: int, outputs: int, inputs: int, stride: int, low: int, spread: int, apart: int
) -> int:
  """How many (output, entry of the window) lie on an entry of the input, not on padding."""
  found = 0
  for entry in range(size):
    # Places output · stride + entry · apart − low that are multiples of spread within the input.
    offset, last = entry * apart - low, (inputs - 1) * spread
    if stride % spread == 0:
      if offset % spread == 0:
        first = max(0, -(offset // stride))
        found += max(0, min(outputs - 1, (last - offset) // stride) - first + 1)
    else:
      places = (output * stride + offset for output in range(outputs))
      found += sum(0 <= place <= last and place % spread == 0 for place in places)
  return found


# -- bytes


def bytes_of(place: Place, program: Program) -> float:
  """Bytes of main memory that one execution of an unfused instruction reads and writes."""
  one = place.instruction
  if one.op in FREE or one.op.endswith('-done') or one.op.startswith('async-'):
    return 0.0
  if one.op == 'custom-call' and not is_grouped(one) and (told := _MOVED.search(one.text)):
    return float(told[1])
  given = [place.operand(i) for i in range(len(one.operands))]
  given = [x for x in given if x is not None]
  result = _in_memory(one)
  if is_grouped(one):
    rows, matrix = _factors(place)
    whole = sum(_in_memory(x) for x in (one, *given) if x.arrays[0][1] == matrix)
    used = _visited(one, rows, matrix[0]) / rows
    return whole + used * (result + sum(map(_in_memory, given)) - whole)
  if one.op in PARTS:
    return 2 * result
  if one.op == 'dynamic-update-slice':
    return 2 * _in_memory(given[1])
  if one.op == 'fusion' and one.attribute('calls') in program.computations:
    inside = program.computations[one.attribute('calls')]
    return _written(program, inside, one) + sum(
      _read_by(program, inside, _parameter(inside, number), _in_memory(x))
      for number, x in enumerate(given)
      if _in_memory(x)
    )
  if one.op == 'copy-start':
    result = size_of(one.arrays[0]) if one.spaces[0] == 0 else 0.0  # (target, source, what waits)
  elif one.op.endswith('-start'):
    result /= 2  # what it reads stands in its result besides
  return result + sum(map(_in_memory, given))


def _in_memory(one: Instruction) -> float:
  return sum(size_of(x) for x, space in zip(one.arrays, one.spaces) if space == 0)


def _read_by(
  program: Program, inside: Computation, names: set[str], whole: float
) -> float:
  """What a fusion reads of an operand, `names` in it: of one that it only cuts, the pieces."""
  pieces = 0.0
  for user in inside.values():
    if not names & set(user.operands):
      continue
    if user.op == 'bitcast':
      pieces += _read_by(program, inside, {user.name}, whole)
    elif user.op == 'fusion':
      within = program.computations[user.attribute('calls')]
      for number, name in enumerate(user.operands):
        if name in names:
          pieces += _read_by(program, within, _parameter(within, number), whole)
    elif user.op in PARTS and user.operands[0] in names:
      pieces += sum(map(size_of, user.arrays))
    elif user.op != 'dynamic-update-slice' or user.operands[0] not in names:
      return whole
  return min(whole, pieces)


def _parameter(inside: Computation, number: int) -> set[str]:
  return {x.name for x in inside.values() if x.op == 'parameter' and x.inside == str(number)}


def _written(program: Program, inside: Computation, one: Instruction) -> float:
  """What a fusion writes: of an array that it changes in place, the change."""
  root = next(x for x in inside.values() if x.is_root)
  parts = [inside[n] for n in root.operands] if root.op == 'tuple' else [root]
  if len(parts) != len(one.arrays):
    return _in_memory(one)
  total = 0.0
  for part, array, space in zip(parts, one.arrays, one.spaces):
    if space == 0:
      total += min(size_of(array), _change(program, inside, part))
  return total


def _change(program: Program, inside: Computation, part: Instruction) -> float:
  """Bytes of what a result of a fusion differs in from an operand of it; all, if it is new."""
  while part.op == 'bitcast' and part.operands[0] in inside:
    part = inside[part.operands[0]]
  if part.op == 'fusion':
    within = program.computations[part.attribute('calls')]
    root = next(x for x in within.values() if x.is_root)
    return math.inf if root.op == 'tuple' else _change(program, within, root)
  if part.op == 'dynamic-update-slice' and part.operands[1] in inside:
    return sum(map(size_of, inside[part.operands[1]].arrays))
  return math.inf
