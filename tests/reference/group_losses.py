"""Regressions within groups, from the formulas: (values [N], gradient of Σ cotangent·values)."""

import itertools
import math

import numpy as np


def _groups(batch, samples):
  """The samples of each group, in their order in the sample arrays."""
  found = {}
  for sample in sorted(i for i, _ in samples):
    found.setdefault(batch['group_ids'][sample], []).append(sample)
  return found.values()


def _rho(batch, i):
  return batch['sequence_logprobs'][i] - batch['sequence_old_logprobs'][i]


def _std(values):
  return np.std(values, ddof=1) if len(values) > 1 else 0.0


def a_star(batch, samples, cotangent, *, kl_coef=1e-3):
  values, gradient = np.zeros(len(cotangent)), np.zeros(len(cotangent))
  for i, _ in samples:
    d = batch['sequence_logprobs'][i] - batch['sequence_ref_logprobs'][i]
    residual = kl_coef * d - (batch['rewards'][i] - batch['optimal_values'][i])
    values[i], gradient[i] = residual**2, cotangent[i] * 2 * kl_coef * residual
  return values, gradient


def oapl(batch, samples, cotangent, *, value_temperature=1.0, kl_coef=1e-3):
  values, gradient = np.zeros(len(cotangent)), np.zeros(len(cotangent))
  for group in _groups(batch, samples):
    powers = [math.exp(batch['rewards'][i] / value_temperature) for i in group]
    value = value_temperature * math.log(sum(powers) / len(group))
    for i in group:
      d = batch['sequence_logprobs'][i] - batch['sequence_policy_logprobs'][i]
      residual = kl_coef * d - (batch['rewards'][i] - value)
      values[i], gradient[i] = residual**2, cotangent[i] * 2 * kl_coef * residual
  return values, gradient


def rebel(batch, samples, cotangent, *, eta=1.0):
  values, gradient = np.zeros(len(cotangent)), np.zeros(len(cotangent))
  for group in _groups(batch, samples):
    pairs = list(itertools.combinations(group, 2))
    for i, j in pairs:
      gap = (_rho(batch, i) - _rho(batch, j)) / eta - (batch['rewards'][i] - batch['rewards'][j])
      values[group[0]] += gap**2 / len(pairs)
      for k, sign in ((i, 1), (j, -1)):
        gradient[k] += cotangent[group[0]] * sign * 2 * gap / eta / len(pairs)
  return values, gradient


def _squares(batch, samples, cotangent, targets, beta, scale, divisor):
  """Σ_i (target_i − β·(ρ_i − ρ̄)/scale)²/divisor of each group of two or more."""
  values, gradient = np.zeros(len(cotangent)), np.zeros(len(cotangent))
  for group in _groups(batch, samples):
    if len(group) < 2:
      continue
    rho = [_rho(batch, i) for i in group]
    s, share = scale(rho), cotangent[group[0]] / divisor(len(group))
    residuals = [
      t - beta * (r - np.mean(rho)) / s
      for t, r in zip(targets([batch['rewards'][i] for i in group]), rho, strict=True)
    ]
    values[group[0]] = sum(x**2 for x in residuals) / divisor(len(group))
    for k, i in enumerate(group):
      for j, x in enumerate(residuals):
        gradient[i] += share * 2 * x * -beta / s * ((j == k) - 1 / len(group))
  return values, gradient


def gvpo(batch, samples, cotangent, *, beta=0.1):
  def centred(rewards):
    return [r - np.mean(rewards) for r in rewards]

  return _squares(
    batch, samples, cotangent, centred, beta, lambda rho: 1.0, lambda n: 2 * (n - 1)
  )


def reg_grpo(
  batch, samples, cotangent, *, beta=1.0, scale_log_ratio=False, min_std=0.1, epsilon=1e-6
):
  def advantages(rewards):
    return [(r - np.mean(rewards)) / (_std(rewards) + epsilon) for r in rewards]

  def scale(rho):
    return max(_std(rho), min_std) if scale_log_ratio else 1.0

  return _squares(batch, samples, cotangent, advantages, beta, scale, lambda n: n)


def flow_rl(
  batch,
  samples,
  cotangent,
  *,
  beta=15.0,
  clip_low=0.2,
  clip_high=0.2,
  epsilon=1e-6,
  learned=False,
):
  values = np.zeros(len(cotangent))
  gradient = {'sequence_logprobs': np.zeros(len(cotangent))}
  if learned:
    gradient['log_partition'] = np.zeros(len(cotangent))
  for group in _groups(batch, [(i, p) for i, p in samples if batch['completion_length'][i]]):
    rewards = [batch['rewards'][i] for i in group]
    missing = []
    for i in group:
      normal = (batch['rewards'][i] - np.mean(rewards)) / (_std(rewards) + epsilon)
      d = batch['sequence_logprobs'][i] - batch['sequence_ref_logprobs'][i]
      missing.append(d / batch['completion_length'][i] - beta * normal)
    for i, x in zip(group, missing, strict=True):
      residual = x + (batch['log_partition'][i] if learned else -np.mean(missing))
      w = min(max(math.exp(_rho(batch, i)), 1 - clip_low), 1 + clip_high)
      values[i] = w * residual**2
      slope = cotangent[i] * 2 * w * residual
      gradient['sequence_logprobs'][i] = slope / batch['completion_length'][i]
      if learned:
        gradient['log_partition'][i] = slope
  return values, gradient


def pacs(batch, samples, cotangent, *, beta=0.1, threshold=0.5, class_weight='balanced'):
  values, gradient = np.zeros(len(cotangent)), np.zeros(len(cotangent))
  for group in _groups(batch, samples):
    if len(group) < 2:
      continue
    rho = {i: batch['sequence_logprobs'][i] - batch['sequence_ref_logprobs'][i] for i in group}
    labels = {i: int(batch['rewards'][i] > threshold) for i in group}
    for i in group:
      others = [j for j in group if j != i]
      score = beta * (rho[i] - sum(rho[j] for j in others) / len(others))
      chance = 1 / (1 + math.exp(-score))
      same = sum(labels[j] == labels[i] for j in group)
      weight = len(group) / (2 * same) if class_weight == 'balanced' else 1.0
      values[i] = -weight * math.log(chance if labels[i] else 1 - chance)
      slope = cotangent[i] * weight * (chance - labels[i]) * beta
      gradient[i] += slope
      for j in others:
        gradient[j] -= slope / len(others)
  return values, gradient
