"""A task some of whose demonstrations are a wrong attempt, what is said of it, and the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rljax import binding
from rljax.prompts import Prompt, Task
from rljax.tasks import procedural


def with_feedback(
  *,
  task: Mapping[str, Any],
  feedback: str | Mapping[str, Any],
  speech: tuple[str, str] = ('\nUser: ', '\nAssistant: '),
  ends: bool = True,
  share: float = 0.5,
  seed: int = 0,
) -> Task:
  """Shows a policy what feedback means, for `rollouts.feedback_turn`; prompts stay as they are.

  The wrong attempt is one of the task's candidates, and is not learnt.

  Args:
    task: node of a task with demonstrations of one turn and candidates.
    feedback: dotted name or node of `(prompt, said) -> text`.
    speech: what stands around the feedback.
    ends: whether the stop token stands behind the attempt.
    share: of the prompts whose demonstration has two turns, as a fraction.
    seed: of which they are, and of their attempts.

  Raises:
    ValueError: a task without demonstrations or candidates.

  Examples:
    >>> import sys, types
    >>> def feedback(prompt, said):
    ...   return 'Not sorted.'
    >>> sys.modules['my_words'] = types.SimpleNamespace(feedback=feedback)  # a module of yours
    >>> words = {'name': 'tasks.arithmetic', 'num_train': 8, 'num_test': 4}
    >>> task = tasks.with_feedback(task=words, feedback='my_words.feedback', share=1.0)
    >>> for text, said in task.demonstrate(task.train[0]):
    ...   print(said, text)
    False 3*18=63,54*12=648
    False None
    False
    User: Not sorted.
    Assistant:
    True 3*18=54,54*12=648
  """
  base = binding.bind(task)({})
  if base.demonstrate is None or base.candidates is None:
    raise ValueError(f'with_feedback: {base.name} has no demonstrations, or no candidates')
  node = {'name': feedback} if isinstance(feedback, str) else dict(feedback)
  answer = binding.bind(node, ('prompt', 'said'))

  def demonstrate(prompt: Prompt):
    right = base.demonstrate(prompt)
    draw = procedural.Draw('with_feedback', seed, prompt.text)
    wrong = [text for text, _ in base.candidates(prompt, seed) if text != right]
    if draw.below(1000) >= 1000 * share or not wrong:
      return right
    said = draw.one_of(wrong)
    heard = answer({'prompt': prompt, 'said': said})
    behind = [(f'{speech[0]}{heard}{speech[1]}', False), (right, True)]
    return [(said, False), *([(None, False)] if ends else []), *behind]

  return dataclasses.replace(base, demonstrate=demonstrate)
