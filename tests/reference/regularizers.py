"""Per token: (value, derivative with respect to the differentiated argument), from the formulas."""

import math

import numpy as np


def k3(d):
  return math.exp(-d) - 1 + d


def estimators(d):
  return {'k1': d, 'k2': d * d / 2, 'k3': k3(d), 'absolute': abs(d)}


def reverse_kl(
  logprobs,
  ref_logprobs,
  old_logprobs,
  policy_logprobs=0.0,
  *,
  max_ratio=10.0,
  max_value=10.0,
  mismatch_correction=False,
):
  d = logprobs - ref_logprobs
  ratio = math.exp(logprobs - old_logprobs)
  if mismatch_correction:
    ratio *= math.exp(old_logprobs - policy_logprobs)
  return min(k3(d), max_value), min(ratio, max_ratio) * d


def full_reverse_kl(full_kl):
  return full_kl, 1.0


def k1_in_loss(logprobs, ref_logprobs):
  return logprobs - ref_logprobs, 1.0


def k2_in_loss(logprobs, ref_logprobs, *, value='k2'):
  d = logprobs - ref_logprobs
  return estimators(d)[value], d


def forward_k3(logprobs, ref_logprobs):
  d = logprobs - ref_logprobs
  return k3(d), 1 - math.exp(-d)


def absolute_in_loss(logprobs, ref_logprobs):
  d = logprobs - ref_logprobs
  return abs(d), math.copysign(1, d)


def ratio_k1(logprobs, ref_logprobs, old_logprobs):
  d, ratio = logprobs - ref_logprobs, math.exp(logprobs - old_logprobs)
  return ratio * d, ratio * (d + 1)


def ratio_k3(logprobs, ref_logprobs, old_logprobs):
  d, ratio = logprobs - ref_logprobs, math.exp(logprobs - old_logprobs)
  return ratio * k3(d), ratio * d


def sequence_kl(batch, samples, cotangent, *, estimator='k3'):
  """Of the whole batch: (values, gradient of Σ cotangent·values), sample after sample."""
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for _, places in samples:
    actions = [p for p in places if batch['action_mask'][p]]
    for t, place in enumerate(actions):
      product = 1.0
      for earlier in actions[: t + 1]:
        product *= math.exp(batch['logprobs'][earlier] - batch['old_logprobs'][earlier])
      d = batch['logprobs'][place] - batch['ref_logprobs'][place]
      estimate = estimators(d)[estimator]
      values[place] = product * estimate
      for earlier in actions[: t + 1]:
        gradient[earlier] += cotangent[place] * product * estimate
      slope = 1.0 if estimator == 'k1' else 1 - math.exp(-d)
      gradient[place] += cotangent[place] * product * slope
  return values, gradient


# kind -> (f, f') of u = π/ref, with any multiple of u − 1 in f.
DIVERGENCES = {
  'reverse_kl': (lambda u: u * math.log(u), lambda u: math.log(u) + 1),
  'forward_kl': (lambda u: -math.log(u), lambda u: -1 / u),
  'jensen_shannon': (
    lambda u: (u * math.log(2 * u / (1 + u)) + math.log(2 / (1 + u))) / 2,
    lambda u: math.log(2 * u / (1 + u)) / 2,
  ),
  'chi_squared': (lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1)),
  'total_variation': (lambda u: abs(u - 1) / 2, lambda u: (u > 1) / 2 - (u < 1) / 2),
}


def divergence(kind, alpha=0.5):
  """(f, f') of a kind."""
  if kind != 'alpha':
    return DIVERGENCES[kind]
  scale = alpha * (alpha - 1)
  return lambda u: (u**alpha - 1) / scale, lambda u: alpha * u ** (alpha - 1) / scale


def f_divergence(
  logprobs,
  ref_logprobs,
  old_logprobs,
  *,
  kind='jensen_shannon',
  alpha=0.5,
  max_ratio=10.0,
  max_value=10.0,
):
  f, slope = divergence(kind, alpha)
  u = math.exp(logprobs - ref_logprobs)
  ratio = min(math.exp(logprobs - old_logprobs), max_ratio)
  value = (f(u) - slope(1) * (u - 1)) / u
  return min(ratio * value, max_value), ratio * (slope(u) - slope(1))


def kl_reward(old_logprobs, ref_logprobs):
  return old_logprobs - ref_logprobs, 0.0


def k3_reward(old_logprobs, ref_logprobs):
  return k3(old_logprobs - ref_logprobs), 0.0


def peak_entropy(nucleus_entropy, peaks):
  return -peaks * nucleus_entropy, -peaks


def reward_aware_kl(full_forward_kl, reward_weight):
  return reward_weight * full_forward_kl, reward_weight


def rehearsal(logprobs, policy_logprobs, is_external, *, kind='forward_kl', alpha=0.5):
  if not is_external:
    return 0.0, 0.0
  u = math.exp(logprobs - policy_logprobs)
  if kind == 'forward_kl':
    return -math.log(u), -1.0
  if kind == 'jensen_shannon':
    middle = (u + 1) / 2
    return 0.5 * (u * math.log(u / middle) - math.log(middle)), 0.5 * u * math.log(u / middle)
  value = (u**alpha - alpha * u - 1 + alpha) / (alpha * (alpha - 1))
  return value, (u**alpha - u) / (alpha - 1)


def entropy_bonus(entropy):
  return -entropy, -1.0


def sampled_entropy_bonus(logprobs, old_logprobs, *, max_ratio=10.0):
  ratio = min(math.exp(logprobs - old_logprobs), max_ratio)
  return ratio * logprobs, ratio * (logprobs + 1)


def importance_entropy(logprobs, old_logprobs):
  value, slope = sampled_entropy_bonus(logprobs, old_logprobs, max_ratio=math.inf)
  return -value, -slope


def adaptive_kl(measured, num_samples, coefficient, *, target=0.1, horizon=10000.0):
  """The β that follows `coefficient`."""
  error = min(max(measured / target - 1, -0.2), 0.2)
  return coefficient * (1 + error * num_samples / horizon)


def adaptive_entropy(measured, coefficient, *, target=0.2, delta=0.005, low=0.0, high=1.0):
  """(the coefficient that acts, the c that follows `coefficient`)."""
  if measured < target:
    coefficient += delta
  elif measured > target:
    coefficient -= delta
  coefficient = min(max(coefficient, low), high)
  return (coefficient if measured <= target else 0.0), coefficient
