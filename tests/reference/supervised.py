"""Per token: (value, derivative with respect to the differentiated argument), from the formulas."""

import math


def dynamic_nll(logprobs):
  return -math.exp(logprobs) * logprobs, -math.exp(logprobs)


def importance_weighted_nll(logprobs, ref_logprobs, *, low=0.2, high=1.8):
  weight = min(max(math.exp(logprobs - ref_logprobs), low), high)
  return -weight * logprobs, -weight


def selective_nll(logprobs, entropy, full_kl, *, max_entropy=1.0, max_kl=0.5):
  if entropy > max_entropy or full_kl > max_kl:
    return 0.0, 0.0
  return -logprobs, -1.0


def handed_on(name, *, factor=1.0, **numbers):
  return factor * numbers[name], factor


def sampled_distillation(logprobs, teacher_logprobs, old_logprobs):
  d = logprobs - teacher_logprobs
  ratio = math.exp(logprobs - old_logprobs)
  return math.exp(-d) - 1 + d, min(ratio, 10.0) * d
