"""Advantages from the formulas: loops over samples and tokens."""

import math

import numpy as np


def _members(rewards, group_ids, i):
  return [
    float(r)
    for r, g in zip(rewards, group_ids, strict=True)
    if g == group_ids[i] and math.isfinite(r)
  ]


def _std(values, ddof):
  if len(values) <= ddof:
    return 0.0
  mean = sum(values) / len(values)
  return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - ddof))


def _constant(values):
  return max(values) - min(values) <= 1e-6 * max(1, max(abs(v) for v in values))


def group_normalize(rewards, group_ids, *, center='group', scale='group', epsilon=1e-6, ddof=1):
  everything = [float(r) for r, g in zip(rewards, group_ids, strict=True) if g >= 0]
  everything = [r for r in everything if math.isfinite(r)]
  out = np.zeros(len(rewards))
  for i, (reward, group) in enumerate(zip(rewards, group_ids, strict=True)):
    if group < 0 or not math.isfinite(reward):
      continue
    scopes = {'group': _members(rewards, group_ids, i), 'batch': everything}
    if any(_constant(scopes[s]) for s in {center, scale} - {'none'}):
      continue
    mean = 0.0 if center == 'none' else sum(scopes[center]) / len(scopes[center])
    std = 1.0 if scale == 'none' else _std(scopes[scale], ddof) + epsilon
    out[i] = (reward - mean) / std
  return out


def leave_one_out(rewards, group_ids):
  out = np.zeros(len(rewards))
  for i, (reward, group) in enumerate(zip(rewards, group_ids, strict=True)):
    if group < 0 or not math.isfinite(reward):
      continue
    members = _members(rewards, group_ids, i)
    if not _constant(members):
      out[i] = reward - (sum(members) - reward) / (len(members) - 1)
  return out


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
