"""Policy losses with a ratio, from the formulas.

Per token (value, slope); of a sample `(batch, samples, cotangent)` -> values and gradient.
"""

import itertools
import math

import numpy as np


def cispo(logprobs, old_logprobs, advantages, *, low=0.0, high=5.0):
  weight = min(max(math.exp(logprobs - old_logprobs), low), high)
  return -weight * advantages * logprobs, -weight * advantages


def sapo(logprobs, old_logprobs, advantages, *, positive=1.0, negative=1.05):
  ratio = math.exp(logprobs - old_logprobs)
  tau = positive if advantages > 0 else negative
  gate = 1 / (1 + math.exp(-tau * (ratio - 1)))
  return -advantages * 4 / tau * gate, -advantages * 4 * gate * (1 - gate) * ratio


def kl_cov(logprobs, old_logprobs, advantages, covariance_selected, *, penalty=1.0):
  gap = logprobs - old_logprobs
  plain = -advantages * math.exp(gap)
  if not covariance_selected:
    return plain, plain
  return plain + penalty * abs(gap), plain + penalty * math.copysign(1.0, gap)


def dppo_tv(logprobs, policy_logprobs, advantages, *, low=0.2, high=0.2, both=False):
  p, q = math.exp(logprobs), math.exp(policy_logprobs)
  rises, falls = p - q > high, q - p > low
  if (rises and (both or advantages > 0)) or (falls and (both or advantages < 0)):
    return 0.0, 0.0
  return -advantages * p / q, -advantages * p / q


def prime_rl(logprobs, policy_logprobs, advantages, *, penalty=1e-3, **bounds):
  value, slope = dppo_tv(logprobs, policy_logprobs, advantages, **bounds)
  gap = logprobs - policy_logprobs
  return value + penalty * gap**2, slope + 2 * penalty * gap


def dppo_kl(logprobs, policy_logprobs, advantages, *, low=0.05, high=0.05):
  p, q = math.exp(logprobs), math.exp(policy_logprobs)
  other_p, other_q = max(1 - p, 0), max(1 - q, 0)  # the random batch has p > 1
  divergence = q * math.log(q / p) + other_q * math.log((other_q + 1e-8) / (other_p + 1e-8))
  if (advantages > 0 and p > q and divergence > high) or (
    advantages < 0 and p < q and divergence > low
  ):
    return 0.0, 0.0
  return -advantages * p / q, -advantages * p / q


def bounded_gradient_clip(
  logprobs, old_logprobs, advantages, *, low=0.2, high=0.2, beta_low=1.0, beta_high=1.0, dual=None
):
  ratio = math.exp(logprobs - old_logprobs)
  if advantages < 0 and ratio < 1 - low:
    weight = beta_low * (1 - low)
  elif advantages > 0 and ratio > 1 + high:
    weight = beta_high * (1 + high)
  elif dual is not None and advantages < 0 and ratio > dual:
    return -dual * advantages, 0.0
  else:
    weight = ratio
  return -weight * advantages, -weight * advantages


def aspo(logprobs, old_logprobs, advantages, *, low=0.2, high=0.2, dual=3.0):
  ratio = math.exp(logprobs - old_logprobs)
  if advantages > 0:
    if ratio > 1 + high:
      return -advantages / (1 + high), 0.0
    weight = 1 / ratio
  else:
    if ratio < 1 - low:
      return -advantages * (1 - low), 0.0
    weight = ratio
  weight = min(weight, dual)
  return -advantages * weight, -advantages * weight


def banded(ratio, advantages, low, high):
  """PPO's max of two products, for bounds that are ratios."""
  plain, clipped = -advantages * ratio, -advantages * min(max(ratio, low), high)
  return (plain, plain) if plain >= clipped else (clipped, 0.0)


def dcpo(logprobs, old_logprobs, advantages, *, low=0.16, high=0.2, top=10.0):
  q = math.exp(old_logprobs)
  lower = 0.5 + 0.5 * math.sqrt(max(1 - 4 * low / q, 0))
  upper = min(0.5 + 0.5 * math.sqrt(1 + 4 * high / q), top)
  ratio = math.exp(logprobs - old_logprobs)
  if advantages < 0 and ratio > top:
    return -advantages * top, 0.0
  return banded(ratio, advantages, lower, upper)


def bapo(logprobs, policy_logprobs, advantages, ratio_low, ratio_high):
  return banded(math.exp(logprobs - policy_logprobs), advantages, ratio_low, ratio_high)


def approximate_prox_surrogate(
  logprobs, policy_logprobs, advantages, policy_step, step, prox_step, *, low=0.2, high=0.2, top=5.0
):
  alpha = 1.0
  if step != prox_step:
    alpha = float(prox_step - policy_step) / float(step - policy_step)
  prox = policy_logprobs + alpha * (logprobs - policy_logprobs)
  weight = min(math.exp(prox - policy_logprobs), top)
  value, slope = banded(math.exp(logprobs - prox), advantages, 1 - low, 1 + high)
  return weight * value, weight * slope


# -- of a sample -----------------------------------------------------------------------------------


def _per_sample(batch, samples, cotangent, loss):
  """`loss(gaps, advantages)` -> (values, slopes [token of the loss, token of ℓ]) of one sample."""
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for _, places in samples:
    actions = [p for p in places if batch['action_mask'][p]]
    if not actions:
      continue
    gaps = [batch['logprobs'][p] - batch['old_logprobs'][p] for p in actions]
    found, slopes = loss(gaps, [batch['advantages'][p] for p in actions])
    for i, p in enumerate(actions):
      values[p] = found[i]
      for j, other in enumerate(actions):
        gradient[other] += cotangent[p] * slopes[i][j]
  return values, gradient


def gspo(batch, samples, cotangent, *, clip_low=3e-4, clip_high=4e-4):
  def loss(gaps, advantages):
    ratio = math.exp(sum(gaps) / len(gaps))
    pairs = [banded(ratio, a, 1 - clip_low, 1 + clip_high) for a in advantages]
    return [v for v, _ in pairs], [[slope / len(gaps)] * len(gaps) for _, slope in pairs]

  return _per_sample(batch, samples, cotangent, loss)


def gspo_token(batch, samples, cotangent, *, clip_low=3e-4, clip_high=4e-4):
  def loss(gaps, advantages):
    ratio = math.exp(sum(gaps) / len(gaps))
    pairs = [banded(ratio, a, 1 - clip_low, 1 + clip_high) for a in advantages]
    return [v for v, _ in pairs], np.diag([slope for _, slope in pairs])

  return _per_sample(batch, samples, cotangent, loss)


def rltf(logprobs, advantages, is_external, feedback_mask, *, distill=1.0, feedback=0.1):
  weight = feedback if feedback_mask else advantages * (distill if is_external else 1)
  return -weight * logprobs, -weight


def verifree(batch, samples, cotangent):
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for sample, places in samples:
    for p in places:
      weight = batch['rewards'][sample] if batch['reference_mask'][p] else batch['advantages'][p]
      values[p], gradient[p] = -weight * batch['logprobs'][p], -weight * cotangent[p]
  return values, gradient


def sspo(batch, samples, cotangent, *, clip_low=0.1, clip_high=0.1, max_width=2.0):
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for _, places in samples:
    actions = [p for p in places if batch['action_mask'][p]]
    entropies = {p: batch['old_entropy'][p] for p in actions}
    for _, step in itertools.groupby(actions, lambda p: batch['step_ids'][p]):
      step = list(step)
      gaps = [batch['logprobs'][p] - batch['old_logprobs'][p] for p in step]
      ratio = math.exp(sum(gaps) / len(step))
      inside = sum(entropies[p] for p in step) / len(step)
      width = inside / (sum(entropies.values()) / len(actions))
      width = min(max(width, 1 / max_width), max_width)
      for p in step:
        a = batch['advantages'][p]
        values[p], slope = banded(ratio, a, 1 - width * clip_low, 1 + width * clip_high)
        for q in step:
          gradient[q] += cotangent[p] * slope / len(step)
  return values, gradient


def rover(batch, samples, cotangent, *, rho=1.0):
  values, gradient = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
  for _, places in samples:
    for i, p in enumerate(places):
      if not batch['action_mask'][p]:
        continue
      q = rho * (batch['logprobs'][p] - batch['old_logprobs'][p])
      target = batch['advantages'][p]
      if i + 1 < len(places) and batch['action_mask'][places[i + 1]]:
        here = places[i + 1]
        # The mean over the vocabulary of a log-prob is −log V − KL(uniform ‖ π).
        target += rho * (batch['old_self_certainty'][here] - batch['self_certainty'][here])
      values[p] = (q - target) ** 2
      gradient[p] = cotangent[p] * 2 * rho * (q - target)
  return values, gradient


def sequence_clipped(batch, samples, cotangent, *, clip_low=0.2, clip_high=0.2):
  def loss(gaps, advantages):
    pairs = [banded(math.exp(sum(gaps)), a, 1 - clip_low, 1 + clip_high) for a in advantages]
    return [v for v, _ in pairs], [[slope] * len(gaps) for _, slope in pairs]

  return _per_sample(batch, samples, cotangent, loss)


def gmpo(batch, samples, cotangent, *, clip_low=0.4, clip_high=0.4):
  def loss(gaps, advantages):
    clipped, inside = [], []
    for gap, a in zip(gaps, advantages, strict=True):
      bound = min(gap, clip_high) if a > 0 else max(gap, -clip_low) if a < 0 else gap
      clipped.append(bound)
      inside.append(bound == gap)
    mean = math.exp(sum(clipped) / len(gaps))
    slopes = [[-a * mean / len(gaps) * live for live in inside] for a in advantages]
    return [-a * mean for a in advantages], slopes

  return _per_sample(batch, samples, cotangent, loss)


def balanced_bounds(ratios, advantages, *, share=0.5, low=(0.6, 0.9), high=(1.2, 3.0), steps=18):
  """The first pair of bounds, the upper one raised before the lower one, with the share."""
  lows = [low[0] + (low[1] - low[0]) * i / steps for i in range(steps + 1)]
  highs = [high[0] + (high[1] - high[0]) * i / steps for i in range(steps + 1)]
  pairs = [(lows[0], h) for h in highs] + [(b, highs[-1]) for b in lows[1:]]
  for lower, upper in pairs:
    positive = sum(
      a * r for r, a in zip(ratios, advantages, strict=True) if a > 0 and r <= upper
    )
    negative = sum(
      -a * r for r, a in zip(ratios, advantages, strict=True) if a < 0 and r >= lower
    )
    if positive >= share * (positive + negative):
      return lower, upper
  return pairs[-1]
