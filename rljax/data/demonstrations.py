"""Demonstrations as a `Rollout`, so that supervised stages use the same batches as RL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rljax.structs import Rollout


def as_rollout(
  prompts: Sequence[Sequence[int]],
  completions: Sequence[Sequence[int]],
  *,
  length: int,
  prompt_ids: Sequence[int],
  said: Sequence[Sequence[bool]] | None = None,
  logprobs: Sequence[Sequence[float] | None] = (),
) -> Rollout:
  """Token ids of prompts and given completions → host `Rollout`, one group a demonstration.

  What is said of a completion carries the action mask; log-probs are 0 where none are given.

  Args:
    prompts, completions: ids; the completion ends with its stop token.
    length: T.
    prompt_ids: names for errors.
    said: for each token of each completion, whether it is learnt; None = all.
    logprobs: of each completion the log-probs of its tokens, nats, under whoever wrote it, or None.

  Raises:
    ValueError: a demonstration is longer than `length`, or has another number of log-probs; names
      it.
  """
  count = len(prompts)
  prompt_length = np.array([len(p) for p in prompts], np.int32)
  num_tokens = prompt_length + np.array([len(c) for c in completions], np.int32)
  for which in np.flatnonzero(num_tokens > length)[:1]:
    raise ValueError(
      f'the demonstration of prompt {prompt_ids[which]} has {num_tokens[which]} tokens; '
      f'max_length allows {length}'
    )
  tokens = np.zeros((count, length), np.int32)
  for row, (prompt, completion) in enumerate(zip(prompts, completions)):
    tokens[row, : num_tokens[row]] = [*prompt, *completion]
  slots = np.arange(length)[None, :]
  mask = slots < num_tokens[:, None]
  action_mask = mask & (slots >= prompt_length[:, None])
  for row, marks in enumerate(said or ()):
    action_mask[row, prompt_length[row] : num_tokens[row]] = marks
  given = np.zeros((count, length), np.float32)
  for row, own in enumerate(logprobs):
    if own is not None and len(own) != len(completions[row]):
      raise ValueError(
        f'the demonstration of prompt {prompt_ids[row]} has {len(own)} log-probs for '
        f'{len(completions[row])} tokens; it needs one for each, the stop token included'
      )
    if own is not None:
      given[row, prompt_length[row] : num_tokens[row]] = own
  return Rollout(
    tokens=tokens,
    mask=mask,
    action_mask=action_mask,
    behavior_logprobs=given,
    policy_logprobs=given,
    policy_step=np.zeros((count, length), np.int32),
    group_ids=np.arange(count, dtype=np.int32),
    draw_ids=np.arange(count, dtype=np.uint32),
    prompt_ids=np.asarray(prompt_ids, np.int32),
    sample_index=np.zeros(count, np.int32),
    prompt_length=prompt_length,
    num_tokens=num_tokens,
    temperature=np.ones(count, np.float32),
    truncated=np.zeros(count, bool),
  )
