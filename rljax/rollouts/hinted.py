"""Prompts that the policy cannot solve are sampled again behind the beginning of a solution."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.given import first_solutions, hard_groups
from rljax.rollouts.measures import experience_metrics, prompt_means
from rljax.rollouts.rows import join, select
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.rollouts.sources import Source
from rljax.structs import PyTree


def hinted(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  sources: Mapping[str, Source],
  policy_step: jax.Array | int = 0,
  *,
  fractions: tuple[float, ...] = (0.25, 0.5, 0.75),
  accuracy: float = 0.0,
) -> Experience:
  """`single_turn`; hard groups are sampled again behind growing parts of a solution (GHPO).

  A hint is the first tokens of the completion, given and not learnt: without action mask. The
  reward scores hint and continuation together, which have `generate.max_new_tokens` tokens at most.
  A group is handed on from the first stage at which it is no longer hard, else from the last.

  Args:
    params: of the policy, on the device; may be futures of an update in flight.
    prompts: at most `generate.prompts`, tokenized.
    draw_ids: run-wide number of the draw of each prompt.
    generate: the sampler.
    score: completions → scores.
    sources: name → who writes solutions; of several the first that has one.
    policy_step: optimizer step of `params`.
    fractions: of the solution's tokens that are given, one for each further stage, rising.
    accuracy: mean reward up to which a group is hard; 0 = all rewards are 0.

  Returns:
    The samples with their scores, prompts × samples rows. Metrics of reward and rollout, and the
    means for the curriculum, are of the samples without a hint, but 'rollout/tokens' and
    'rollout/samples' are of all; 'rollout/hinted' counts groups that are handed on with one,
    'rollout/rescued' those of them that are no longer hard, 'rollout/external_missing' hard prompts
    without a solution that fits.

  Raises:
    ValueError: fractions that do not rise within (0, 1], or there is an environment.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.hinted', fractions=(0.5,))
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    accuracy = 0.0
    fractions = (0.5,)
    name = 'rollouts.hinted'

  Source: "GHPO: Adaptive Guidance for Stable and Efficient LLM Reinforcement Learning" (2025).
  Differs from the source: the stages are not confirmed against it; hints stand in the completion
    and not in the prompt; no cold start with hints for all.
  """
  if generate.environment is not None:
    raise ValueError('hinted: the turns of an environment have no given beginning')
  rising = all(low < high for low, high in zip((0, *fractions), fractions))
  if not fractions or not rising or fractions[-1] > 1:
    raise ValueError(f'hinted: fractions={fractions}; they must rise within (0, 1]')
  first = single_turn(params, prompts, draw_ids, generate, score, policy_step)
  rounds, place = [first], {g: (0, g) for g in range(len(prompts))}
  hard = hard_groups(first, accuracy)
  solutions = first_solutions(
    [prompts[g] for g in hard], [draw_ids[g] for g in hard], sources, generate
  )
  known = {g: found.tokens[:-1] for g, found in zip(hard, solutions) if found is not None}
  missing, hard = len(hard) - len(known), list(known)
  for fraction in fractions:
    if not hard:
      break
    hints = [known[g][: math.ceil(fraction * len(known[g]))] for g in hard]
    some, draws = [prompts[g] for g in hard], [draw_ids[g] for g in hard]
    requests = _behind(hints, some, draws, generate, len(rounds), policy_step)
    rollout, completions, extras, _ = generate.sample(params, requests, some)
    rounds.append(Experience(rollout, completions, score(completions), extras))
    place |= {g: (len(rounds) - 1, i) for i, g in enumerate(hard)}
    still = hard_groups(rounds[-1], accuracy)
    hard = [hard[i] for i in still]
  metrics = experience_metrics(first)
  return dataclasses.replace(
    _latest(rounds, place, generate),
    means=list(zip(*prompt_means(first))),
    metrics={
      **{name: x for name, x in metrics.items() if not name.startswith('group/')},
      'rollout/tokens': sum(experience_metrics(r).get('rollout/tokens', 0) for r in rounds),
      'rollout/samples': sum(len(r.completions) for r in rounds),
      'rollout/rounds': len(rounds),
      'rollout/hinted': len(known),
      'rollout/rescued': len(known) - len(hard),
      'rollout/external_missing': missing,
    },
  )


def _behind(hints, prompts, draw_ids, generate, stage, policy_step):
  """Requests for a group behind each hint; their sample indices follow those of earlier stages."""
  size = generate.samples
  each = [hint for hint in hints for _ in range(size)]
  return generate.requests(
    prompts,
    draw_ids,
    policy_step=policy_step,
    prefixes=each,
    max_prefix=generate.max_new_tokens,
    max_new_tokens=[generate.max_new_tokens - len(hint) for hint in each],
    first_sample_index=stage * size,
  )


def _latest(
  rounds: Sequence[Experience], place: Mapping[int, tuple[int, int]], generate: Generator
) -> Experience:
  """The groups, each from the stage and the number there that `place` says."""
  before = np.cumsum([0, *(int(r.rollout.group_ids.max(initial=-1)) + 1 for r in rounds)])
  everything, order = join(rounds), []
  group_ids = np.full(generate.prompts * generate.samples, -1)
  for group, (stage, number) in place.items():
    members = np.flatnonzero(everything.rollout.group_ids == before[stage] + number)
    group_ids[len(order) : len(order) + len(members)] = group
    order += members.tolist()
  return select(everything, np.array(order, np.int64), group_ids)
