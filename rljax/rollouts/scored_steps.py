"""Samples whose steps are scored one by one, besides the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from rljax import binding
from rljax.prompts import Completion, Prompt
from rljax.rewards.scorer import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.structs import PyTree


def step_scored(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
  *,
  scores: str | Callable[..., Sequence[tuple[str, float]]],
) -> Experience:
  """`single_turn`, and the score of each step of a completion on the token that ends it.

  Args:
    params, prompts, draw_ids, generate, score, policy_step: as in `single_turn`.
    scores: `scores(completion, answer) -> [(text of a step, its score), …]`, or its dotted name;
      the texts are the completion, cut. Called in this process.

  Returns:
    The samples with their scores; extras: `token_rewards` float32 [N, T] and `step_ids` int32
    [N, T], from 0 in each completion. What ends the text belongs to its last step.

  Raises:
    ValueError: an environment is there, or the texts are not those of the completion.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.step_scored', scores='my_steps.scores')
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    name = 'rollouts.step_scored'
    scores = 'my_steps.scores'
  """
  if generate.environment is not None:
    raise ValueError('step_scored: turns of an environment are not cut into steps; leave it out')
  judge = binding.resolve(scores) if isinstance(scores, str) else scores
  found = single_turn(params, prompts, draw_ids, generate, score, policy_step)
  rollout = found.rollout
  token_rewards = np.zeros(rollout.tokens.shape, np.float32)
  step_ids = np.zeros(rollout.tokens.shape, np.int32)
  for row, completion in zip(np.flatnonzero(rollout.group_ids >= 0), found.completions):
    steps = list(judge(completion.text, completion.prompt.answer))
    if ''.join(text for text, _ in steps) != completion.text:
      raise ValueError(f'step_scored: the steps {steps!r} are not {completion.text!r}, cut')
    if not steps:
      continue
    tokens, first = completion.tokens, int(rollout.prompt_length[row])
    starts = np.array([len(generate.tokenizer.decode(tokens[:j])) for j in range(len(tokens))])
    ends = np.cumsum([len(text) for text, _ in steps])
    numbers = np.minimum(np.searchsorted(ends, starts, side='right'), len(steps) - 1)
    step_ids[row, first : first + len(tokens)] = numbers
    for end, (_, value) in zip(ends, steps):
      token_rewards[row, first + max(np.searchsorted(starts, end) - 1, 0)] += value
  extras = {**found.extras, 'token_rewards': token_rewards, 'step_ids': step_ids}
  return dataclasses.replace(found, extras=extras)
