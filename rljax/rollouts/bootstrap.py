"""The policy as its own teacher: with a right and a wrong answer before its eyes it explains."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from rljax.data.demonstrations import as_rollout
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.likelihood import row_logprobs
from rljax.rollouts.measures import experience_metrics
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.structs import PyTree, Rollout
from rljax.tokenization import prompt_tokens

TEACHER_DRAWS = 1 << 31  # their noise is none of the first draws


def soft_bootstrap(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
  *,
  template: str = '{prompt}\nA right answer: {right}\nA wrong answer: {wrong}\nExplain: ',
  threshold: float = 0.5,
  num_top: int = 16,
  max_context: int = 1024,
) -> Experience:
  r"""Completions of the policy behind a privileged context, handed on behind the bare prompt.

  Of each prompt `generate.samples` completions are drawn; the first right one and the most common
  wrong one, as texts, make the context. From it as many are drawn again, each token with the best
  entries of its distribution, and the right ones are kept. A prompt without a right or a wrong one
  teaches nothing.

  Args:
    params, prompts, draw_ids, generate, policy_step: as in `single_turn`.
    score: completions → scores, of first and of second draws; a second one is a completion of the
      bare prompt.
    template: of the context; '{prompt}', '{right}' and '{wrong}' stand for texts.
    threshold: a completion with a reward above it is right.
    num_top: k, entries that are recorded of each token.
    max_context: tokens of the longest context; a longer one is an error.

  Returns:
    The second draws that are right behind their bare prompts, `is_external`, and their scores; rows
    of all others are empty. Extras: `stored_ids` int32 and `stored_logprobs` float32 [N, T, k].

  Raises:
    ValueError: an environment, prompts of a chat, or a context that is too long.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.soft_bootstrap', threshold=0.5, num_top=8)
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    max_context = 1024
    name = 'rollouts.soft_bootstrap'
    num_top = 8
    template = '{prompt}\nA right answer: {right}\nA wrong answer: {wrong}\nExplain: '
    threshold = 0.5

  Source: SSB, "Semantic Soft Bootstrapping: Long Context Reasoning in LLMs without Reinforcement
    Learning" (2025).
  Differs from the source: formula not confirmed against the paper; the temperature of the teacher's
    distribution is that of the draws; texts are compared where the paper compares answers.
  Fidelity: recalled
  """
  if generate.environment is not None:
    raise ValueError('soft_bootstrap: contexts are of one turn; leave out the environment')
  first = single_turn(params, prompts, draw_ids, generate, score, policy_step)
  groups = first.rollout.group_ids[first.rollout.group_ids >= 0]
  contexts: dict[int, str] = {}
  for g, prompt in enumerate(prompts):
    members = np.flatnonzero(groups == g)
    pair = _right_and_wrong(first, members, threshold)
    if pair:
      contexts[g] = template.format(prompt=prompt.text, right=pair[0], wrong=pair[1])
  asked = [_asked(generate, prompts[g], text, max_context) for g, text in contexts.items()]
  teacher = dataclasses.replace(
    generate,
    max_prompt=max_context,
    capture=(*generate.capture, 'top'),
    sampler={**generate.sampler, 'num_top': num_top},
  )
  said: list[Completion] = []
  kept, scores, top = np.zeros(0, int), first.scores, None
  if asked:
    numbers = [TEACHER_DRAWS + int(draw_ids[g]) % TEACHER_DRAWS for g in contexts]
    requests = teacher.requests(asked, numbers, policy_step=policy_step)
    top, said, _, _ = teacher.sample(params, requests, asked)
    bare = [g for g in contexts for _ in range(generate.samples)]
    said = [
      dataclasses.replace(c, prompt=prompts[g], draw_id=int(draw_ids[g]))
      for g, c in zip(bare, said)
    ]
    scores = score(said)
    kept = np.flatnonzero(scores.rewards > threshold)
  chosen = [said[i] for i in kept]
  rollout = _behind_bare_prompts(params, generate, chosen, list(draw_ids), policy_step)
  return Experience(
    rollout,
    chosen,
    dataclasses.replace(
      scores,
      rewards=scores.rewards[kept],
      components={name: x[kept] for name, x in scores.components.items()},
    ),
    {
      'is_external': rollout.group_ids >= 0,
      **_stored(rollout, chosen, top, kept, num_top),
    },
    {
      **experience_metrics(first),
      'rollout/tokens': sum(len(c.tokens) for c in (*first.completions, *said)),
      'rollout/samples': len(first.completions) + len(said),
      'method/soft_bootstrap/contexts': len(contexts) / len(prompts),
      'method/soft_bootstrap/kept': len(kept) / max(len(said), 1),
    },
  )


def _right_and_wrong(
  first: Experience, members: np.ndarray, threshold: float
) -> tuple[str, str] | None:
  """The first right completion of a group, and its most common wrong one."""
  rewards = first.scores.rewards
  right = [first.completions[i].text for i in members if rewards[i] > threshold]
  wrong = [first.completions[i].text for i in members if rewards[i] <= threshold]
  return (right[0], collections.Counter(wrong).most_common(1)[0][0]) if right and wrong else None


def _asked(generate: Generator, prompt: Prompt, text: str, most: int) -> Prompt:
  """The context as a prompt."""
  if prompt.messages is not None:
    raise ValueError(f'soft_bootstrap: prompt {prompt.prompt_id} is a chat, not plain text')
  asked = dataclasses.replace(prompt, text=text, tokens=())
  tokens = prompt_tokens(generate.tokenizer, asked)
  if len(tokens) > most:
    raise ValueError(
      f'soft_bootstrap: the context of prompt {prompt.prompt_id} has {len(tokens)} tokens; '
      f'max_context is {most}'
    )
  return dataclasses.replace(asked, tokens=tokens)


def _behind_bare_prompts(
  params: PyTree,
  generate: Generator,
  chosen: Sequence[Completion],
  draws: Sequence[int],
  policy_step: jax.Array | int,
) -> Rollout:
  """The completions in the first rows, with the log-probs that the policy gives them there."""
  rows = generate.prompts * generate.samples
  empty = [()] * (rows - len(chosen))
  ids = np.array([c.prompt.prompt_id for c in chosen] + [-1] * len(empty), np.int32)
  texts = [[*c.prompt.tokens, *c.tokens] for c in chosen]
  known = row_logprobs(params, generate, texts, generate.max_length) if texts else []
  rollout = as_rollout(
    [*(c.prompt.tokens for c in chosen), *empty],
    [*(c.tokens for c in chosen), *empty],
    length=generate.max_length,
    prompt_ids=ids,
    logprobs=[x[len(c.prompt.tokens) :] for x, c in zip(known, chosen)],
  )

  def filled(values, unused, dtype):
    return np.array([*values, *[unused] * len(empty)], dtype)

  return rollout.replace(
    group_ids=filled([draws.index(c.draw_id) for c in chosen], -1, np.int32),
    draw_ids=filled([c.draw_id for c in chosen], 0, np.uint32),
    sample_index=filled([c.sample_index for c in chosen], 0, np.int32),
    temperature=filled([generate.temperature] * len(chosen), 1, np.float32),
    truncated=filled([c.truncated for c in chosen], False, bool),
    policy_step=np.where(rollout.action_mask, np.asarray(policy_step), 0).astype(np.int32),
  )


def _stored(
  rollout: Rollout,
  chosen: Sequence[Completion],
  drawn: Rollout | None,
  kept: np.ndarray,
  num_top: int,
) -> dict[str, np.ndarray]:
  """What was recorded of each token, at its place behind the bare prompt."""
  shape = (*rollout.tokens.shape, num_top)
  ids, logprobs = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
  sources = [] if drawn is None else np.flatnonzero(drawn.group_ids >= 0)[kept]
  for row, (source, completion) in enumerate(zip(sources, chosen)):
    size, start = len(completion.tokens), int(rollout.prompt_length[row])
    begin = int(drawn.prompt_length[source])
    ids[row, start : start + size] = drawn.top_ids[source, begin : begin + size]
    logprobs[row, start : start + size] = drawn.top_logprobs[source, begin : begin + size]
  return {'stored_ids': ids, 'stored_logprobs': logprobs}
