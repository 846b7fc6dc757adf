"""Per token: (value, derivative with respect to the differentiated argument), from the formulas."""

import math

import numpy as np


def dynamic_nll(logprobs):
  return -math.exp(logprobs) * logprobs, -math.exp(logprobs)


def importance_weighted_nll(logprobs, ref_logprobs, *, low=0.2, high=1.8):
  weight = min(max(math.exp(logprobs - ref_logprobs), low), high)
  return -weight * logprobs, -weight


def selective_nll(logprobs, entropy, full_kl, *, max_entropy=1.0, max_kl=0.5):
  if entropy > max_entropy or full_kl > max_kl:
    return 0.0, 0.0
  return -logprobs, -1.0


def pear_nll(batch, samples, cotangent, *, level='sequence', block_size=8, low=0.1, high=10.0):
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for _, places in samples:
    first = next(i for i, p in enumerate(places) if batch['action_mask'][p])
    size = len(places) if level == 'sequence' else block_size
    for begin in range(first, len(places), size):
      block = [p for p in places[begin : begin + size] if batch['action_mask'][p]]
      total = sum(batch['logprobs'][p] - batch['policy_logprobs'][p] for p in block)
      weight = min(max(math.exp(total), low), high)
      for p in block:
        values[p], gradient[p] = -weight * batch['logprobs'][p], -weight * cotangent[p]
  return values, gradient


def handed_on(name, *, factor=1.0, **numbers):
  return factor * numbers[name], factor


def sampled_distillation(logprobs, teacher_logprobs, old_logprobs):
  d = logprobs - teacher_logprobs
  ratio = math.exp(logprobs - old_logprobs)
  return math.exp(-d) - 1 + d, min(ratio, 10.0) * d
