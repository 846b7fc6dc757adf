"""Mismatch corrections from their formulas, sample by sample: (weight, counted) [M, r, T]."""

import math

import numpy as np


def _usable(batch, samples):
  """(sample, {place: log w}) of its action tokens with finite log-probs."""
  for sample, places in samples:
    found = {}
    for p in places:
      gap = float(batch['old_logprobs'][p]) - float(batch['policy_logprobs'][p])
      if batch['action_mask'][p] and math.isfinite(gap):
        found[p] = gap
    yield sample, found


def _collect(batch, samples, of_sample, denominator='all'):
  """`of_sample`: {place: log w} -> {place: (weight, kept)}."""
  weight = np.zeros(batch['action_mask'].shape)
  counted = np.zeros(batch['action_mask'].shape, bool)
  for _, gaps in _usable(batch, samples):
    for p, (w, kept) in of_sample(gaps).items():
      weight[p] = w if kept else 0
      counted[p] = kept or denominator == 'all'
  return weight, counted


def _exp(log_weight):
  return math.exp(min(max(log_weight, -20), 20))


def token_truncate(batch, samples, *, max_weight=2.0, min_weight=0.0):
  def of_sample(gaps):
    return {p: (max(min(_exp(g), max_weight), min_weight), True) for p, g in gaps.items()}

  return _collect(batch, samples, of_sample)


def sequence_truncate(batch, samples, *, max_weight=2.0):
  def of_sample(gaps):
    w = min(_exp(sum(gaps.values())), max_weight)
    return {p: (w, True) for p in gaps}

  return _collect(batch, samples, of_sample)


def token_mask(batch, samples, *, min_weight=0.5, max_weight=5.0, denominator='all'):
  def of_sample(gaps):
    return {p: (_exp(g), min_weight <= _exp(g) <= max_weight) for p, g in gaps.items()}

  return _collect(batch, samples, of_sample, denominator)


def sequence_mask(batch, samples, *, min_weight=0.0, max_weight=3.0, denominator='all'):
  def of_sample(gaps):
    w = _exp(sum(gaps.values()))
    return {p: (w, min_weight <= w <= max_weight) for p in gaps}

  return _collect(batch, samples, of_sample, denominator)


def geometric_mask(batch, samples, *, min_mean=0.999, max_mean=1.002, denominator='all'):
  def of_sample(gaps):
    mean = math.exp(sum(gaps.values()) / max(len(gaps), 1))
    return {p: (_exp(g), min_mean <= mean <= max_mean) for p, g in gaps.items()}

  return _collect(batch, samples, of_sample, denominator)


def k(gap, kind):
  gap = min(max(gap, -20), 20)
  return {'k1': gap, 'k2': gap**2 / 2, 'k3': math.exp(gap) - 1 - gap}[kind]


def divergence_rejection(
  batch,
  samples,
  *,
  level='sequence',
  aggregate='mean',
  kind='k3',
  upper=0.01,
  lower=None,
  weighted=False,
  denominator='all',
):
  upper, lower = math.inf if upper is None else upper, -math.inf if lower is None else lower

  def of_sample(gaps):
    each = {p: k(g, kind) for p, g in gaps.items()}
    inside = {p: lower <= d <= upper for p, d in each.items()}
    if level == 'sequence':
      total = sum(each.values())
      whole = total / max(len(each), 1) if aggregate == 'mean' else total
      verdict = all(inside.values()) if aggregate == 'max' else lower <= whole <= upper
      inside = dict.fromkeys(each, verdict)
    return {p: (_exp(g) if weighted else 1.0, inside[p]) for p, g in gaps.items()}

  return _collect(batch, samples, of_sample, denominator)


def self_normalize(batch, samples, *, level='token', max_weight=None):
  cap = math.inf if max_weight is None else max_weight
  weights, every = {}, []
  for _, gaps in _usable(batch, samples):
    if level == 'sequence':
      own = dict.fromkeys(gaps, min(_exp(sum(gaps.values())), cap))
      every += list(own.values())[:1]
    else:
      own = {p: min(_exp(g), cap) for p, g in gaps.items()}
      every += own.values()
    weights |= own
  mean = sum(every) / len(every)
  return _collect(
    batch, samples, lambda gaps: {p: (weights[p] / mean, True) for p in gaps}
  )


def mismatch_metrics(batch, samples):
  gaps, policy, old, differences, products, missing, total = [], [], [], [], [], 0, 0
  by_sample = dict(_usable(batch, samples))
  for sample, places in samples:
    actions = [p for p in places if batch['action_mask'][p]]
    own = by_sample[sample]
    total, missing = total + len(actions), missing + len(actions) - len(own)
    gaps += own.values()
    policy += [batch['policy_logprobs'][p] for p in own]
    old += [batch['old_logprobs'][p] for p in own]
    if own:
      differences.append(-sum(own.values()) / len(own))
      products.append(math.exp(sum(own.values())))
  w = np.exp(gaps)
  d = np.array(gaps)
  half = (1 + w) / 2
  return {
    'kl': np.mean(-d),
    'k3': np.mean(w - 1 - d),
    'kl_reverse': np.mean(w * d - w + 1),
    'js': np.mean(w * np.log(w / half) + np.log(1 / half)) / 2,
    'ess': 1 / np.mean((w / w.mean()) ** 2),
    'chi2_token': np.mean(w**2) - 1,
    'ratio_mean': w.mean(),
    'ratio_min': w.min(),
    'ratio_max': w.max(),
    'token_mult_prob_error': np.mean(np.exp(np.abs(d))),
    'ppl_policy': np.exp(-np.mean(policy)),
    'ppl_old': np.exp(-np.mean(old)),
    'ppl_ratio': np.exp(-np.mean(old)) / np.exp(-np.mean(policy)),
    'abs_mean': np.mean(np.abs(d)),
    'abs_max': np.max(np.abs(d)),
    'not_finite': missing / total,
    'log_ppl_diff_mean': np.mean(differences),
    'log_ppl_diff_abs_mean': np.mean(np.abs(differences)),
    'log_ppl_diff_min': min(differences),
    'log_ppl_diff_max': max(differences),
    'chi2_seq': np.mean(np.square(products)) - 1,
  }
