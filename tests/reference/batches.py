"""Random ragged packed minibatches as numpy arrays, named as in `Batch`."""

import zlib

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
  return out | _further(out, seed)


def _further(batch, seed):
  """The other arrays that a function of the loss pass may ask for; each has its own stream."""
  shape, tokens = batch['logprobs'].shape, batch['action_mask']

  def rng(name):
    return np.random.default_rng([seed, zlib.crc32(name.encode())])

  out = {
    'tokens': rng('tokens').integers(0, 9, shape).astype(np.int32),
    'positions': np.broadcast_to(np.arange(T, dtype=np.int32), shape).copy(),
    'policy_step': rng('policy_step').integers(0, 5, shape).astype(np.int32),
    'behavior_logprobs': batch['policy_logprobs'].copy(),
    'step': np.int32(7),
    'prox_step': np.int32(4),
    'is_external': rng('is_external').random(N) < 0.3,
    'role_ids': rng('role_ids').integers(0, 2, N).astype(np.int32),
    'temperature': rng('temperature').choice([0.7, 1.0], N),
    'scores': rng('scores').normal(size=N),
  }
  teacher = 0.5 * rng('teacher_logprobs').normal(size=shape)
  out['teacher_logprobs'] = batch['logprobs'] + teacher
  for name in (
    *('old_entropy', 'sum_squares', 'old_sum_squares', 'self_certainty', 'old_self_certainty'),
    'old_attention_entropy',
  ):
    out[name] = rng(name).random(shape)
  for name in (
    *('teacher_reverse_kl', 'teacher_forward_kl', 'teacher_jsd', 'teacher_top_k_kl'),
    'stored_kl',
  ):
    out[name] = rng(name).random(shape)
  out['token_scores'] = rng('token_scores').normal(size=shape)
  for name in ('num_tokens', 'prompt_length'):
    out[name] = np.zeros(N, np.int32)
  out['completion_length'] = np.zeros(N, np.float32)
  prefixes = ('', 'old_', 'ref_', 'policy_', 'teacher_')
  for prefix in prefixes:
    out[f'sequence_{prefix}logprobs'] = np.zeros(N)
  for sample, places in samples(batch):
    actions = [p for p in places if tokens[p]]
    first = actions[0] if actions else places[-1]
    out['positions'][places[0][:2]][[p[2] for p in places]] = np.arange(len(places))
    out['num_tokens'][sample] = len(places)
    out['prompt_length'][sample] = places.index(first)
    out['completion_length'][sample] = len(actions)
    for prefix in prefixes:
      total = sum((batch | out)[f'{prefix}logprobs'][p] for p in actions)
      out[f'sequence_{prefix}logprobs'][sample] = total
  return out


def samples(batch):
  """(sample, [(m, r, t), …] of its tokens in order) of every sample that lies in the batch."""
  for m, r, s in np.ndindex(M, ROWS, S):
    if batch['sample_ids'][m, r, s] >= 0:
      slots = np.flatnonzero(batch['segment_ids'][m, r] == s)
      yield batch['sample_ids'][m, r, s], [(m, r, t) for t in slots]
