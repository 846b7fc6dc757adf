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
