"""The temperature of the samples, moved so that they stay as random as they should be."""

from __future__ import annotations

import math

from rljax import hosts
from rljax.rollouts.single_turn import Experience


def entropy_temperature(
  temperature: float,
  entropy: float,
  *,
  target: float = 0.3,
  rate: float = 0.5,
  low: float = 0.3,
  high: float = 1.5,
) -> float:
  """T ← clip(T·exp(rate·(target − H)), low, high).

  Args:
    temperature: T of the last iteration.
    entropy: H of its samples at that temperature, nats per token; not finite = T stays.
    target: entropy to hold, nats per token.
    rate: of the change, per nat.
    low, high: of the temperature, above 0.

  Returns:
    T of the next iteration.

  Raises:
    ValueError: an impossible range.

  Examples:
    >>> print(rollouts.entropy_temperature(1.0, 0.1), rollouts.entropy_temperature(1.0, 0.9))
    1.1052 0.7408

  Source: AceReason-Nemotron 1.1: Advancing Math and Code Reasoning through SFT and RL Synergy
    (2025): the temperature is chosen so that the entropy at it stays around 0.3.
  Differs from the source: a controller makes the choice, every iteration.
  Fidelity: adapted
  """
  if not 0 < low <= high:
    raise ValueError(f'entropy_temperature: low={low}, high={high}; needs 0 < low ≤ high')
  missing = target - entropy if math.isfinite(entropy) else 0.0
  return min(max(temperature * math.exp(rate * missing), low), high)


def sampled_entropy(experience: Experience) -> float:
  """−mean log-prob of the sampled tokens at their own temperature, nats; NaN without any.

  An unbiased estimate of the entropy per token, without a look at the vocabulary. What others have
  written counts for nothing: its log-probs are unknown.
  """
  rollout = experience.rollout
  drawn = rollout.group_ids >= 0
  drawn[drawn] = experience.is_own & experience.is_here
  sampled = rollout.action_mask & drawn[:, None]
  values = rollout.policy_logprobs[sampled]
  if hosts.count() == 1:
    return -float(values.mean()) if len(values) else math.nan
  count, summed = hosts.total([len(values), values.sum()], 'the entropy of the samples')
  return -float(summed / count) if count else math.nan
