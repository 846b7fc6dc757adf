"""Per token: (value, derivative with respect to the differentiated argument), from the formulas."""

import math


def clipped_surrogate(logprobs, old_logprobs, advantages, *, low=0.2, high=0.2, dual=None):
  ratio = math.exp(logprobs - old_logprobs)
  bounded = min(max(ratio, 1 - low), 1 + high)
  plain, clipped = -advantages * ratio, -advantages * bounded
  value, slope = (plain, plain) if plain >= clipped else (clipped, 0.0)
  if dual is not None and advantages < 0 and value > -dual * advantages:
    value, slope = -dual * advantages, 0.0
  return value, slope


def clipped_value(new_values, values, returns, *, clip=0.2):
  error = (new_values - returns) ** 2
  if clip is None:
    return error / 2, new_values - returns
  bounded = (min(max(new_values, values - clip), values + clip) - returns) ** 2
  if bounded > error:
    return bounded / 2, 0.0
  return error / 2, new_values - returns


def nll(logprobs):
  return -logprobs, -1.0


def reinforce(logprobs, advantages):
  return -advantages * logprobs, -advantages


def _k3(d):
  return math.exp(-d) - 1 + d


def reverse_kl(logprobs, ref_logprobs, old_logprobs, *, max_ratio=10.0, max_value=10.0):
  d = logprobs - ref_logprobs
  ratio = min(math.exp(logprobs - old_logprobs), max_ratio)
  return min(_k3(d), max_value), ratio * d


def full_reverse_kl(full_kl):
  return full_kl, 1.0


def forward_k3(logprobs, ref_logprobs):
  d = logprobs - ref_logprobs
  return _k3(d), 1 - math.exp(-d)


def k1_in_loss(logprobs, ref_logprobs):
  return logprobs - ref_logprobs, 1.0


def kl_reward(old_logprobs, ref_logprobs):
  return old_logprobs - ref_logprobs, 0.0


def entropy_bonus(entropy):
  return -entropy, -1.0


def sampled_entropy_bonus(logprobs, old_logprobs, *, max_ratio=10.0):
  ratio = min(math.exp(logprobs - old_logprobs), max_ratio)
  return ratio * logprobs, ratio * (logprobs + 1)
