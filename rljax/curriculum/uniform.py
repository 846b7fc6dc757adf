"""All prompts equally often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rljax.prompts import Prompt


class Uniform:
  """Epochs without replacement; see `uniform`."""

  def __init__(self, prompts: Sequence[Prompt], seed: int) -> None:
    import grain

    if not len(prompts):
      raise ValueError('curriculum.uniform: there are no prompts')
    self._seed = seed
    self._num_prompts = len(prompts)
    # A fixed order of an endless list: the position is all there is to remember.
    self._stream = grain.MapDataset.source(prompts).shuffle(seed=seed).repeat()
    self._position = 0

  def sample(self, num: int) -> list[Prompt]:
    """The next `num` prompts."""
    start, self._position = self._position, self._position + num
    return [self._stream[i] for i in range(start, start + num)]

  def update(self, prompt_ids: Sequence[int], mean_rewards: Sequence[float]) -> None:
    """Nothing to learn from rewards."""

  def state_dict(self) -> dict[str, Any]:
    """What `load_state_dict` needs to go on from here; JSON."""
    return {'position': self._position, 'seed': self._seed, 'num_prompts': self._num_prompts}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    """Goes on from where `state` was taken.

    Raises:
      ValueError: it was taken with another seed or number of prompts.
    """
    for name, mine in (('seed', self._seed), ('num_prompts', self._num_prompts)):
      if state[name] != mine:
        raise ValueError(
          f'curriculum.uniform: the saved {name} is {state[name]}, this run has {mine}; '
          'the order of prompts would differ'
        )
    self._position = int(state['position'])


def uniform(prompts: Sequence[Prompt], seed: int = 0) -> Uniform:
  """Every prompt once an epoch, in another order each epoch.

  Args:
    prompts: at least one; may be longer than memory, places are computed.
    seed: of the order; a stage gives one that follows from the run's.

  Examples:
    >>> from rljax.prompts import Prompt
    >>> prompts = [Prompt(text=letter, prompt_id=i) for i, letter in enumerate('abc')]
    >>> drawn = curriculum.uniform(prompts, seed=1)
    >>> print(sorted(p.text for p in drawn.sample(3)))  # an epoch
    ['a', 'b', 'c']
    >>> print(len(drawn.sample(2)))  # of the next one
    2
  """
  return Uniform(prompts, seed)
