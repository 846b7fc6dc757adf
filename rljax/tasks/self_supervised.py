"""Solutions as tasks of their own: fill in the steps that are hidden, put the steps in order.

    prompt      3+4*5=           4*5=20,3+20=23      the problem itself
                3+4*5=?,3+20=23: 4*5=20              a step is hidden
                3+4*5=3+20=23,4*5=20; 2,1            the steps are shuffled
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rljax import binding
from rljax.prompts import Prompt, Task
from rljax.rewards import calls, nesting
from rljax.tasks import procedural
from rljax.tasks.mixture import Marked

SOURCES = ('outcome', 'fill', 'order')


def self_supervised(
  *,
  task: Mapping[str, Any],
  separator: str = ',',
  hidden: str = '?',
  num_hidden: int = 1,
  fill: str = ':',
  order: str = ';',
  seed: int = 0,
) -> Task:
  """The prompts of a task, and two more made of the solution of each; held out are its own alone.

  A third of the training prompts is of each kind; metadata['source'] says of which: 'outcome',
  'fill' or 'order' (`curriculum.domains` with by='source' draws some of them only).

  Args:
    task: node of a task whose demonstrations are steps.
    separator: stands between steps.
    hidden: stands in the place of a step that is hidden.
    num_hidden: steps, at most; one at least stays.
    fill: ends the prompt of a solution with hidden steps; the answer is those steps.
    order: ends the prompt of a solution whose steps are shuffled; the answer is the places, from 1
      on, where its steps stand, in their right order.
    seed: of what is hidden and shuffled.

  Raises:
    ValueError: a task without demonstrations, or whose reward is a function; nothing to hide.

  Examples:
    >>> sums = {'name': 'tasks.arithmetic', 'num_train': 8, 'num_test': 4}
    >>> task = tasks.self_supervised(task=sums)
    >>> for prompt in task.train[:3]:
    ...   print(prompt.metadata['source'], prompt.text, prompt.answer)
    outcome 3*18*12= 648
    fill 3*18*12=?,54*12=648: ('3*18=54',)
    order 3*18*12=54*12=648,3*18=54; ('2', '1')

  Source: MR-RLVR, "Masked-and-Reordered Self-Supervision for Reinforcement Learning from Verifiable
    Rewards" (2025).
  Differs from the source: whole steps are hidden; matchers not confirmed against the paper.
  Fidelity: recalled
  """
  base = binding.bind(task)({})
  if base.demonstrate is None or callable(base.reward) or num_hidden < 1:
    raise ValueError(
      f'self_supervised: {base.name} has no demonstrations, or its reward is a function, or '
      f'num_hidden={num_hidden} is below 1'
    )
  rules = _Rules(base, separator, hidden, num_hidden, fill, order, seed)
  return Task(
    name=base.name,
    train=procedural.Generated(
      len(SOURCES) * len(base.train), lambda i: rules.prompt(*divmod(i, len(SOURCES)))
    ),
    test=Marked(base.test, lambda prompt: rules.outcome(prompt, prompt.prompt_id)),
    reward='tasks.self_supervised.reward',
    demonstrate=rules.demonstrate,
    well_formed=base.well_formed,
    license=base.license,
  )


@dataclasses.dataclass(frozen=True)
class _Rules:
  """How prompts are made; see `self_supervised`."""

  base: Task
  separator: str
  hidden: str
  num_hidden: int
  fill: str
  order: str
  seed: int

  def prompt(self, index: int, kind: int) -> Prompt:
    base, prompt_id = self.base.train[index], len(SOURCES) * index + kind
    make = (self.outcome, self.filled, self.ordered)[kind]
    return make(base, prompt_id)

  def demonstrate(self, prompt: Prompt) -> Any:
    if prompt.metadata['source'] == 'outcome':
      return self.base.demonstrate(prompt)
    return self.separator.join(prompt.answer)

  def outcome(self, prompt: Prompt, prompt_id: int) -> Prompt:
    return self._of('outcome', prompt, prompt_id, {'reward': self.base.reward})

  def filled(self, prompt: Prompt, prompt_id: int) -> Prompt:
    steps, draw = self._steps(prompt), self._draw('fill', prompt)
    count = min(self.num_hidden, len(steps) - 1) or 1  # of a single step, that one
    places = sorted(draw.shuffled(range(len(steps)))[:count])
    shown = [self.hidden if i in places else step for i, step in enumerate(steps)]
    answer = tuple(steps[i] for i in places)
    return self._of('fill', prompt, prompt_id, {}, shown, self.fill, answer)

  def ordered(self, prompt: Prompt, prompt_id: int) -> Prompt:
    steps = self._steps(prompt)
    order = self._draw('order', prompt).shuffled(range(len(steps)))
    answer = tuple(str(order.index(i) + 1) for i in range(len(steps)))
    return self._of('order', prompt, prompt_id, {}, [steps[i] for i in order], self.order, answer)

  def _steps(self, prompt: Prompt) -> list[str]:
    solution = self.base.demonstrate(prompt)
    if not isinstance(solution, str) or prompt.messages is not None:
      raise ValueError(
        f'self_supervised: prompt {prompt.prompt_id} of {self.base.name} is a chat or has a '
        f'demonstration of several turns; solutions are text of one'
      )
    return solution.split(self.separator)

  def _draw(self, kind: str, prompt: Prompt) -> procedural.Draw:
    return procedural.Draw('self_supervised', self.seed, kind, prompt.text)

  def _of(
    self,
    source: str,
    prompt: Prompt,
    prompt_id: int,
    more: Mapping[str, Any],
    shown: Sequence[str] = (),
    end: str = '',
    answer: tuple[str, ...] | None = None,
  ) -> Prompt:
    return dataclasses.replace(
      prompt,
      text=prompt.text + self.separator.join(shown) + end,
      prompt_id=prompt_id,
      answer=prompt.answer if answer is None else answer,
      tokens=prompt.tokens if answer is None else (),
      metadata={**prompt.metadata, 'source': source, 'separator': self.separator, **more},
    )


def reward(
  completion: str,
  prompt: str,
  answer: Any,
  metadata: dict[str, Any],
  tokens: tuple[int, ...],
  truncated: bool,
) -> dict[str, float]:
  """The task's own reward, or how well the hidden steps or the order are met.

  Returns:
    'reward' and the component named after the source, besides those of the task's own reward.

  Args:
    completion, prompt, answer, metadata, tokens, truncated: as every reward takes them.
  """
  source = metadata['source']
  if source == 'outcome':
    given = dict(zip(calls.FIELDS, (completion, prompt, answer, metadata, tokens, truncated)))
    found = nesting.nested(metadata['reward'], source)(given)
    return {**found, source: found['reward']}
  measure: Callable[..., float] = {'fill': fill_match, 'order': order_agreement}[source]
  value = measure(completion.split(metadata['separator']), answer)
  return {'reward': value, source: value}


def fill_match(said: Sequence[str], hidden: Sequence[str]) -> float:
  """The share of the hidden steps that stand in their places; 0 if there are more or fewer."""
  if len(said) != len(hidden):
    return 0.0
  return sum(a == b for a, b in zip(said, hidden)) / len(hidden)


def order_agreement(said: Sequence[str], right: Sequence[str]) -> float:
  """The share of pairs that stand in the right order (a single step: 1); 0 if it is no order."""
  if sorted(said) != sorted(right):
    return 0.0
  places = [right.index(step) for step in said]
  pairs = [(a, b) for i, a in enumerate(places) for b in places[i + 1 :]]
  return sum(a < b for a, b in pairs) / len(pairs) if pairs else 1.0
