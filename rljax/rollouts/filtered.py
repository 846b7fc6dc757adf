"""Prompts are drawn until enough groups teach something."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.measures import experience_metrics, prompt_means
from rljax.rollouts.rows import join, select
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.structs import PyTree

KEEP = ('varied', 'band')
SHORTFALL = ('partial', 'fill', 'error')


class ShortfallError(RuntimeError):
  """Too few groups passed the filter."""


def dynamic_sampling(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  next_prompts: Callable[[int], tuple[Sequence[Prompt], Sequence[int]]],
  policy_step: jax.Array | int = 0,
  *,
  max_rounds: int = 10,
  keep: str = 'varied',
  low: float = 0.0,
  high: float = 1.0,
  on_shortfall: str = 'partial',
) -> Experience:
  """Samples further prompts until as many groups as there were prompts pass a filter (DAPO).

  Groups are handed on in the order in which they were drawn; those behind the last that is needed
  are surplus. A further round asks for as many prompts as are missing over the share that has
  passed so far, within what one call of the sampler holds.

  Args:
    params: of the policy, on the device; may be futures of an update in flight.
    prompts: of the first round, at most `generate.prompts`, tokenized.
    draw_ids: run-wide number of the draw of each prompt.
    generate: the sampler.
    score: completions → scores.
    next_prompts: `next_prompts(count) -> (prompts, draw_ids)`: the next ones; may give fewer.
    policy_step: optimizer step of `params`.
    max_rounds: calls of the sampler at most.
    keep: 'varied': groups whose rewards differ (max − min > 1e-6·max(1, max|R|)); 'band': groups
      with low < mean reward < high. Rewards that are not finite do not count.
    low, high: of 'band', both excluded.
    on_shortfall: when too few have passed: 'partial': the rows of the others stay empty; 'fill':
      groups that did not pass take their places, in drawing order; 'error'.

  Returns:
    The samples that are handed on, prompts × samples rows at most, with the metrics of everything
    that was sampled, and the prompts that are not handed on with their mean rewards.

  Raises:
    ShortfallError: too few groups passed, and on_shortfall is 'error'.
    ValueError: an unknown keep or on_shortfall.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.dynamic_sampling', keep='band', high=0.8)
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    high = 0.8
    keep = 'band'
    low = 0.0
    max_rounds = 10
    name = 'rollouts.dynamic_sampling'
    on_shortfall = 'partial'

  Source: Yu et al. 2025, arXiv 2503.14476 (DAPO), section 3.2.
  Differs from the source: the number of prompts of a further round; rewards that are not binary;
    a limit of rounds.
  Fidelity: faithful
  """
  for name, value, known in (('keep', keep, KEEP), ('on_shortfall', on_shortfall, SHORTFALL)):
    if value not in known:
      raise ValueError(f'dynamic_sampling: {name} {value!r} is not one of {", ".join(known)}')
  wanted = len(prompts)
  rounds, passed = [], np.zeros(0, bool)
  while True:
    rounds.append(single_turn(params, prompts, draw_ids, generate, score, policy_step))
    passed = np.append(passed, _passes(rounds[-1], len(prompts), keep, low, high))
    missing = wanted - int(passed.sum())
    if missing <= 0 or len(rounds) == max_rounds:
      break
    share = passed.mean()
    ask = int(np.ceil(missing / share)) if share else generate.prompts
    prompts, draw_ids = next_prompts(min(ask, generate.prompts))
    if not len(prompts):
      break
  everything = join(rounds)
  if missing > 0 and on_shortfall == 'error':
    raise ShortfallError(
      f'dynamic_sampling: {wanted - missing} of {wanted} groups have passed keep={keep!r} after '
      f'{len(rounds)} rounds ({len(passed)} groups); raise max_rounds, or take a better policy'
    )
  chosen = np.flatnonzero(passed)[:wanted]
  if on_shortfall == 'fill':
    rest = np.setdiff1d(np.arange(len(passed)), chosen)[: wanted - len(chosen)]
    chosen = np.sort(np.append(chosen, rest))
  handed_on = _of_groups(everything, chosen, rows=generate.prompts * generate.samples)
  ids, means = prompt_means(everything)
  others = np.setdiff1d(np.arange(len(passed)), chosen)
  return dataclasses.replace(
    handed_on,
    further_means=[(ids[g], float(means[g])) for g in others],
    metrics={
      **experience_metrics(everything),
      'rollout/rounds': len(rounds),
      'rollout/samples': len(everything.completions),
      'rollout/generated_groups': len(passed),
      'rollout/dropped_groups': int(np.sum(~passed)),
      'rollout/surplus_groups': max(-missing, 0),
      'rollout/missing_groups': max(missing, 0),
    },
  )


def _passes(
  experience: Experience, count: int, keep: str, low: float, high: float
) -> np.ndarray:
  """bool [count]: whether each group of one round passes."""
  groups = experience.rollout.group_ids[experience.rollout.group_ids >= 0]
  out = np.zeros(count, bool)
  for g in range(count):
    rewards = experience.scores.rewards[groups == g]
    rewards = rewards[np.isfinite(rewards)]
    if not len(rewards):
      continue
    if keep == 'varied':
      out[g] = np.ptp(rewards) > 1e-6 * max(1.0, np.abs(rewards).max())
    else:
      out[g] = low < rewards.mean() < high
  return out


def _of_groups(experience: Experience, chosen: np.ndarray, rows: int) -> Experience:
  """The chosen groups, numbered from 0 on, in a rollout of `rows` rows."""
  group_ids = np.full(rows, -1)
  members = [np.flatnonzero(experience.rollout.group_ids == g) for g in chosen]
  sizes = [len(own) for own in members]
  group_ids[: sum(sizes)] = np.repeat(np.arange(len(chosen)), sizes)
  return select(experience, np.concatenate([*members, np.zeros(0, np.int64)]), group_ids)
