"""Samples of the policy, and its second tries with guidance, which join as external members."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from rljax import binding
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.given import bring
from rljax.rollouts.rows import take_scores
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.structs import PyTree
from rljax.tokenization import prompt_tokens


def refined(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
  *,
  guide: str | Callable[[Prompt, str], str | None],
  num: int = 1,
  enough: float = 1.0,
  max_prompt: int = 0,
) -> Experience:
  """`single_turn`, and second tries at what the best completion of a prompt has missed (RGR-GRPO).

  The guide turns a prompt and its best completion into another prompt, for which the policy draws
  `num` completions. They are scored as completions of the first prompt; those that are better than
  the best one join its group, marked by the extra `is_external`: as completions of the prompt
  without guidance nobody has drawn them, and their log-probs are 0, see `given.as_experience`.

  Args:
    params: of the policy, on the device; may be futures of an update in flight.
    prompts: at most `generate.prompts`, tokenized.
    draw_ids: run-wide number of the draw of each prompt.
    generate: the sampler.
    score: completions → scores.
    policy_step: optimizer step of `params`.
    guide: `guide(prompt, completion) -> text of the prompt with guidance`, or its dotted name; None
      where there is nothing to say.
    num: second tries of a prompt.
    enough: a prompt whose best completion has this reward gets none.
    max_prompt: tokens of a prompt with guidance; 0 = those of the stage.

  Returns:
    The samples with their scores, prompts × samples rows; those of the lowest reward make room.
    Metrics of reward and rollout are of first tries, but 'rollout/tokens' and 'rollout/samples' are
    of both; 'rollout/refined' counts second tries, 'rollout/external' those of them that have
    joined.

  Raises:
    ValueError: num out of range, a guided prompt that is too long, or there is an environment.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.refined', guide='my_rubric.guide', num=2)
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    enough = 1.0
    guide = 'my_rubric.guide'
    max_prompt = 0
    name = 'rollouts.refined'
    num = 2

  Source: "Reward and Guidance through Rubrics: Promoting Exploration to Improve Multi-Domain
    Reasoning" (2025, RGR-GRPO).
  Differs from the source: not confirmed against it; the best completion alone is refined, and only
    what is better joins.
  """
  if generate.environment is not None:
    raise ValueError('refined: the turns of an environment have no second try')
  if not 1 <= num <= generate.samples:
    raise ValueError(f'refined: num={num} is not in 1 … {generate.samples}, the size of a group')
  say = binding.resolve(guide) if isinstance(guide, str) else guide
  own = single_turn(params, prompts, draw_ids, generate, score, policy_step)
  best = _best(own, len(prompts))
  told = {
    g: say(prompts[g], own.completions[i].text)
    for g, i in best.items()
    if own.scores.rewards[i] < enough
  }
  told = {g: text for g, text in told.items() if text is not None}
  tries, better, scores = [], [], None
  if told:
    tries = _second_tries(params, told, prompts, draw_ids, generate, policy_step, num, max_prompt)
    scores = score(tries)
    least = {int(draw_ids[g]): own.scores.rewards[best[g]] for g in told}
    better = [i for i, c in enumerate(tries) if scores.rewards[i] > least[c.draw_id]]
    scores = take_scores(scores, better)
  found = bring(own, [tries[i] for i in better], scores, generate)
  more = {'rollout/tokens': sum(len(c.tokens) for c in tries), 'rollout/samples': len(tries)}
  metrics = {**found.metrics, **{name: found.metrics[name] + x for name, x in more.items()}}
  return dataclasses.replace(found, metrics={**metrics, 'rollout/refined': len(tries)})


refined.external = True


def _best(own: Experience, count: int) -> dict[int, int]:
  """Group → place of its completion with the highest reward; none where nothing was scored."""
  groups = own.rollout.group_ids[own.rollout.group_ids >= 0]
  rewards = np.where(np.isfinite(own.scores.rewards), own.scores.rewards, -np.inf)
  places = {g: np.flatnonzero(groups == g) for g in range(count)}
  best = {g: int(some[np.argmax(rewards[some])]) for g, some in places.items() if len(some)}
  return {g: i for g, i in best.items() if np.isfinite(rewards[i])}


def _second_tries(
  params, told, prompts, draw_ids, generate, policy_step, num, max_prompt
) -> list[Completion]:
  """Completions under guidance, as those of the prompts without it."""
  again = dataclasses.replace(
    generate, samples=num, max_prompt=max_prompt or generate.max_prompt
  )
  guided = [
    dataclasses.replace(prompts[g], text=text, messages=None, tokens=()) for g, text in told.items()
  ]
  guided = [
    dataclasses.replace(p, tokens=tuple(prompt_tokens(generate.tokenizer, p))) for p in guided
  ]
  requests = again.requests(
    guided,
    [draw_ids[g] for g in told],
    policy_step=policy_step,
    first_sample_index=generate.samples,
  )
  _, completions, *_ = again.sample(params, requests, guided)
  plain = {int(draw_ids[g]): prompts[g] for g in told}
  return [dataclasses.replace(c, prompt=plain[c.draw_id]) for c in completions]
