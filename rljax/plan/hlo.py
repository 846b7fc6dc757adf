"""The text of a compiled program (HLO): its computations, and how often a run executes what.

A compiler's own count takes the body of a loop once. Here a loop counts by its trips: those that
the text shows (a counter with constant ends), else those that the program's source has noted
(`trips.taken`), since how many there are is data.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping

from rljax.plan.instructions import Instruction, read
from rljax.trips import SCOPE

_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$')
_KNOWN = re.compile(r'known_trip_count[^\d]*(\d+)')
_NOTED = re.compile(SCOPE + r'([\d.]+)\)*/while(?:\[|$)')
SAME = ('copy', 'bitcast', 'convert', 'reshape', 'copy-done', 'copy-start', 'optimization-barrier')


@dataclasses.dataclass(frozen=True)
class Frame:
  """A computation as one instruction calls it; caller and parent are None at the entry."""

  computation: str
  instructions: Mapping[str, Instruction]
  caller: Instruction | None = None
  parent: Frame | None = None

  @functools.cached_property
  def root(self) -> Instruction:
    return next(i for i in self.instructions.values() if i.is_root)


@dataclasses.dataclass(frozen=True)
class Place:
  """An instruction and the loops around it.

  Attributes:
    instruction: itself.
    frame: the computation in which it stands, as it is called.
    callers: names of the instructions that call it, outermost first: fusions, loops, branches.
    trips: of each loop around it, outermost first; None where nothing says how many.
    is_fused: whether it stands in a fusion, and so writes nothing to memory.
  """

  instruction: Instruction
  frame: Frame
  callers: tuple[str, ...]
  trips: tuple[float | None, ...]
  is_fused: bool

  @property
  def computation(self) -> str:
    return self.frame.computation

  @property
  def depth(self) -> int:
    """Loops around it."""
    return len(self.trips)

  @property
  def times(self) -> float:
    """How often a run executes it; a loop of unknown length counts once."""
    return math.prod(1 if n is None else n for n in self.trips)

  def operand(self, number: int) -> Instruction | None:
    """What makes an operand."""
    names = self.instruction.operands
    return self.frame.instructions.get(names[number]) if number < len(names) else None


class Program:
  """A compiled program.

  Args:
    text: `jax.stages.Compiled.as_text()`.

  Raises:
    ValueError: the text is no HLO.
  """

  def __init__(self, text: str):
    self.computations: dict[str, dict[str, Instruction]] = {}
    self.entry = ''
    current: dict[str, Instruction] = {}
    for line in text.splitlines():
      if found := _COMPUTATION.match(line):
        current = self.computations.setdefault(found[2], {})
        self.entry = found[2] if found[1] else self.entry
      elif one := read(line):
        current[one.name] = one
    if not self.entry:
      raise ValueError('the text is no HLO: it has no ENTRY computation')

  def walk(self) -> Iterator[Place]:
    """Each instruction as often as it is called from, with the loops around it.

    Of branches the longest; conditions of loops and what a reduction does with two numbers are
    left out.
    """
    start = Frame(self.entry, self.computations[self.entry])
    yield from self._walk(start, (), (), False)

  def uncounted(self) -> set[str]:
    """Where the loops are of which nothing says how often they turn."""
    loops = [p for p in self.walk() if p.instruction.op == 'while']
    return {
      p.instruction.source or p.instruction.name
      for p in loops
      if self.trip_count(p.instruction, p.frame) is None
    }

  def _walk(self, frame, callers, trips, is_fused) -> Iterator[Place]:
    for one in frame.instructions.values():
      yield Place(one, frame, callers, trips, is_fused)
      if one.op in ('async-update', 'async-done'):
        continue  # their start has called it
      if one.op == 'while':
        names, inner = [one.attribute('body')], (*trips, self.trip_count(one, frame))
      elif one.op == 'call' or not one.called or one.called[0][0] != 'to_apply':
        names, inner = [name for _, name in one.called if name in self.computations], trips
      else:
        continue
      names = [max(names, key=lambda n: len(self.computations[n]))] if names else []
      for name in names:
        within = is_fused or one.op == 'fusion'
        yield from self._walk(self._called(name, one, frame), (*callers, one.name), inner, within)

  def _called(self, name: str, caller: Instruction, parent: Frame) -> Frame:
    return Frame(name, self.computations[name], caller, parent)

  # -- loops

  def trip_count(self, loop: Instruction, frame: Frame) -> float | None:
    """How often a loop turns; None where nothing says so."""
    if known := _KNOWN.search(loop.text):
      return int(known[1])
    counted = self._counted(loop, frame)
    if counted is not None:
      return counted
    if noted := _NOTED.search(loop.source):
      return float(noted[1])
    return None

  def _counted(self, loop: Instruction, frame: Frame) -> int | None:
    """Trips of a loop with a counter that goes from a constant to a constant."""
    test = self._called(loop.attribute('condition'), loop, frame)
    body = self._called(loop.attribute('body'), loop, frame)
    compare, where = test.root, test
    if compare.op == 'fusion':
      where = self._called(compare.attribute('calls'), compare, test)
      compare = where.root
    direction = compare.attribute('direction')
    if compare.op != 'compare' or direction not in ('LT', 'LE', 'GT', 'GE', 'NE'):
      return None
    counter, limit = (self._source(where, name) for name in compare.operands)
    if isinstance(counter, int):
      counter, limit = limit, counter
      direction = {'LT': 'GT', 'GT': 'LT', 'LE': 'GE', 'GE': 'LE'}.get(direction, direction)
    if not isinstance(counter, tuple) or not isinstance(limit, int):
      return None
    start, step = self._start(loop, frame, counter[1]), self._step(body, counter[1])
    if not isinstance(start, int) or not step:
      return None
    distance = limit - start + (direction in ('LE', 'GE')) * (1 if step > 0 else -1)
    return max(0, -(-distance // step))

  def _start(self, loop: Instruction, frame: Frame, index: int) -> int | None:
    given = frame.instructions.get(loop.operands[0])
    if given is None or given.op != 'tuple':
      return None
    found = self._source(frame, given.operands[index])
    return found if isinstance(found, int) else None

  def _step(self, body: Frame, index: int) -> int | None:
    """What a turn adds to an entry of the loop's state."""
    if body.root.op != 'tuple':
      return None
    where, add = body, body.instructions[body.root.operands[index]]
    while add.op in SAME:
      add = where.instructions[add.operands[0]]
    if add.op == 'fusion':
      where = self._called(add.attribute('calls'), add, body)
      add = where.root
    if add.op not in ('add', 'subtract'):
      return None
    found = [x for x in (self._source(where, n) for n in add.operands) if isinstance(x, int)]
    return (found[0] if add.op == 'add' else -found[0]) if found else None

  def _source(self, frame: Frame, name: str) -> int | tuple[str, int] | None:
    """The constant that a scalar is, or ('state', index) for a changing entry of a loop's state."""
    instruction = frame.instructions.get(name)
    if instruction is None:
      return None
    op, operands = instruction.op, instruction.operands
    if op == 'constant':
      return int(instruction.inside) if re.fullmatch(r'-?\d+', instruction.inside) else None
    if op in SAME:
      return self._source(frame, operands[0])
    if op == 'parameter' and frame.caller is not None and frame.caller.op == 'fusion':
      return self._source(frame.parent, frame.caller.operands[int(instruction.inside)])
    if op != 'get-tuple-element':
      return None
    index, origin = int(instruction.attribute('index')), frame.instructions.get(operands[0])
    if origin is not None and origin.op == 'tuple':
      return self._source(frame, origin.operands[index])
    if origin is None or frame.caller is None or origin.op != 'parameter':
      return None
    if frame.caller.op != 'while':
      return None
    return self._state(frame, index)

  def _state(self, frame: Frame, index: int) -> int | tuple[str, int] | None:
    loop = frame.caller
    body = self.computations[loop.attribute('body')]
    root = next(i for i in body.values() if i.is_root)
    kept = body.get(root.operands[index]) if root.op == 'tuple' else None
    while kept is not None and kept.op in SAME:
      kept = body.get(kept.operands[0])
    stays = kept is not None and kept.op == 'get-tuple-element' and (
      int(kept.attribute('index')) == index
    )
    given = frame.parent.instructions.get(loop.operands[0])
    if not stays or given is None or given.op != 'tuple':
      return ('state', index)
    return self._source(frame.parent, given.operands[index])
