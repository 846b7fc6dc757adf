"""A number for the final answer of a completion, beside another reward."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any

from rljax import binding
from rljax.rewards import answers, layout, nesting
from rljax.rewards.nesting import Reward

CODES = 2**24 - 1  # float32 holds all of them exactly


def coded(
  *,
  reward: Reward,
  extract: str | Callable[[str], Hashable | None] = '',
  tag: str = '',
  **fields: Any,
) -> dict[str, float]:
  r"""Another reward, with a hash of the final answer: equal answers have equal numbers.

  For shaping that asks which answers are the same (`shaping.outcome_bonus`). Of two different
  answers one pair in 16 million has the same number.

  Args:
    reward: the other, a dotted name or a config node.
    extract: `extract(completion) -> answer or None`, or its dotted name; '' = the text itself, with
      any white space as one space.
    tag: of the part of the completion that holds the answer; '' = all of it.
    fields: of the sample.

  Returns:
    'reward', the components of the other one, and 'answer_code', −1 where there is no answer.

  Examples:
    >>> sample = dict(completion='\\boxed{4}', answer='4', prompt='', metadata={})
    >>> found = rewards.coded(reward='rewards.exact_answer', **sample)
    >>> print(found['reward'], found['answer_code'] >= 0)
    1.0 True
  """
  find = binding.resolve(extract) if isinstance(extract, str) and extract else extract
  part = layout.section(fields['completion'], tag)
  answer = None if part is None else (find or answers.whole)(part)
  found = nesting.nested(reward, 'reward')(fields)
  return {**found, 'answer_code': -1.0 if answer is None else float(_code(answer))}


coded.rewards_in = ('reward',)


def _code(answer: Hashable) -> int:
  digest = hashlib.blake2b(repr(answer).encode('utf-8', 'surrogatepass'), digest_size=8).digest()
  return int.from_bytes(digest, 'little') % CODES
