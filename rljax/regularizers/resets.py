"""When the reference is renewed: on the host, from what the iterations since the last time say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def reward_stalls(
  mean_rewards: Sequence[float], *, patience: int = 20, min_gain: float = 0.01
) -> bool:
  """mean(last n) − mean(the n before) < min_gain, n = patience: training has stopped to gain.

  Args:
    mean_rewards: of each iteration since the reference is what it is.
    patience: iterations, ≥ 1; never true before twice as many.
    min_gain: units of the reward.

  Returns:
    whether the reference is to be renewed.

  Raises:
    ValueError: patience < 1.

  Examples:
    >>> print(regularizers.reward_stalls([0.1, 0.2, 0.3, 0.4], patience=2))
    False
    >>> print(regularizers.reward_stalls([0.1, 0.4, 0.3, 0.2], patience=2))
    True

  Source: Liu et al. 2025, arXiv 2505.24864 (ProRL): resets when validation stagnates.
  Differs from the source: rule not confirmed against the paper; the training reward stands for the
    validation, which the paper looks at by hand.
  Fidelity: recalled
  """
  if patience < 1:
    raise ValueError(f'reward_stalls: patience={patience}; needs at least 1')
  if len(mean_rewards) < 2 * patience:
    return False
  recent, before = mean_rewards[-patience:], mean_rewards[-2 * patience : -patience]
  return bool(np.mean(recent) - np.mean(before) < min_gain)


def kl_exceeds(kl_refs: Sequence[float], *, limit: float = 0.1, window: int = 5) -> bool:
  """mean(last n) > limit, n = window: the KL term begins to outweigh the reward.

  Args:
    kl_refs: KL to the reference of each iteration since it is what it is, nats per token. To know
      them the host waits for each update.
    limit: nats per token.
    window: iterations, ≥ 1; never true before as many.

  Returns:
    whether the reference is to be renewed.

  Raises:
    ValueError: window < 1.

  Examples:
    >>> print(regularizers.kl_exceeds([0.0, 0.05, 0.2], window=2))
    True
    >>> print(regularizers.kl_exceeds([0.5], window=2))  # too few
    False

  Source: Liu et al. 2025, arXiv 2505.24864 (ProRL): resets when the KL term comes to dominate.
  Differs from the source: rule not confirmed against the paper.
  Fidelity: recalled
  """
  if window < 1:
    raise ValueError(f'kl_exceeds: window={window}; needs at least 1')
  return len(kl_refs) >= window and bool(np.mean(kl_refs[-window:]) > limit)
