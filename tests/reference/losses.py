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


def nll(logprobs):
  return -logprobs, -1.0


def reinforce(logprobs, advantages):
  return -advantages * logprobs, -advantages
