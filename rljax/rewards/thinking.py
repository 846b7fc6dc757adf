"""Whether a completion has thought before its answer, beside the reward of the answer."""

from __future__ import annotations

from typing import Any

from rljax.rewards import nesting, units
from rljax.rewards.nesting import Reward


def after_thinking(
  *, reward: Reward, start: str = '<think>', end: str = '</think>', **fields: Any
) -> dict[str, float]:
  r"""Another reward of what stands after the thinking, and whether there was any.

  For prompts that end with `<think>` and an ellipsis, which a model goes on with or closes at once.
  A completion that never closes its thinking has no answer: the other reward sees an empty text.

  Args:
    reward: of the answer, a dotted name or a config node.
    start: mark that the completion may say itself; it is no thought.
    end: mark that closes the thinking; its last one counts.
    fields: of the sample.

  Returns:
    'reward', the components of the other one, and 'thinks': 1 if there is a word before the mark.

  Examples:
    >>> sample = dict(completion='<think>2 and 2</think>\\boxed{4}', answer='4')
    >>> found = rewards.after_thinking(reward='rewards.exact_answer', **sample)
    >>> print(found['reward'], found['thinks'])
    1.0 1.0

  Source: Learning When to Think: Shaping Adaptive Reasoning in R1-Style Models via Multi-Stage RL
    (2025).
  """
  before, mark, answer = fields['completion'].rpartition(end)
  thought = (before if mark else answer).replace(start, '').replace(end, '')
  judged = {**fields, 'completion': answer if mark else ''}
  found = nesting.nested(reward, 'reward')(judged)
  return {**found, 'thinks': float(bool(units.words(thought)))}


after_thinking.rewards_in = ('reward',)
