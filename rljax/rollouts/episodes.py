"""Episodes: samples whose turns an environment answers, on threads of the host, while others are
being drawn.

What is heard is appended as ids; nothing that was drawn is ever tokenized again.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from rljax.environments import Episode, Reply, Turn
from rljax.prompts import Completion, Prompt
from rljax.rollouts.programs import LiveRollout
from rljax.structs import PyTree, Requests, Rollout
from rljax.tokenization import Tokenizer

if TYPE_CHECKING:
  from rljax.rollouts.generate import Generator

NUM_WINDOWS = 2  # of the sampler between two looks at which turns have ended
THREADS = 16  # of tools; most wait for processes or a network


@dataclasses.dataclass
class Sample:
  """One episode as far as it has come.

  Attributes:
    prompt: of the sample.
    seed: of the episode.
    rollout: of [T], as the sample was last handed out.
    rewards: float32 [T], of the turns, each at its last token.
    known: tokens of the sample before its present turn.
    turns: said so far.
    heard: tokens of observations.
    counts: of the replies.
    said: text of the last turn.
    failure: what went wrong.
    episode: who answers; None before the first turn.
    is_over: nothing more will come.
  """

  prompt: Prompt
  seed: int
  rollout: Rollout
  rewards: np.ndarray
  known: int
  turns: int = 0
  heard: int = 0
  counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  said: str = ''
  failure: str = ''
  episode: Episode | None = None
  is_over: bool = False

  def turn(self, rollout: Rollout, tokenizer: Tokenizer) -> Turn:
    """The turn that has just ended."""
    tokens = tuple(rollout.tokens[self.known : rollout.num_tokens].tolist())
    self.rollout, self.said, self.turns = rollout, tokenizer.decode(tokens), self.turns + 1
    return Turn(tokens, self.said, bool(rollout.truncated), self.turns - 1)

  def reply(self, turn: Turn, generate: Generator) -> tuple[Reply, list[int]]:
    """(the answer to a turn, what is heard of it); runs on a thread, beside those of others."""
    if self.episode is None:
      self.episode = generate.environment.reset(self.prompt, self.seed)
    found = self.episode.step(turn)
    if found.done:
      return found, []
    ids, most = found.observation, generate.environment.max_observation
    if isinstance(ids, str):
      ids = generate.tokenizer.encode(ids)
    if len(ids) > most:  # without its middle
      found = dataclasses.replace(found, counts={**found.counts, 'cut': 1})
      ids = [*ids[: most - most // 2], *ids[len(ids) - most // 2 :]]
    return found, list(ids)

  def take(self, reply: concurrent.futures.Future) -> tuple[Reply, list[int]]:
    """What `reply` has found; a failure ends the episode."""
    try:
      found, ids = reply.result()
    except Exception as error:
      self.failure = f'{type(error).__name__}: {error}'[:200]
      found, ids = Reply(done=True, counts={'failures': 1}), []
    self.counts.update(found.counts)
    self.rewards[self.rollout.num_tokens - 1] = found.reward
    return found, ids


class Play:
  """The episodes of one rollout; see `play`."""

  def __init__(self, generate: Generator, requests: Requests, prompts: Sequence[Prompt]):
    self.generate, self.prompts = generate, prompts
    self.group_ids = np.asarray(requests.group_ids)
    self.samples: dict[int, Sample] = {}

  @property
  def is_over(self) -> bool:
    started = len(self.samples) == np.sum(self.group_ids >= 0)
    return bool(started) and all(sample.is_over for sample in self.samples.values())

  def turn(self, row: int, rollout: Rollout) -> Turn:
    """What a sample has just said."""
    if row not in self.samples:
      key = (self.generate.seed, int(rollout.draw_ids), int(rollout.sample_index))
      self.samples[row] = Sample(
        prompt=self.prompts[self.group_ids[row]],
        seed=hash(key) & 0x7FFFFFFF,
        rollout=rollout,
        rewards=np.zeros(len(rollout.tokens), np.float32),
        known=int(rollout.prompt_length),
      )
    return self.samples[row].turn(rollout, self.generate.tokenizer)

  def answer(self, live: LiveRollout, replies: dict[int, concurrent.futures.Future]) -> bool:
    """Lets samples hear what was said to them; those that are over leave their slots.

    Returns:
      Whether any sample goes on.
    """
    going_on = {}
    for row, reply in replies.items():
      found, ids = self.samples[row].take(reply)
      if not found.done:
        going_on[row] = ids
    refused = live.append(going_on)
    for row in replies:
      sample = self.samples[row]
      sample.is_over = row not in going_on or row in refused
      if not sample.is_over:
        sample.heard += len(going_on[row])
        sample.known = int(sample.rollout.num_tokens) + len(going_on[row])
    for row in refused:
      rollout = self.samples[row].rollout
      self.samples[row].rollout = rollout.replace(truncated=np.ones_like(rollout.truncated))
    live.release([row for row in replies if self.samples[row].is_over])
    return len(refused) < len(going_on)

  def collect(self) -> tuple[Rollout, list[Completion], dict[str, np.ndarray], dict[str, Any]]:
    """What `play` returns."""
    used = sorted(self.samples)
    own = [self.samples[row] for row in used]

    def to_rows(*values):
      out = np.zeros((len(self.group_ids), *values[0].shape), values[0].dtype)
      out[used] = values
      return out

    rollout = jax.tree.map(to_rows, *(sample.rollout for sample in own))
    rollout = rollout.replace(
      group_ids=self.group_ids.astype(np.int32),
      temperature=np.where(self.group_ids >= 0, rollout.temperature, 1).astype(np.float32),
    )
    extras = {
      'turn_ids': rollout.turn_ids,
      'token_rewards': to_rows(*(sample.rewards for sample in own)),
    }
    completions = [
      self._with_episode(completion, sample)
      for completion, sample in zip(self.generate.completions(rollout, self.prompts), own)
    ]
    names = sorted({name for sample in own for name in sample.counts})
    metrics = {
      'rollout/turns': float(np.mean([sample.turns for sample in own])),
      'rollout/heard': float(np.mean([sample.heard for sample in own])),
      **{f'tools/{n}': float(np.mean([sample.counts[n] for sample in own])) for n in names},
    }
    return rollout, completions, extras, metrics

  def _with_episode(self, completion: Completion, sample: Sample) -> Completion:
    facts = {
      'turns': sample.turns,
      'return': float(sample.rewards.sum()),
      **({} if sample.episode is None else sample.episode.outcome()),
    }
    prompt = completion.prompt
    return dataclasses.replace(
      completion,
      prompt=dataclasses.replace(prompt, metadata={**prompt.metadata, 'episode': facts}),
      text=sample.said,
      transcript=completion.text,
      failure=sample.failure,
    )


def play(
  generate: Generator, params: PyTree, requests: Requests, prompts: Sequence[Prompt]
) -> tuple[Rollout, list[Completion], dict[str, np.ndarray], dict[str, Any]]:
  """Whole episodes.

  A sample says a turn, which ends by a stop text of the environment, by the tokenizer's end of text
  or by a limit; the environment answers or ends the episode. An answer for which there is no room
  ends it too, as truncated. One that raises ends it, is counted, and its sample has no reward.

  When a tool answers decides with which others a sample is drawn on. So tokens repeat but at near
  ties, log-probs to rounding, and a run and its resume are equal to rounding and not to the bit.

  Args:
    generate: the sampler, with an environment.
    params: of the policy.
    requests: numpy, of `generate.requests`.
    prompts: of the requests; `group_ids` index them.

  Returns:
    (rollout in numpy, completions, extras `turn_ids` int32 and `token_rewards` float32 [N, T],
    metrics `rollout/turns`, `rollout/heard` (tokens), `tools/*`, means over the episodes). The text
    of a completion is its last turn; its prompt's metadata has 'episode': what `Episode.outcome`
    says, with 'turns' and 'return' (the sum of rewards).
  """
  own = Play(generate, requests, prompts)
  live = generate.start(params, requests)
  waiting: dict[concurrent.futures.Future, int] = {}
  woken = False  # since `finished` was dispatched
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
    finished = live.advance(NUM_WINDOWS)
    while not own.is_over:
      following = live.advance(NUM_WINDOWS)
      rows, rollouts, is_idle = live.read(finished)
      for i, row in enumerate(rows.tolist()):
        turn = own.turn(row, jax.tree.map(lambda x, i=i: x[i], rollouts))
        waiting[pool.submit(own.samples[row].reply, turn, generate)] = row
      if is_idle and waiting and not woken:
        concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
      there = [future for future in waiting if future.done()]
      woken = own.answer(live, {waiting.pop(future): future for future in there})
      finished = following
  return own.collect()
