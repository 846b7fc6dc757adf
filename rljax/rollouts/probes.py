"""Samples that are asked for their answer behind each of their steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.likelihood import row_logprobs
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.structs import PyTree


def probed(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
  *,
  separator: str,
  marker: str = '',
  saturation: float = 0.9,
) -> Experience:
  """`single_turn`, and a potential of each step: how sure the right answer is, were it due now.

  A step ends with each `separator`. Behind a step the policy is made to answer: `marker`, the
  reference y* = str(answer) and the end of text are scored, and
    Φ_k = ½·(exp Σ_j ℓ_j + exp mean_j ℓ_j),  ℓ_j = log π(y*_j | x, steps 1 … k, y*_<j):
  how likely it is to come out right, and how sure its tokens are. Φ_0 is of the prompt alone;
  behind the last step Φ is the reward, as a fraction. A step that leaves no room for the answer has
  the potential 0.

  Args:
    params, prompts, draw_ids, generate, score, policy_step: as in `single_turn`.
    separator: text that ends a step.
    marker: text that stands before the answer where it is forced.
    saturation: potential from which on further steps are idle.

  Returns:
    The samples with their scores; extras, float32 [N, T], on the tokens of step k:
    `potential_gains` Φ_k − Φ_{k−1}, and `idle_steps` 1 where one of Φ_0 … Φ_{k−1} is at or above
    `saturation` and k is not the last step, which answers; else 0.

  Raises:
    ValueError: an environment, an empty separator, or a prompt without an answer.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.probed', separator=',')
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    marker = ''
    name = 'rollouts.probed'
    saturation = 0.9
    separator = ','

  Source: SPAE, Step Potential Advantage Estimation (2026).
  Differs from the source: the likelihood of the reference for sampled answers; formula not
    confirmed against the paper.
  Fidelity: recalled
  """
  if generate.environment is not None:
    raise ValueError('probed: turns of an environment are not cut into steps; leave it out')
  if not separator:
    raise ValueError("probed: the separator is ''; it is the text that ends a step")
  found = single_turn(params, prompts, draw_ids, generate, score, policy_step)
  rollout = found.rollout
  used = np.flatnonzero(rollout.group_ids >= 0)
  cuts = [_cut(generate, completion, separator) for completion in found.completions]
  probes = [
    _probe(generate, completion, marker, end)
    for completion, steps in zip(found.completions, cuts)
    for end in steps.ends
  ]
  width = rollout.tokens.shape[1]
  rows = {row: None for row in probes if len(row.ids) <= width}
  known = row_logprobs(params, generate, [row.ids for row in rows], width)
  for row, said in zip(rows, known):
    rows[row] = _potential(said[row.start :])
  potentials = iter([rows.get(row, 0.0) for row in probes])
  gains, idle = (np.zeros(rollout.tokens.shape, np.float32) for _ in range(2))
  for row, steps, reward in zip(used, cuts, found.scores.rewards):
    own = [next(potentials) for _ in steps.ends]
    last = float(np.clip(reward, 0, 1)) if np.isfinite(reward) else own[-1]
    first = int(rollout.prompt_length[row])
    place = slice(first, first + len(steps.numbers))
    gains[row, place] = np.diff([*own, last])[steps.numbers]
    full = np.maximum.accumulate(own) >= saturation
    full[-1] = False  # the last step is the answer
    idle[row, place] = full[steps.numbers]
  return dataclasses.replace(
    found,
    extras={**found.extras, 'potential_gains': gains, 'idle_steps': idle},
    metrics={
      **found.metrics,
      'rollout/tokens': int(rollout.action_mask[used].sum()),
      'method/probed/steps': float(np.mean([len(steps.ends) for steps in cuts])),
      'method/probed/no_room': float(np.mean([len(row.ids) > width for row in probes])),
      'method/probed/idle': float(idle[rollout.action_mask].mean()),
    },
  )


class Steps(NamedTuple):
  """The steps of a completion: int [n], the step of each token; tokens before each step."""

  numbers: np.ndarray
  ends: list[int]


class Probe(NamedTuple):
  """Ids of prompt, steps, marker and answer, and the slot at which the answer begins."""

  ids: tuple[int, ...]
  start: int


def _cut(generate: Generator, completion: Completion, separator: str) -> Steps:
  tokens = completion.tokens
  texts = [generate.tokenizer.decode(tokens[:j]) for j in range(len(tokens))]
  counts = np.array([text.count(separator) for text in texts], np.int64)
  starts, numbers = np.unique(counts, return_index=True)[1], np.zeros(len(tokens), np.int64)
  numbers[starts[1:]] = 1  # a token may end several steps at once: one of them is left
  return Steps(np.cumsum(numbers), starts.tolist() or [0])


def _probe(generate: Generator, completion: Completion, marker: str, end: int) -> Probe:
  prompt, encode = completion.prompt, generate.tokenizer.encode
  if prompt.answer is None:
    raise ValueError(f'probed: prompt {prompt.prompt_id} has no answer')
  before = (*prompt.tokens, *completion.tokens[:end], *encode(marker))
  answer = (*encode(str(prompt.answer)), generate.tokenizer.eos_ids[0])
  return Probe((*before, *answer), len(before))


def _potential(logprobs: np.ndarray) -> float:
  """Of the log-probs of an answer, nats; 0 … 1."""
  return float(np.exp(logprobs.sum()) + np.exp(logprobs.mean())) / 2
