"""A task whose problems are drawn one by one, and are split by what makes them the same problem."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural


class Problem(NamedTuple):
  """What is drawn first decides the split; the rest is drawn for those that are on its side.

  Attributes:
    key: equal for two that are the same problem, in whatever order it is said.
    write: draws the rest and returns (text, answer, metadata) of the prompt.
  """

  key: str
  write: Callable[[], tuple[str, Any, Mapping[str, Any]]]


def drawn(
  name: str,
  propose: Callable[[procedural.Draw], Problem | None],
  *,
  advice: str,
  num_train: int,
  num_test: int,
  test_fraction: float,
  seed: int,
  **fields: Any,
) -> Task:
  """A task of the problems that `propose` draws; metadata['problem'] of a prompt is its key.

  Args:
    name: of the task.
    propose: draws a problem; None = none came of it, draw again.
    advice: what to change where there are too few problems.
    num_train: training prompts; a problem may come up more than once.
    num_test: held-out problems, all different.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.
    **fields: further ones of `Task`.

  Raises:
    ValueError: impossible sizes; later, on the first use, problems that are never found.
  """
  if num_train < 0 or num_test < 0 or not 0 <= test_fraction <= 1:
    raise ValueError(
      f'{name}: num_train={num_train}, num_test={num_test}, test_fraction={test_fraction}; needs '
      'numbers of prompts ≥ 0 and a fraction between 0 and 1'
    )
  held_out_below = procedural.threshold(test_fraction)

  def make(split: str, index: int, prompt_id: int) -> Prompt:
    def on_its_side(draw: procedural.Draw) -> Problem | None:
      problem = propose(draw)
      if problem is None:
        return None
      held_out = procedural.mix(map(ord, problem.key)) < held_out_below
      return problem if held_out == (split == 'test') else None

    problem = procedural.first_accepted(
      procedural.Draw(name, seed, split, index),
      on_its_side,
      f'{name}: no problem found for the {split} split; {advice}, or change test_fraction',
    )
    text, answer, metadata = problem.write()
    return Prompt(
      text=text, prompt_id=prompt_id, answer=answer, metadata={**metadata, 'problem': problem.key}
    )

  return Task(
    name=name,
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      lambda prompt: prompt.metadata['problem'],
      f'{name}: too few problems for num_test={num_test}; {advice}, or raise test_fraction',
    ),
    license='Apache-2.0 (generated)',
    **fields,
  )
