"""Rewards that a method must not learn from, or must unlearn with: controls of an experiment."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from rljax.rewards import calls


def random_reward(
  prompt: str, tokens: tuple[int, ...], *, probability: float = 0.5, salt: int = 0
) -> float:
  """1 with `probability`, else 0, by a hash of (prompt, tokens): no information about the task.

  Args:
    prompt: its text.
    tokens: ids of the completion.
    probability: of a 1, as a fraction.
    salt: another salt is another reward.
  """
  text = f'{salt}/{prompt}/{",".join(map(str, tokens))}'
  digest = hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).digest()
  return float(int.from_bytes(digest, 'little') < probability * 2**64)


def inverted(
  completion: str,
  prompt: str,
  answer: Any,
  metadata: dict[str, Any],
  tokens: tuple[int, ...],
  truncated: bool,
  *,
  reward: str,
) -> float:
  """1 − r of another reward.

  Args:
    completion, prompt, answer, metadata, tokens, truncated: as every reward takes them.
    reward: dotted name of the other.
  """
  function, names = _other(reward)
  given = dict(zip(calls.FIELDS, (completion, prompt, answer, metadata, tokens, truncated)))
  value = function(**{name: given[name] for name in names})
  return 1.0 - float(value['reward'] if isinstance(value, dict) else value)


@functools.cache
def _other(reward: str):
  function = calls.from_name(reward, {})
  return function, calls.fields(function)
