"""Random ragged packed minibatches as numpy arrays, named as in `Batch`."""

import numpy as np

M, ROWS, T, S, N = 2, 3, 12, 3, 20


def packed(seed=0):
  """dict: token arrays [M, r, T], sample_ids [M, r, S], sample arrays [N] with unused places.

  Samples lie in random rows; the first tokens of each are a prompt, and some later tokens are
  masked (tool output). Samples 0 … are used; the places of the last ones are empty.
  """
  rng = np.random.default_rng(seed)
  shape = (M, ROWS, T)
  out = {
    'segment_ids': np.full(shape, -1, np.int32),
    'action_mask': np.zeros(shape, bool),
    'sample_ids': np.full((M, ROWS, S), -1, np.int32),
    'sample_slots': np.full(N, -1, np.int32),
  }
  order, used = rng.permutation(N), 0
  for m, r in np.ndindex(M, ROWS):
    slot = 0
    for s in range(rng.integers(1, S + 1)):
      length = rng.integers(3, 6)
      if slot + length > T:
        break
      sample = order[used]
      used += 1
      out['segment_ids'][m, r, slot : slot + length] = s
      out['action_mask'][m, r, slot + 1 : slot + length] = rng.random(length - 1) < 0.8
      out['action_mask'][m, r, slot + length - 1] |= length == 3
      out['sample_ids'][m, r, s] = sample
      out['sample_slots'][sample] = (m * ROWS + r) * S + s
      slot += length
  out['group_ids'] = np.where(out['sample_slots'] >= 0, rng.integers(0, 4, N), -1).astype(np.int32)
  out['rewards'] = rng.normal(size=N)
  out['truncated'] = rng.random(N) < 0.3
  for name in ('token_rewards', 'values', 'new_values', 'returns', 'advantages', 'full_kl'):
    out[name] = rng.normal(size=shape)
  out['entropy'] = rng.random(shape)
  out['logprobs'] = -3 * rng.random(shape)
  for name in ('old_logprobs', 'ref_logprobs', 'policy_logprobs'):
    out[name] = out['logprobs'] + 0.5 * rng.normal(size=shape)
  return out


def samples(batch):
  """(sample, [(m, r, t), …] of its tokens in order) of every sample that lies in the batch."""
  for m, r, s in np.ndindex(M, ROWS, S):
    if batch['sample_ids'][m, r, s] >= 0:
      slots = np.flatnonzero(batch['segment_ids'][m, r] == s)
      yield batch['sample_ids'][m, r, s], [(m, r, t) for t in slots]
