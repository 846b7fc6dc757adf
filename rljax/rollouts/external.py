"""Samples of the policy, and completions that others have written in their groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.given import PLACES, as_experience, bring, hard_groups, written
from rljax.rollouts.rows import take_scores
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.rollouts.sources import Source
from rljax.structs import PyTree

CHOOSE = ('turns', 'comprehension')


def with_external(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  sources: Mapping[str, Source],
  policy_step: jax.Array | int = 0,
  *,
  num: int = 1,
  accuracy: float | None = None,
  place: str = 'group',
  right: float | None = None,
  choose: str = 'turns',
  answer_after: str = '',
) -> Experience:
  """`single_turn`, and up to `num` completions of each prompt, or of each hard one, by others.

  They are scored by the same reward, in a call of their own, and marked by the extra `is_external`.
  Their log-probs when they were written are unknown: `policy_logprobs` and `behavior_logprobs` are
  0, as if written with probability 1, which losses of hybrid policies assume or replace.

  Args:
    params: of the policy, on the device; may be futures of an update in flight.
    prompts: at most `generate.prompts`, tokenized.
    draw_ids: run-wide number of the draw of each prompt.
    generate: the sampler.
    score: completions → scores.
    sources: name → who writes them.
    policy_step: optimizer step of `params`.
    num: of a group, at most `generate.samples`.
    accuracy: mean reward up to which a group is hard; 0 = all rewards are 0. None: every group gets
      them, and the policy draws `num` samples less.
    place: where they stand, see `given.bring`.
    right: only those with a reward above; None: all.
    choose: which, where the sources offer more than `num`: 'turns': each source has its turn;
      'comprehension': those of whose answer the policy is surest, see `comprehension`.
    answer_after: of 'comprehension': the text after which the answer begins.

  Returns:
    The samples with their scores; extra: `is_external` bool [N]. Metrics of reward and rollout are
    those of the policy's samples; 'rollout/external' counts the others, 'rollout/external_missing'
    the groups that should have some and have none, 'rollout/external_reward' is their mean reward.

  Raises:
    ValueError: an argument out of range, or there is an environment.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.with_external', num=2, accuracy=0.0)
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    accuracy = 0.0
    answer_after = ''
    choose = 'turns'
    name = 'rollouts.with_external'
    num = 2
    place = 'group'
    right = None

  Source: Yan et al. 2025, arXiv 2504.14945 (LUFFY): off-policy samples in the group.
  Differs from the source: what is hard, who writes and which is taken are open.
  """
  _check(generate, num, accuracy, place, choose)
  fewer = generate.samples if accuracy is not None else generate.samples - num
  own = single_turn(
    params, prompts, draw_ids, dataclasses.replace(generate, samples=fewer), score, policy_step
  )
  hard = hard_groups(own, accuracy)
  offered = _offers([prompts[g] for g in hard], [draw_ids[g] for g in hard], sources, generate)
  scores = score(offered) if offered else None
  kept = [
    i for i in range(len(offered)) if right is None or scores.rewards[i] > right
  ]  # NaN is not above
  if choose == 'comprehension' and kept:
    known = comprehension(params, offered, own, scores, generate, len(sources), answer_after)
    kept.sort(key=lambda i: -known[i])
  kept = _first(kept, offered, num)
  some = None if scores is None else take_scores(scores, kept)
  found = bring(own, [offered[i] for i in kept], some, generate, place=place)
  rewards = np.zeros(0) if some is None else some.rewards[np.isfinite(some.rewards)]
  told = {'rollout/external_missing': len(hard) - len({offered[i].draw_id for i in kept})}
  if len(rewards):
    told['rollout/external_reward'] = float(rewards.mean())
  return dataclasses.replace(found, metrics={**found.metrics, **told})


with_external.external = True


def _check(
  generate: Generator, num: int, accuracy: float | None, place: str, choose: str
) -> None:
  if generate.environment is not None:
    raise ValueError('with_external: the turns of an environment have no given completions')
  for name, value, known in (('place', place, PLACES), ('choose', choose, CHOOSE)):
    if value not in known:
      raise ValueError(f'with_external: {name} {value!r} is not one of {", ".join(known)}')
  most = generate.samples - (accuracy is None)
  if not 1 <= num <= most:
    raise ValueError(
      f'with_external: num={num} with {generate.samples} samples of a prompt; 1 to {most} can be '
      f'external'
    )
  if place == 'instead' and accuracy is None:
    raise ValueError("with_external: place 'instead' of every group would leave no sample; set "
                     'accuracy')  # fmt: skip


def _offers(prompts, draw_ids, sources, generate) -> list[Completion]:
  """What the sources have for the prompts, a different one first at each draw; none twice."""
  if not prompts:
    return []
  texts = [sources[name](prompts, draw_ids) for name in sorted(sources)]
  found = []
  for i, (prompt, draw) in enumerate(zip(prompts, draw_ids)):
    turn = int(draw) % len(texts)
    own = [some[i] for some in (*texts[turn:], *texts[:turn])]
    for j, text in enumerate(dict.fromkeys(own)):
      if text is not None:
        found.append(written(prompt, text, generate, draw, generate.samples + j))
  return [completion for completion in found if completion is not None]


def _first(order: Sequence[int], offered: Sequence[Completion], num: int) -> list[int]:
  """The first `num` of each draw, in the order of the offers."""
  taken: dict[int, int] = {}
  kept = []
  for i in order:
    draw = offered[i].draw_id
    taken[draw] = taken.get(draw, 0) + 1
    kept += [i] if taken[draw] <= num else []
  return sorted(kept)


def comprehension(
  params: PyTree,
  completions: Sequence[Completion],
  own: Experience,
  scores: Scores,
  generate: Generator,
  num_sources: int,
  answer_after: str = '',
) -> np.ndarray:
  """min(1, exp(mean log-prob of the answer's tokens)) [len(completions)], of the policy.

  The answer is what follows the last `answer_after` of a completion, the end of text included: how
  probable it is after the reasoning of whoever wrote it. '', or where there is none: the whole
  completion.

  Args:
    params: of the policy.
    completions: at most generate.prompts × num_sources.
    own, scores: as in `given.as_experience`.
    generate: the sampler of the policy.
    num_sources: offers of a prompt, at most.
    answer_after: a text.

  Source: AMPO, "More Than One Teacher: Adaptive Multi-Guidance Policy Optimization" (2025).
  Differs from the source: the formula is not confirmed against it; the answer is the one that
    stands in the completion.
  """
  rollout = as_experience(completions, scores, own, generate).rollout
  rows = generate.prompts * num_sources  # of every call, so there is one program
  tokens = np.zeros((rows, rollout.tokens.shape[1]), np.int32)
  lengths = np.ones(rows, np.int32)
  tokens[: len(completions)], lengths[: len(completions)] = rollout.tokens, rollout.num_tokens
  logprobs = np.asarray(generate.program.logprobs(params, tokens, lengths))
  found = np.zeros(len(completions))
  for row, completion in enumerate(completions):
    before, mark, _ = completion.text.rpartition(answer_after) if answer_after else ('', '', '')
    begin = len(before) + len(mark)
    decode, ids = generate.tokenizer.decode, completion.tokens
    first = next((j for j in range(len(ids)) if len(decode(ids[:j])) >= begin), len(ids) - 1)
    start = int(rollout.prompt_length[row])
    found[row] = logprobs[row, start + first : start + len(ids)].mean()
  return np.exp(np.minimum(found, 0))
