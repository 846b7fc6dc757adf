"""Random ragged rollouts for tests."""

import numpy as np

from rljax.structs import Rollout


def random_rollout(
  seed=0, *, prompts=6, group=4, length=20, vocab=13, ragged_groups=False, dtype=np.float32
) -> tuple[Rollout, np.ndarray]:
  """(rollout of numpy arrays, rewards with one unscorable sample)."""
  rng = np.random.default_rng(seed)
  sizes = rng.integers(2, group + 1, prompts) if ragged_groups else np.full(prompts, group)
  group_ids = np.repeat(np.arange(prompts), sizes).astype(np.int32)
  n = len(group_ids)
  prompt_length = rng.integers(2, length // 3, n).astype(np.int32)
  num_tokens = (prompt_length + rng.integers(1, length // 2, n)).astype(np.int32)
  slots = np.arange(length)[None, :]
  mask = slots < num_tokens[:, None]
  action_mask = mask & (slots >= prompt_length[:, None])
  logprobs = np.where(action_mask, rng.uniform(-4, -1, (n, length)), 0).astype(dtype)
  rewards = rng.integers(0, 3, n).astype(dtype)
  rewards[1] = np.nan
  rollout = Rollout(
    tokens=np.where(mask, rng.integers(0, vocab, (n, length)), 0).astype(np.int32),
    mask=mask,
    action_mask=action_mask,
    behavior_logprobs=logprobs,
    policy_logprobs=logprobs,
    policy_step=np.zeros((n, length), np.int32),
    group_ids=group_ids,
    draw_ids=group_ids.astype(np.uint32),
    prompt_ids=group_ids,
    sample_index=np.concatenate([np.arange(s) for s in sizes]).astype(np.int32),
    prompt_length=prompt_length,
    num_tokens=num_tokens,
    temperature=rng.choice([0.7, 1.0], n).astype(dtype),
    truncated=rng.integers(0, 2, n).astype(bool),
  )
  return rollout, rewards
