"""Losses of value functions, per token: (value, derivative), from the formulas."""

import itertools
import math

import numpy as np


def _residual(new_values, values, returns, clip):
  """(residual, whether it moves with new_values)."""
  error = new_values - returns
  if clip is None:
    return error, True
  bounded = min(max(new_values, values - clip), values + clip) - returns
  return (bounded, False) if bounded**2 > error**2 else (error, True)


def clipped_value(new_values, values, returns, *, clip=0.2):
  error, moves = _residual(new_values, values, returns, clip)
  return error**2 / 2, error if moves else 0.0


def huber_value(new_values, values, returns, *, delta=1.0, clip=0.2):
  error, moves = _residual(new_values, values, returns, clip)
  if abs(error) <= delta:
    value, slope = error**2 / 2, error
  else:
    value, slope = delta * (abs(error) - delta / 2), math.copysign(delta, error)
  return value, slope if moves else 0.0


def gaussian_histogram(y, *, low, high, num_bins, sigma):
  """Shares of the bins of [low, high] in a Gaussian around y, cut to the range."""
  width = (high - low) / num_bins

  def below(x):
    return (1 + math.erf((x - y) / (sigma * width * math.sqrt(2)))) / 2

  edges = [low + width * i for i in range(num_bins + 1)]
  shares = [below(b) - below(a) for a, b in itertools.pairwise(edges)]
  return np.array(shares) / sum(shares)


def hl_gauss_value(logits, y, *, low, high, num_bins, sigma):
  """(cross-entropy, its derivative with respect to the logits) of one token."""
  share = gaussian_histogram(
    min(max(y, low), high), low=low, high=high, num_bins=num_bins, sigma=sigma
  )
  probability = np.exp(logits) / sum(np.exp(logits))
  return -sum(share * np.log(probability)), probability - share
