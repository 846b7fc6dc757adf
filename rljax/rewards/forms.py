"""Which of several forms a completion has, beside another reward."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rljax.rewards import nesting
from rljax.rewards.nesting import Reward


def forms(*, reward: Reward, patterns: Mapping[str, str], **fields: Any) -> dict[str, float]:
  """Another reward, with one component for each form: 1 if the completion has it, else 0.

  The mean of a component over an iteration is the share of that form: which of the forms that
  pretraining has left wins, and when.

  Args:
    reward: the other, a dotted name or a config node.
    patterns: form → regular expression of a whole completion; the first that fits counts.
    fields: of the sample.

  Returns:
    'reward', the components of the other one, one for each form, and 'other': 1 if none fits.

  Raises:
    ValueError: no patterns, one that is no regular expression, or a form called 'other'.

  Examples:
    >>> sample = dict(completion='def f(): pass', answer='4')
    >>> patterns = {'code': r'def .*', 'steps': r'Step 1.*'}
    >>> print(rewards.forms(reward='rewards.exact_answer', patterns=patterns, **sample)['code'])
    1.0
  """
  _check(patterns)
  text, found = fields['completion'], nesting.nested(reward, 'reward')(fields)
  form = next((n for n, p in patterns.items() if re.fullmatch(p, text, re.DOTALL)), 'other')
  return {**found, **{name: float(name == form) for name in (*patterns, 'other')}}


def _check(patterns: Mapping[str, str], **_: Any) -> None:
  if not patterns or 'other' in patterns:
    raise ValueError(f"forms: patterns={dict(patterns)}; needs forms, none of them 'other'")
  for name, pattern in patterns.items():
    try:
      re.compile(pattern)
    except re.error as error:
      raise ValueError(f'forms: {name}={pattern!r} is no regular expression: {error}') from None


forms.rewards_in = ('reward',)
forms.check = _check
