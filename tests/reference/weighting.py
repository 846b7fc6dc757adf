"""Aggregation from the formulas: the scalar loss of unweighted losses, sample by sample.

Losses are [M, r, T], or [M, r, S] on the places of samples.
"""

import numpy as np


def _per_sample(loss, batch, samples):
  """(group, [token losses]) of each sample with at least one loss token."""
  for sample, places in samples:
    tokens = [loss[p] for p in places if batch['action_mask'][p]]
    if tokens:
      yield batch['group_ids'][sample], tokens


def token_mean(loss, batch, samples):
  return np.mean([x for _, tokens in _per_sample(loss, batch, samples) for x in tokens])


def token_sum(loss, batch, samples):
  return sum(x for _, tokens in _per_sample(loss, batch, samples) for x in tokens)


def seq_mean_token_mean(loss, batch, samples):
  return np.mean([np.mean(tokens) for _, tokens in _per_sample(loss, batch, samples)])


def seq_mean_token_sum(loss, batch, samples):
  return np.mean([np.sum(tokens) for _, tokens in _per_sample(loss, batch, samples)])


def fixed_length(loss, batch, samples, *, max_completion_length):
  return seq_mean_token_sum(loss, batch, samples) / max_completion_length


def prompt_mean(loss, batch, samples):
  groups = {}
  for group, tokens in _per_sample(loss, batch, samples):
    groups.setdefault(group, []).extend(tokens)
  return np.mean([np.mean(tokens) for tokens in groups.values()])


def apart(loss, batch, samples, *, external, own_coef, external_coef):
  assert external == 'seq_mean_token_mean'
  own = [pair for pair in samples if not batch['is_external'][pair[0]]]
  others = [pair for pair in samples if batch['is_external'][pair[0]]]
  total = 0.0
  for part, mean, coef in (
    (own, token_mean, own_coef),
    (others, seq_mean_token_mean, external_coef),
  ):
    if any(batch['action_mask'][p] for _, places in part for p in places):
      total += coef * mean(loss, batch, part)
  return total


def _places(loss, batch, samples):
  """(group, loss at its place) of each sample with at least one loss token."""
  for sample, places in samples:
    if any(batch['action_mask'][p] for p in places):
      yield batch['group_ids'][sample], loss[(*places[0][:2], batch['segment_ids'][places[0]])]


def sample_mean(loss, batch, samples):
  return np.mean([x for _, x in _places(loss, batch, samples)])


def group_mean(loss, batch, samples):
  groups = {}
  for group, x in _places(loss, batch, samples):
    groups[group] = groups.get(group, 0) + x
  return np.mean(list(groups.values()))


def attention_mean(loss, batch, samples, *, focus):
  places = [p for _, own in samples for p in own if batch['action_mask'][p]]
  entropy = np.array([batch['old_attention_entropy'][p] for p in places])
  z = (entropy - entropy.mean()) / entropy.std()
  soft = 1 / (1 + np.exp(focus * z))
  return sum(w * loss[p] for w, p in zip(soft, places)) / soft.sum()
