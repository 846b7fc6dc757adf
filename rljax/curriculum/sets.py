"""Prompts that belong together are drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rljax.curriculum.uniform import Uniform
from rljax.prompts import Prompt


class _Runs(Sequence):
  """Runs of `size` prompts that follow each other."""

  def __init__(self, prompts: Sequence[Prompt], size: int) -> None:
    self._prompts, self._size = prompts, size

  def __len__(self) -> int:
    return len(self._prompts) // self._size

  def __getitem__(self, index: int) -> list[Prompt]:
    first = int(index) * self._size
    return [self._prompts[first + i] for i in range(self._size)]


class Sets:
  """Epochs of whole sets without replacement; see `sets`."""

  def __init__(self, prompts: Sequence[Prompt], seed: int, size: int) -> None:
    if size < 1 or not len(prompts) or len(prompts) % size:
      raise ValueError(
        f'curriculum.sets: size={size} with {len(prompts)} prompts; needs whole sets, one at least'
      )
    self._size = size
    self._runs = Uniform(_Runs(prompts, size), seed)

  def sample(self, num: int) -> list[Prompt]:
    """The next `num` prompts, set by set.

    Raises:
      ValueError: they are not whole sets.
    """
    if num % self._size:
      raise ValueError(
        f'curriculum.sets: {num} prompts are asked for, which is no multiple of size={self._size}; '
        "set the stage's `prompts` to one"
      )
    return [prompt for run in self._runs.sample(num // self._size) for prompt in run]

  def update(self, prompt_ids: Sequence[int], mean_rewards: Sequence[float]) -> None:
    """Nothing to learn from rewards."""

  def state_dict(self) -> dict[str, Any]:
    """What `load_state_dict` needs to go on from here; JSON."""
    return {**self._runs.state_dict(), 'size': self._size}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    """Goes on from where `state` was taken.

    Raises:
      ValueError: it was taken with another size, seed or number of prompts.
    """
    if state['size'] != self._size:
      raise ValueError(
        f'curriculum.sets: the saved size is {state["size"]}, this run has {self._size}'
      )
    self._runs.load_state_dict(state)


def sets(prompts: Sequence[Prompt], seed: int = 0, *, size: int) -> Sets:
  """Prompts i·size … i·size + size − 1 in a row, each set once an epoch, in another order each.

  For rewards that compare what is said to the prompts of one set
  (`rewards.documents.among_others`).

  Args:
    prompts: whole sets, one after the other.
    seed: of the order; a stage gives one that follows from the run's.
    size: prompts of a set.

  Raises:
    ValueError: the prompts are not whole sets.

  Examples:
    >>> from rljax.prompts import Prompt
    >>> prompts = [Prompt(text=letter, prompt_id=i) for i, letter in enumerate('aabb')]
    >>> drawn = curriculum.sets(prompts, seed=0, size=2).sample(4)
    >>> print([prompt.text for prompt in drawn])  # sets stay together
    ['a', 'a', 'b', 'b']
  """
  return Sets(prompts, seed, size)
