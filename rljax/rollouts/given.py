"""Completions that others have written join the groups of a rollout."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rljax import hosts
from rljax.data.demonstrations import as_rollout
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.measures import experience_metrics, prompt_means
from rljax.rollouts.rows import join, no_routing, select
from rljax.rollouts.single_turn import Experience
from rljax.rollouts.sources import Source

PLACES = ('group', 'alone', 'instead')


def written(
  prompt: Prompt, text: str, generate: Generator, draw_id: int, sample_index: int
) -> Completion | None:
  """A given text as a completion that ends by its stop token; None if it is too long."""
  tokenizer = generate.tokenizer
  tokens = (*tokenizer.encode(text), tokenizer.eos_ids[0])
  if len(tokens) > generate.max_new_tokens:
    return None
  decoded = tokenizer.decode(tokens)
  return Completion(prompt, tokens, decoded, False, int(draw_id), sample_index)


def first_solutions(
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  sources: Mapping[str, Source],
  generate: Generator,
) -> list[Completion | None]:
  """For each prompt what the first source, by name, has that fits; None: there is none."""
  found: list[Completion | None] = [None] * len(prompts)
  for name in sorted(sources):
    left = [i for i, one in enumerate(found) if one is None]
    if not left:
      break
    texts = sources[name]([prompts[i] for i in left], [draw_ids[i] for i in left])
    texts = hosts.agree(list(texts), f'what the source {name} says')
    for i, text in zip(left, texts):
      if text is not None:
        found[i] = written(prompts[i], text, generate, draw_ids[i], generate.samples)
  return found


def hard_groups(own: Experience, accuracy: float | None) -> list[int]:
  """The groups whose mean reward is at most `accuracy`; None: all of them."""
  groups = own.rollout.group_ids[own.rollout.group_ids >= 0]
  means = {int(g): _mean(own.scores.rewards[groups == g]) for g in np.unique(groups)}
  return [g for g, mean in means.items() if accuracy is None or mean <= accuracy]


def _mean(rewards: np.ndarray) -> float:
  rewards = rewards[np.isfinite(rewards)]
  return float(rewards.mean()) if len(rewards) else float('nan')


def as_experience(
  completions: Sequence[Completion], scores: Scores, own: Experience, generate: Generator
) -> Experience:
  """Given completions as samples of the shapes of `own`, each a group of its own.

  Nobody knows with which probability they were written: both log-probs are 0, probability 1.
  """
  like = own.rollout
  rollout = as_rollout(
    [c.prompt.tokens for c in completions],
    [c.tokens for c in completions],
    length=like.tokens.shape[1],
    prompt_ids=[c.prompt.prompt_id for c in completions],
  )
  used = like.group_ids >= 0
  count = len(completions)
  rollout = rollout.replace(
    draw_ids=np.array([c.draw_id for c in completions], np.uint32),
    sample_index=np.array([c.sample_index for c in completions], np.int32),
    truncated=np.array([c.truncated for c in completions], bool),
    temperature=np.full(count, like.temperature[used][0], np.float32),
    policy_step=np.full_like(rollout.policy_step, like.policy_step[used].max()),
    entropy=None if like.entropy is None else np.zeros(rollout.tokens.shape, np.float32),
    routing=no_routing(rollout, like),
  )
  return Experience(rollout, list(completions), scores)


def bring(
  own: Experience,
  completions: Sequence[Completion],
  scores: Scores | None,
  generate: Generator,
  *,
  place: str = 'group',
) -> Experience:
  """Puts given completions beside the policy's own of the same draw, or in their place.

  Args:
    own: samples of the policy, one group a draw.
    completions: of the same draws, at most `generate.samples` of each.
    scores: of them; None if there are none.
    generate: the sampler; a group has `generate.samples` members at most.
    place: 'group': they join the group, and where it is full its members of the lowest reward
      leave, the last ones first; 'alone': as 'group', but they are a group of their own behind it,
      so that no statistic mixes both; 'instead': the whole group leaves.

  Returns:
    prompts × samples rows with the extra `is_external` bool [N]; metrics of reward and rollout are
    those of `own`, so are the means for the curriculum; 'rollout/external' counts the given.
  """
  own_metrics = experience_metrics(own)
  metrics = {k: v for k, v in own_metrics.items() if not k.startswith('group/')}
  metrics['rollout/external'] = len(completions)
  everything, count = own, len(own.rollout.group_ids)
  if completions:
    everything = join([own, as_experience(completions, scores, own, generate)])
  behind = {}
  for i, completion in enumerate(completions):
    behind.setdefault(completion.draw_id, []).append(count + i)
  order, group_ids, number = [], [], 0
  rewards = own.to_rows(own.scores.rewards)
  for group in np.unique(own.rollout.group_ids[own.rollout.group_ids >= 0]):
    members = np.flatnonzero(own.rollout.group_ids == group)
    given = behind.get(int(own.rollout.draw_ids[members[0]]), [])
    room = 0 if given and place == 'instead' else generate.samples - len(given)
    kept = _best(members, rewards, room)
    order += [*kept, *given]
    apart = place == 'alone' and bool(given) and bool(len(kept))
    group_ids += [number] * len(kept) + [number + apart] * len(given)
    number += 1 + apart
  rows = np.full(generate.prompts * generate.samples, -1)
  rows[: len(group_ids)] = group_ids
  found = select(everything, np.array(order, np.int64), rows)
  external = np.zeros(len(rows), bool)
  external[: len(order)] = np.array(order) >= count
  return dataclasses.replace(
    found,
    extras={**found.extras, 'is_external': external},
    metrics=metrics,
    means=list(zip(*prompt_means(own))),
  )


def _best(members: np.ndarray, rewards: np.ndarray, room: int) -> np.ndarray:
  """At most `room` rows, those of the highest rewards, in their order; the first ones of equals."""
  low = np.where(np.isfinite(rewards[members]), -rewards[members], np.inf)
  return np.sort(members[np.argsort(low, kind='stable')[: max(room, 0)]])
