"""Rewards made of rewards: gate, sum, all of them, a doubted one, one for each source.

Each takes others as hyper-parameters: a dotted name, a function or a config node
`dict(name=…, <hyper-parameters>)`. What the parts give stays visible: the reward of the part
'format' is the component 'format', a component 'marks' of it is 'format.marks'. A part that fails
leaves the sample without a reward. Parts may be rewards of samples, of groups or of a batch; the
whole is one of the highest level among them.

    rewards.combinators.weighted(
      rewards=dict(right='tasks.gsm8k.reward', format=dict(name='rewards.layout.think_answer')),
      weights=dict(format=0.2))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax import binding
from rljax.rewards import nesting
from rljax.rewards.nesting import Reward


def gated(
  *, reward: Reward, gate: Reward, threshold: float = 0.5, closed: float = 0.0, **fields: Any
) -> dict[str, float]:
  r"""`reward` where `gate` is at least the threshold, `closed` elsewhere.

  Where the gate is closed the reward is not asked (but for rewards of groups), so that a cheap
  check spares a dear one.

  Args:
    reward: of an open gate.
    gate: the other reward.
    threshold: in units of the gate.
    closed: reward of a closed gate.
    fields: of the sample.

  Returns:
    'reward', and the components 'gate' and 'gated' with what belongs to them.

  Examples:
    >>> sample = dict(completion='\\boxed{4}', answer='4', prompt='', tokens=(1,))
    >>> gate = {'name': 'rewards.random_reward', 'probability': 0.0}  # always shut
    >>> print(rewards.gated(reward='rewards.exact_answer', gate=gate, **sample))
    {'reward': 0.0, 'gate': 0.0}
  """
  passed = nesting.nested(gate, 'gate')(fields)
  components = _named('gate', passed)
  if passed['reward'] < threshold:
    return {'reward': closed, **components}
  found = nesting.nested(reward, 'reward')(fields)
  return {'reward': found['reward'], **components, **_named('gated', found)}


gated.rewards_in = ('reward', 'gate')


def weighted(
  *, rewards: Mapping[str, Reward], weights: Mapping[str, float] | None = None, **fields: Any
) -> dict[str, float]:
  r"""Σ_k w_k·r_k.

  Args:
    rewards: by name.
    weights: by the same names, in units of the sum; 1 where there is none.
    fields: of the sample.

  Returns:
    'reward', and each part under its name.

  Raises:
    ValueError: a weight of no reward.

  Examples:
    >>> sample = dict(completion='\\boxed{4}', answer='4', prompt='', tokens=(1,))
    >>> parts = {'right': 'rewards.exact_answer', 'noise': 'rewards.random_reward'}
    >>> print(rewards.weighted(rewards=parts, weights={'noise': 0.0}, **sample)['reward'])
    1.0
  """
  _check_weights(rewards, weights)
  found = _ask(rewards, fields)
  weights = weights or {}
  total = sum(weights.get(name, 1.0) * part['reward'] for name, part in found.items())
  return {'reward': total, **_all_named(found)}


def _check_weights(rewards: Mapping[str, Any], weights: Mapping[str, float] | None = None) -> None:
  for name in weights or {}:
    if name not in rewards:
      raise ValueError(
        f'weighted: a weight of {name!r}{binding.near(name, rewards)}; '
        f'the rewards are {", ".join(rewards)}'
      )


weighted.rewards_in = ('rewards',)
weighted.check = _check_weights


def all_of(
  *, rewards: Mapping[str, Reward], threshold: float = 0.5, **fields: Any
) -> dict[str, float]:
  r"""1 if every reward is at least the threshold, else 0; all are asked.

  Args:
    rewards: by name.
    threshold: in units of each.
    fields: of the sample.

  Returns:
    'reward', and each part under its name.

  Examples:
    >>> sample = dict(completion='\\boxed{4}', answer='4', prompt='', tokens=(1, 2))
    >>> never = {'name': 'rewards.random_reward', 'probability': 0.0}
    >>> both = {'right': 'rewards.exact_answer', 'lucky': never}
    >>> print(rewards.all_of(rewards=both, **sample)['reward'])
    0.0
  """
  found = _ask(rewards, fields)
  passed = all(part['reward'] >= threshold for part in found.values())
  return {'reward': float(passed), **_all_named(found)}


all_of.rewards_in = ('rewards',)


def calibrated(
  *, reward: Reward, pattern: Reward, threshold: float = 0.5, alpha: float = 0.1, **fields: Any
) -> dict[str, float]:
  """r + α·p where the reward r is below the threshold, r elsewhere.

  For a reward that calls right answers wrong: among those it rejects, the ones that look like
  reasoning are rejected less.

  Args:
    reward: that is doubted where it is low.
    pattern: p, such as `rewards.patterns.phrases`.
    threshold: in units of the reward.
    alpha: in units of the reward.
    fields: of the sample.

  Returns:
    'reward', the components of the first one, 'uncalibrated' (what it was), and 'pattern' with
    what belongs to it.

  Examples:
    >>> sample = dict(completion='so 5', answer='4', prompt='', tokens=(1,))
    >>> pattern = {'name': 'rewards.random_reward', 'probability': 1.0}  # whatever it says
    >>> found = rewards.calibrated(reward='rewards.exact_answer', pattern=pattern, **sample)
    >>> print(found['reward'], found['uncalibrated'])
    0.1 0.0

  Source: The Climb Carves Wisdom Deeper Than the Summit: On the Noisy Rewards in Learning to
    Reason (2025).
  Differs from the source: formula not confirmed against the paper.
  """
  found = nesting.nested(reward, 'reward')(fields)
  seen = nesting.nested(pattern, 'pattern')(fields)
  value = found['reward']
  lifted = value + alpha * seen['reward'] if value < threshold else value
  return {**found, 'reward': lifted, 'uncalibrated': value, **_named('pattern', seen)}


calibrated.rewards_in = ('reward', 'pattern')


def routed(
  *,
  rewards: Mapping[str, Reward],
  by: str = 'source',
  default: Reward | None = None,
  **fields: Any,
) -> dict[str, float]:
  r"""The reward of the sample's source, as its prompt's metadata say.

  Args:
    rewards: by source.
    by: the key of the source in the metadata.
    default: of sources without a reward; None = they are an error.
    fields: of the sample.

  Returns:
    'reward', and the part under the name of its source ('default' for other ones).

  Raises:
    ValueError: no source, or one without a reward.

  Examples:
    >>> sample = dict(completion='\\boxed{4}', answer='4', metadata={'source': 'sums'})
    >>> print(rewards.routed(rewards={'sums': 'rewards.exact_answer'}, **sample)['reward'])
    1.0
  """
  source = fields['metadata'].get(by)
  name, reward = (source, rewards[source]) if source in rewards else ('default', default)
  if reward is None:
    raise ValueError(
      f'routed: metadata[{by!r}] is {source!r}; there are rewards for {", ".join(rewards)} and no '
      'default'
    )
  found = nesting.nested(reward, name)(fields)
  return {'reward': found['reward'], **_named(name, found)}


routed.rewards_in = ('rewards', 'default')


def _ask(rewards: Mapping[str, Reward], fields: Mapping[str, Any]) -> dict[str, dict[str, float]]:
  return {name: nesting.nested(rewards[name], name)(fields) for name in rewards}


def _all_named(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
  return {k: v for name, part in found.items() for k, v in _named(name, part).items()}


def _named(name: str, part: Mapping[str, float]) -> dict[str, float]:
  rest = {f'{name}.{key}': value for key, value in part.items() if key != 'reward'}
  return {name: part['reward'], **rest}
