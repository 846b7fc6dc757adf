"""Selections from their formulas, with loops: (keep, counted), [M, r, T] or [N]."""

import itertools
import math

import numpy as np


def _finish(keep, everything, denominator):
  return keep, (everything if denominator == 'all' else keep).copy()


# -- samples


def _groups(batch):
  """The scored samples of each group."""
  groups = {}
  for i, (r, g) in enumerate(zip(batch['rewards'], batch['group_ids'], strict=True)):
    if g >= 0 and math.isfinite(r):
      groups.setdefault(int(g), []).append(i)
  return list(groups.values())


def _by_group(batch, members, denominator):
  """`members`: samples of a group -> those that are kept."""
  keep, scored = np.zeros(len(batch['rewards']), bool), np.zeros(len(batch['rewards']), bool)
  for group in _groups(batch):
    scored[group] = True
    keep[list(members(group))] = True
  return _finish(keep, scored, denominator)


def overlong_filter(batch, samples, *, denominator='kept'):
  used = batch['group_ids'] >= 0
  keep = np.array([u and not t for u, t in zip(used, batch['truncated'], strict=True)])
  return _finish(keep, used, denominator)


def own_samples(batch, samples):
  keep = np.array(
    [g >= 0 and not out for g, out in zip(batch['group_ids'], batch['is_external'], strict=True)]
  )
  return keep, keep


def zero_variance(batch, samples, *, denominator='kept'):
  def members(group):
    r = [batch['rewards'][i] for i in group]
    return group if max(r) - min(r) > 1e-6 * max(1, *map(abs, r)) else []

  return _by_group(batch, members, denominator)


def pass_rate_band(batch, samples, *, low=0.0, high=1.0, denominator='kept'):
  def members(group):
    return group if low < np.mean([batch['rewards'][i] for i in group]) < high else []

  return _by_group(batch, members, denominator)


def with_feedback(batch, samples, *, denominator='kept'):
  def members(group):
    return (i for i in group if batch['rewards'][i] != 0)

  return _by_group(batch, members, denominator)


def unanimous_filter(batch, samples, *, threshold=0.5, denominator='kept'):
  def members(group):
    return group if len({bool(batch['rewards'][i] > threshold) for i in group}) == 2 else []

  return _by_group(batch, members, denominator)


def downsample(batch, samples, *, count=8, rule='shortest', denominator='kept'):
  def members(group):
    r, length = batch['rewards'], batch['completion_length']
    if rule == 'shortest':
      return sorted(group, key=lambda i: length[i])[:count]
    if rule == 'reward_per_token':
      return sorted(group, key=lambda i: -r[i] / max(length[i], 1))[:count]
    if len(group) <= count:
      return group
    return max(itertools.combinations(group, count), key=lambda s: np.var(r[list(s)]))

  return _by_group(batch, members, denominator)


def downsampled_rewards(batch, samples, **hyper):
  keep, _ = downsample(batch, samples, **hyper)
  return np.where(keep, batch['rewards'], np.nan)


# -- tokens


def _finite(batch, samples, *names):
  """The action tokens of each sample at which the named arrays are finite."""
  for _, places in samples:
    actions = [p for p in places if batch['action_mask'][p]]
    yield [p for p in actions if all(math.isfinite(batch[n][p]) for n in names)]


def _collect(batch, tokens, kept, denominator):
  keep, everything = (np.zeros(batch['action_mask'].shape, bool) for _ in range(2))
  for p in tokens:
    everything[p] = True
  for p in kept:
    keep[p] = True
  return _finish(keep, everything, denominator)


def _gap(batch, p):
  """ℓ^μ − ℓ°."""
  return float(batch['policy_logprobs'][p]) - float(batch['old_logprobs'][p])


LOGPROBS = ('old_logprobs', 'policy_logprobs')


def opsm(batch, samples, *, max_divergence=1e-4, denominator='all'):
  tokens, kept = [], []
  for own in _finite(batch, samples, *LOGPROBS):
    far = bool(own) and np.mean([_gap(batch, p) for p in own]) > max_divergence
    tokens += own
    kept += [p for p in own if not (far and batch['advantages'][p] < 0)]
  return _collect(batch, tokens, kept, denominator)


def trust_region_mask(
  batch, samples, *, max_divergence=0.05, mean_divergence=None, denominator='all'
):
  tokens, kept = [], []
  for own in _finite(batch, samples, *LOGPROBS):
    k3 = [math.exp(-_gap(batch, p)) - 1 + _gap(batch, p) for p in own]
    near = max_divergence is None or all(x <= max_divergence for x in k3)
    near = near and (mean_divergence is None or not k3 or np.mean(k3) <= mean_divergence)
    tokens += own
    kept += own if near else []
  return _collect(batch, tokens, kept, denominator)


def m2po(batch, samples, *, threshold=0.04, denominator='all'):
  tokens = [p for own in _finite(batch, samples, *LOGPROBS) for p in own]
  kept = sorted(tokens, key=lambda p: abs(_gap(batch, p)))
  while kept and np.mean([_gap(batch, p) ** 2 for p in kept]) >= threshold:
    kept.pop()
  return _collect(batch, tokens, kept, denominator)


def staleness(batch, samples, *, max_age=8.0, level='sample', denominator='kept'):
  tokens, kept = [], []
  for own in _finite(batch, samples):
    young = [p for p in own if batch['prox_step'] - batch['policy_step'][p] <= max_age]
    tokens += own
    kept += young if level == 'token' or len(young) == len(own) else []
  return _collect(batch, tokens, kept, denominator)


def high_entropy(batch, samples, *, fraction=0.2, denominator='kept'):
  tokens = [p for own in _finite(batch, samples, 'old_entropy') for p in own]
  number = math.ceil(fraction * len(tokens))
  kept = sorted(tokens, key=lambda p: -batch['old_entropy'][p])[:number]
  return _collect(batch, tokens, kept, denominator)


def covariances(batch, samples):
  """{place: (A − mean A)(ℓ° − mean ℓ°)}."""
  tokens = [p for own in _finite(batch, samples, 'old_logprobs', 'advantages') for p in own]
  a, l = ([float(batch[n][p]) for p in tokens] for n in ('advantages', 'old_logprobs'))
  return {
    p: (a[i] - np.mean(a)) * (l[i] - np.mean(l)) for i, p in enumerate(tokens)
  }


def covariance_top(batch, samples, *, fraction=2e-4):
  cov = covariances(batch, samples)
  number = max(math.floor(fraction * len(cov)), 1)
  chosen = sorted((p for p in cov if cov[p] > 0), key=lambda p: -cov[p])[:number]
  return _collect(batch, cov, chosen, 'all')[0]
