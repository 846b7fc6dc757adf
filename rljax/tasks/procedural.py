"""Problems made from (seed, index): random access without storing them, and a split that holds.

Everything here is integers and `random.Random.random`, whose values Python keeps from version to
version, so a data set is the same on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar, overload

from rljax.prompts import Prompt

T = TypeVar('T')

_ATTEMPTS = 10_000
_MASK = 0xFFFFFFFF


class Draw:
  """Draws for one problem, a pure function of the key."""

  def __init__(self, *key: int | str) -> None:
    self._random = random.Random('/'.join(map(str, key)))

  def below(self, bound: int) -> int:
    """Uniform in 0 … bound − 1."""
    return int(self._random.random() * bound)

  def between(self, low: int, high: int) -> int:
    """Uniform in low … high, both included."""
    return low + self.below(high - low + 1)

  def one_of(self, items: Sequence[T]) -> T:
    return items[self.below(len(items))]

  def weighted(self, weights: Sequence[int]) -> int:
    """An index with probability in proportion to its weight."""
    left = self.below(sum(weights))
    for index, weight in enumerate(weights):
      left -= weight
      if left < 0:
        return index
    raise ValueError('all weights are 0')

  def shuffled(self, items: Iterable[T]) -> list[T]:
    items = list(items)
    for i in range(len(items) - 1, 0, -1):
      j = self.below(i + 1)
      items[i], items[j] = items[j], items[i]
    return items

  def multiset(self, size: int, low: int, high: int) -> tuple[int, ...]:
    """`size` sorted numbers of low … high, uniform over multisets."""
    chosen: set[int] = set()
    while len(chosen) < size:
      chosen.add(self.below(high - low + size))
    return tuple(low + c - i for i, c in enumerate(sorted(chosen)))


def mix(values: Iterable[int]) -> int:
  """A 32-bit hash of integers that uint32 arithmetic on a device repeats exactly."""
  state = 0x9E3779B9
  for value in values:
    state = ((state ^ (value & _MASK)) * 0x85EBCA6B) & _MASK
    state ^= state >> 13
    state = (state * 0xC2B2AE35) & _MASK
    state ^= state >> 16
  return state


def threshold(fraction: float) -> int:
  """The bound of `mix` below which a problem is held out."""
  return int(fraction * 0x100000000)


class Generated(Sequence[Prompt]):
  """`num` prompts made on demand by `make(index)`."""

  def __init__(self, num: int, make: Callable[[int], Prompt]) -> None:
    self._num, self._make = num, make

  def __len__(self) -> int:
    return self._num

  @overload
  def __getitem__(self, index: int) -> Prompt: ...
  @overload
  def __getitem__(self, index: slice) -> list[Prompt]: ...
  def __getitem__(self, index):
    if isinstance(index, slice):
      return [self[i] for i in range(*index.indices(self._num))]
    index = int(index)
    if not -self._num <= index < self._num:
      raise IndexError(f'prompt {index} of {self._num}')
    return self._make(index % self._num)


class Distinct(Generated):
  """`num` different problems: the first `num` distinct ones of an endless stream, made at once.

  Args:
    num: how many.
    make: `make(place in the stream, prompt_id) -> Prompt`.
    canonical: what makes two prompts the same problem.
    complaint: what to say when the stream has no `num` different ones.
  """

  def __init__(
    self,
    num: int,
    make: Callable[[int, int], Prompt],
    canonical: Callable[[Prompt], Hashable],
    complaint: str,
  ) -> None:
    super().__init__(num, lambda index: self._made()[index])
    self._stream, self._canonical, self._complaint = make, canonical, complaint
    self._prompts: list[Prompt] = []

  def _made(self) -> list[Prompt]:
    if not self._prompts and self._num:
      found: dict[Hashable, Prompt] = {}
      place = 0
      while len(found) < self._num:
        prompt = self._stream(place, len(found))
        found.setdefault(self._canonical(prompt), prompt)
        place += 1
        if place > 20 * self._num + 1000:
          raise ValueError(f'{self._complaint}: found {len(found)} of {self._num}')
      self._prompts = list(found.values())
    return self._prompts


def first_accepted(draw: Draw, propose: Callable[[Draw], T | None], complaint: str) -> T:
  """The first proposal that is not None; `ValueError` with `complaint` if none comes."""
  for _ in range(_ATTEMPTS):
    proposal = propose(draw)
    if proposal is not None:
      return proposal
  raise ValueError(complaint)
