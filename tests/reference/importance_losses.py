"""Importance-weighted, off-policy and regression losses from the formulas.

Per token: (value, derivative by ℓ). Of a batch: (values, gradient of Σ cotangent·values).
"""

import math

import numpy as np

# -- per token


def importance_sampling(logprobs, policy_logprobs, advantages):
  value = -advantages * math.exp(logprobs - policy_logprobs)
  return value, value


def truncated_reinforce(
  logprobs, policy_logprobs, advantages, action_mask, *, low=0.0, high=2.0
):
  weight = min(max(math.exp(logprobs - policy_logprobs), low), high)
  return -weight * advantages * logprobs, -weight * advantages


def calibrated_importance(logprobs, policy_logprobs, advantages, *, low=0.2, high=0.2):
  ratio = math.exp(logprobs - policy_logprobs)
  weight = ratio if 1 - low < ratio < 1 + high else 0
  return -weight * advantages * logprobs, -weight * advantages


def opmd_token(logprobs, old_logprobs, advantages, action_mask, *, tau=0.1):
  d = logprobs - old_logprobs
  return -advantages * logprobs + tau / 2 * d**2, -advantages + tau * d


def topr_token(logprobs, policy_logprobs, advantages, action_mask, **hyper):
  weight = _topr_weight(advantages, logprobs - policy_logprobs, **hyper)
  slope = -weight * (advantages - hyper.get('baseline', 0))
  return slope * logprobs, slope


def _topr_weight(advantage, log_ratio, baseline=0.0, positive_weight=1.0, negative_weight=1.0):
  if advantage - baseline >= 0:
    return positive_weight
  return negative_weight * min(math.exp(log_ratio), 1)


def luffy(logprobs, old_logprobs, advantages, is_external, *, gamma=0.1, low=0.2, high=0.2):
  if is_external:
    p = math.exp(logprobs)
    return -advantages * p / (p + gamma), -advantages * p * gamma / (p + gamma) ** 2
  ratio = math.exp(logprobs - old_logprobs)
  plain, clipped = -advantages * ratio, -advantages * min(max(ratio, 1 - low), 1 + high)
  return (plain, plain) if plain >= clipped else (clipped, 0.0)


def multiple_importance(
  logprobs,
  old_logprobs,
  advantages,
  is_external,
  *,
  exploration=0.5,
  uniform=1e-5,
  low=0.2,
  high=0.2,
):
  p, old = math.exp(logprobs), math.exp(old_logprobs)
  if not is_external:
    return luffy(logprobs, old_logprobs, advantages, False, low=low, high=high)
  other = 0.5 * old + 0.5 * uniform
  value = -advantages * (1 - p) ** exploration * p / (0.5 * other + 0.5 * old)
  return value, value


def unified_policy_gradient(
  logprobs,
  old_logprobs,
  advantages,
  is_external,
  *,
  reference='policy',
  external_advantage=1.0,
  low=0.2,
  high=0.2,
):
  if not is_external:
    return luffy(logprobs, old_logprobs, advantages, False, low=low, high=high)
  value = {
    'policy': 1.0, 'one': math.exp(logprobs), 'old': math.exp(logprobs - old_logprobs)
  }[reference]  # fmt: skip
  return -external_advantage * value, -external_advantage * value


def a_lol_token(logprobs, ref_logprobs, advantages, action_mask, *, clip=0.9, ratio='token'):
  found = math.exp(logprobs - ref_logprobs) if ratio == 'token' else 1.0
  weight = max(advantages, 0) * min(max(found, 1 - clip), 1 + clip)
  return -weight * logprobs, -weight


def low_probability_kl(
  logprobs, advantages, proxy_logprobs, low_probability=None, *, max_probability=0.05
):
  low = math.exp(logprobs) < max_probability if low_probability is None else low_probability
  if not low or advantages >= 0 or not math.isfinite(proxy_logprobs) or logprobs >= proxy_logprobs:
    return 0.0, 0.0
  u = math.exp(proxy_logprobs - logprobs)
  return u - 1 - math.log(u), 1 - u


def chord_sft(logprobs, is_external):
  p = math.exp(logprobs)
  weight = p * (1 - p) if is_external else 0
  return -weight * logprobs, -weight


def regularized_policy_gradient(
  logprobs,
  old_logprobs,
  ref_logprobs,
  advantages,
  *,
  divergence='unnormalized_forward',
  kl_coef=1e-4,
  low=0.2,
  high=0.28,
  max_ratio=10.0,
):
  ratio = math.exp(logprobs - old_logprobs)
  rho, s = min(ratio, max_ratio), min(math.exp(ref_logprobs - old_logprobs), max_ratio)
  d = logprobs - ref_logprobs
  kl = {
    'forward': -s,
    'unnormalized_forward': rho - s,
    'reverse': rho * (d + 1),
    'unnormalized_reverse': rho * d,
  }[divergence]
  weight = min(max(ratio, 1 - low), 1 + high) * advantages - kl_coef * kl
  return -weight * logprobs, -weight


def positive_advantage(logprobs, rewards, group_ids, advantages, *, threshold=0.0):
  positive = advantages > threshold
  return (-logprobs, -1.0) if positive else (0.0, 0.0)


# -- completions


def _actions(batch, samples):
  """(sample, its action tokens) of each sample."""
  for sample, places in samples:
    yield sample, [p for p in places if batch['action_mask'][p]]


def _log_ratio(batch, actions, anchor):
  return sum(batch['logprobs'][p] - batch[anchor][p] for p in actions)


def _weighted(batch, cotangent, weights):
  """A loss weight·ℓ per token with constant weights: (values, gradient)."""
  return weights * batch['logprobs'], cotangent * weights


def truncated_sequence(batch, samples, cotangent, *, level, min_ratio=0.0, max_ratio=2.0):
  assert level == 'sequence'
  weights = np.zeros(cotangent.shape)
  for _, actions in _actions(batch, samples):
    ratio = math.exp(_log_ratio(batch, actions, 'policy_logprobs'))
    for p in actions:
      weights[p] = -min(max(ratio, min_ratio), max_ratio) * batch['advantages'][p]
  return _weighted(batch, cotangent, weights)


def a_lol(batch, samples, cotangent, *, clip=0.9):
  weights = np.zeros(cotangent.shape)
  for _, actions in _actions(batch, samples):
    ratio = math.exp(_log_ratio(batch, actions, 'ref_logprobs'))
    for p in actions:
      weights[p] = -max(batch['advantages'][p], 0) * min(max(ratio, 1 - clip), 1 + clip)
  return _weighted(batch, cotangent, weights)


def opmd(batch, samples, cotangent, *, tau=0.1):
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for _, actions in _actions(batch, samples):
    d = _log_ratio(batch, actions, 'old_logprobs')
    pull = -sum(batch['advantages'][p] * batch['logprobs'][p] for p in actions)
    share = sum(cotangent[p] for p in actions)
    for p in actions:
      values[p] = pull + tau / 2 * d**2
      gradient[p] = share * (-batch['advantages'][p] + tau * d)
  return values, gradient


def topr(batch, samples, cotangent, **hyper):
  weights = np.zeros(cotangent.shape)
  for _, actions in _actions(batch, samples):
    log_ratio = _log_ratio(batch, actions, 'policy_logprobs')
    for p in actions:
      a = batch['advantages'][p]
      weights[p] = -_topr_weight(a, log_ratio, **hyper) * (a - hyper.get('baseline', 0))
  return _weighted(batch, cotangent, weights)


def vespo(
  batch,
  samples,
  cotangent,
  *,
  positive_power=2.0,
  positive_decay=3.0,
  negative_power=3.0,
  negative_decay=2.0,
):
  weights = np.zeros(cotangent.shape)
  for _, actions in _actions(batch, samples):
    w = math.exp(_log_ratio(batch, actions, 'policy_logprobs'))
    for p in actions:
      a = batch['advantages'][p]
      k, decay = (
        (positive_power, positive_decay) if a >= 0 else (negative_power, negative_decay)
      )
      weights[p] = -(w**k) * math.exp(decay * (1 - w)) * a
  return _weighted(batch, cotangent, weights)


def srft(
  batch,
  samples,
  cotangent,
  *,
  sft_weight=0.5,
  positive_weight=0.1,
  threshold=0.5,
):
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for sample, actions in _actions(batch, samples):
    entropy = np.mean([batch['entropy'][p] for p in actions])
    for p in actions:
      l, a = batch['logprobs'][p], batch['advantages'][p]
      if batch['is_external'][sample]:
        slope = -sft_weight * math.exp(-entropy)
        values[p] = slope * l - a * math.exp(l)
        slope -= a * math.exp(l)
      else:
        right = batch['rewards'][sample] > threshold
        slope = -positive_weight * math.exp(entropy) if right else 1.0
        values[p] = slope * l
      gradient[p] = cotangent[p] * slope
  return values, gradient


def positive_nll(batch, samples, cotangent, *, threshold=0.0):
  weights = np.zeros(cotangent.shape)
  for sample, actions in _actions(batch, samples):
    for p in actions:
      weights[p] = -1.0 if batch['rewards'][sample] > threshold else 0.0
  return _weighted(batch, cotangent, weights)


def nft(
  batch,
  samples,
  cotangent,
  *,
  threshold=0.5,
  negative_weight=1.0,
  floor=1.0,
  prompt_weight='dr_grpo',
):
  right = {i: batch['rewards'][i] > threshold for i, _ in samples}
  group = batch['group_ids']
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for sample, actions in _actions(batch, samples):
    members = [right[i] for i, _ in samples if group[i] == group[sample]]
    q = sum(members) / len(members)
    if q in (0, 1):
      continue
    omega = {'none': 1, 'dr_grpo': 1 - q, 'grpo': math.sqrt((1 - q) / q)}[prompt_weight]
    for p in actions:
      d = batch['logprobs'][p] - batch['old_logprobs'][p]
      if right[sample]:
        values[p], slope = -omega * d, -omega
      else:
        n = (1 - q * math.exp(d)) / (1 - q)
        values[p] = -omega * negative_weight * math.log(max(n, floor))
        slope = omega * negative_weight * q * math.exp(d) / (1 - q) / max(n, floor)
      gradient[p] = cotangent[p] * slope
  return values, gradient
