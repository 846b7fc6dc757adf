"""Rewards that a method must not learn from, or must unlearn with: controls of an experiment."""

from __future__ import annotations

import hashlib
from typing import Any

from rljax.rewards import calls, nesting
from rljax.rewards.nesting import Reward


def random_reward(
  prompt: str, tokens: tuple[int, ...], *, probability: float = 0.5, salt: int = 0
) -> float:
  """1 with `probability`, else 0, by a hash of (prompt, tokens): no information about the task.

  Args:
    prompt: its text.
    tokens: ids of the completion.
    probability: of a 1, as a fraction.
    salt: another salt is another reward.

  Examples:
    >>> print(rewards.random_reward('2+2', (1, 2)) == rewards.random_reward('2+2', (1, 2)))
    True
    >>> print(np.mean([rewards.random_reward('', (i,), probability=0.25) for i in range(400)]))
    0.2575
  """
  return float(_uniform(prompt, tokens, salt) < probability)


def _uniform(prompt: str, tokens: tuple[int, ...], salt: int) -> float:
  """A number in [0, 1) that is a hash of the sample."""
  text = f'{salt}/{prompt}/{",".join(map(str, tokens))}'
  digest = hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).digest()
  return int.from_bytes(digest, 'little') / 2**64


def inverted(
  completion: str,
  prompt: str,
  answer: Any,
  metadata: dict[str, Any],
  tokens: tuple[int, ...],
  truncated: bool,
  *,
  reward: Reward,
) -> float:
  r"""1 − r of another reward.

  Args:
    completion, prompt, answer, metadata, tokens, truncated: as every reward takes them.
    reward: the other, a dotted name or a config node.

  Examples:
    >>> sample = dict(completion='\\boxed{4}', answer='4', prompt='', metadata={})
    >>> print(rewards.inverted(reward='rewards.exact_answer', **sample, tokens=(), truncated=False))
    0.0
  """
  given = dict(zip(calls.FIELDS, (completion, prompt, answer, metadata, tokens, truncated)))
  return 1.0 - nesting.nested(reward, 'reward')(given)['reward']


inverted.rewards_in = ('reward',)


def noisy(
  *,
  reward: Reward,
  false_positive: float = 0.0,
  false_negative: float = 0.0,
  threshold: float = 0.5,
  salt: int = 0,
  **fields: Any,
) -> dict[str, float]:
  r"""Another reward r, flipped to 1 − r for some samples, by a hash of (prompt, tokens).

  Args:
    reward: the other, between 0 and 1.
    false_positive: probability that one below the threshold is flipped, as a fraction.
    false_negative: probability that one from the threshold on is flipped, as a fraction.
    threshold: of a right answer.
    salt: another salt flips others.
    fields: of the sample.

  Returns:
    'reward', the components of the other one, and 'true' (what it was) and 'flipped'.

  Raises:
    ValueError: a probability outside of [0, 1], or a reward outside of it.

  Examples:
    >>> sample = dict(completion='\\boxed{4}', answer='4', prompt='2+2', tokens=(1, 2))
    >>> found = rewards.noisy(reward='rewards.exact_answer', false_negative=1.0, **sample)
    >>> print(found['reward'], found['true'], found['flipped'])
    0.0 1.0 True
  """
  _check_noise(false_positive, false_negative)
  found = nesting.nested(reward, 'reward')(fields)
  true = found['reward']
  if not 0 <= true <= 1:
    raise ValueError(f'noisy: the reward is {true}; needs one between 0 and 1')
  probability = false_negative if true >= threshold else false_positive
  flipped = _uniform(fields['prompt'], fields['tokens'], salt) < probability
  return {**found, 'reward': 1 - true if flipped else true, 'true': true, 'flipped': flipped}


def _check_noise(
  false_positive: float = 0.0, false_negative: float = 0.0, **_: Any
) -> None:
  if not (0 <= false_positive <= 1 and 0 <= false_negative <= 1):
    raise ValueError(
      f'noisy: false_positive={false_positive}, false_negative={false_negative}; '
      'probabilities are between 0 and 1'
    )


noisy.rewards_in = ('reward',)
noisy.check = _check_noise
