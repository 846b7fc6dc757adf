"""More advantages of tokens from the formulas; arguments and results as in `token_advantages`."""

import math

import numpy as np


def on_actions(batch, samples, value):
  """value(sample) on the action tokens of each sample."""
  out = np.zeros(batch['action_mask'].shape)
  for sample, places in samples:
    for place in places:
      if batch['action_mask'][place]:
        out[place] = value(sample)
  return out


def groups_of(batch, samples):
  """[(sample, its places), …] of the scored samples of each group."""
  found = {}
  for sample, places in samples:
    if batch['group_ids'][sample] >= 0 and math.isfinite(batch['rewards'][sample]):
      found.setdefault(batch['group_ids'][sample], []).append((sample, places))
  return found.values()


def confidence_penalty(batch, samples, *, alpha=1.0, length_norm=False):
  def factor(sample):
    shift = batch['sequence_old_logprobs'][sample] - batch['sequence_ref_logprobs'][sample]
    shift /= max(batch['completion_length'][sample], 1) if length_norm else 1
    return 1 + alpha * math.log(1 + math.exp(shift))

  factors, a = on_actions(batch, samples, factor), batch['advantages']
  return np.where(batch['action_mask'], np.where(a < 0, a * factors, a), 0)


def _norm(batch, place):
  """‖∇ log π‖² in the logits; random arrays are no distribution, so it may be below 0."""
  squares = batch['old_sum_squares'][place]
  return max(1 - 2 * math.exp(batch['old_logprobs'][place]) + squares, 0)


def optimal_baseline(batch, samples):
  found = {}
  for group in groups_of(batch, samples):
    rewards = {sample: batch['rewards'][sample] for sample, _ in group}
    weight = {
      sample: sum(_norm(batch, p) for p in places if batch['action_mask'][p])
      for sample, places in group
    }
    baseline = sum(weight[j] * r for j, r in rewards.items()) / (sum(weight.values()) or 1)
    if len(group) > 1:
      found |= {sample: r - baseline for sample, r in rewards.items()}
  return on_actions(batch, samples, lambda sample: found.get(sample, 0.0))


def prefix_tree(batch, samples, *, scale='group', epsilon=1e-6):
  out = np.zeros(batch['action_mask'].shape)
  for group in groups_of(batch, samples):
    paths = {j: [p for p in places if batch['action_mask'][p]] for j, places in group}
    rewards = [batch['rewards'][j] for j in paths]
    if len(rewards) < 2 or np.ptp(rewards) <= 1e-6:
      continue
    through = {}  # prefix -> rewards of the completions that begin with it
    for j, path in paths.items():
      for length in range(len(path) + 1):
        prefix = tuple(batch['tokens'][p] for p in path[:length])
        through.setdefault(prefix, []).append(batch['rewards'][j])
    value = {prefix: np.mean(found) for prefix, found in through.items()}
    deviation = np.std(rewards, ddof=1) + epsilon if scale == 'group' else 1.0
    for j, path in paths.items():
      prefix = ()
      for place in path:
        longer = (*prefix, batch['tokens'][place])
        moved = value[longer] - value[prefix]
        out[place] = (batch['rewards'][j] - np.mean(rewards) + moved) / deviation
        prefix = longer
  return out
