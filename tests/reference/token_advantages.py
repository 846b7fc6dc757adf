"""Advantages of tokens from the formulas: one sample after the other, one token after the other."""

import math

import numpy as np
from reference.advantages import _std


def gae(batch, samples, *, gamma=1.0, gae_lambda=0.95, whiten=True, bootstrap_truncated=False):
  """(advantages, returns) [M, r, T], one sample after the other, from its last token backwards."""
  advantages = np.zeros(batch['values'].shape)
  returns, steps = advantages.copy(), []
  for sample, places in samples:
    if not math.isfinite(batch['rewards'][sample]):
      continue
    actions = [p for p in places if batch['action_mask'][p]]
    if not actions:
      continue
    reward = {p: 0.0 for p in actions}
    latest = None
    for p in places:
      latest = p if p in reward else latest
      if latest is not None:
        reward[latest] += batch['token_rewards'][p]
    reward[actions[-1]] += batch['rewards'][sample]
    if bootstrap_truncated and batch['truncated'][sample]:
      reward[actions[-1]] += gamma * batch['values'][actions[-1]]
    value, advantage = 0.0, 0.0
    for p in reversed(actions):
      delta = reward[p] + gamma * value - batch['values'][p]
      advantage = delta + gamma * gae_lambda * advantage
      value = batch['values'][p]
      advantages[p], returns[p] = advantage, advantage + value
    steps += actions
  if whiten:
    chosen = [advantages[p] for p in steps]
    mean, std = sum(chosen) / len(chosen), math.sqrt(_std(chosen, 1) ** 2 + 1e-8)
    for p in steps:
      advantages[p] = (advantages[p] - mean) / std
  return advantages, returns
