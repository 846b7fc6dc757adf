"""Episodes: samples whose turns an environment answers, on threads of the host, while others are
being drawn.

What is heard is appended as ids; nothing that was drawn is ever tokenized again.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from rljax import hosts
from rljax.environments import Episode, Reply, Turn
from rljax.prompts import Completion, Prompt
from rljax.rollouts.programs import LiveRollout
from rljax.structs import PyTree, Requests, Rollout
from rljax.tokenization import Tokenizer

if TYPE_CHECKING:
  from rljax.rollouts.generate import Generator

NUM_WINDOWS = 2  # of the sampler between two looks at which turns have ended
THREADS = 16  # of tools; most wait for processes or a network
SECONDS = 0.2  # that a host waits for its own tools before it hears what those of others say


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
    return found, [int(i) for i in ids]

  def take(self, reply: concurrent.futures.Future) -> tuple[list[int] | None, float]:
    """(what is heard, None = the episode is over; the reward): a failure ends the episode."""
    try:
      found, ids = reply.result()
    except Exception as error:
      self.failure = f'{type(error).__name__}: {error}'[:200]
      found, ids = Reply(done=True, counts={'failures': 1}), []
    self.counts.update(found.counts)
    return None if found.done else ids, float(found.reward)


class Play:
  """The episodes of one rollout; see `play`. Each process answers those whose rows it holds.

  Args:
    generate: the sampler.
    requests: as they are handed to it.
    order: of these among the requests of `play`.
    prompts: of the requests.
  """

  def __init__(
    self, generate: Generator, requests: Requests, order: np.ndarray, prompts: Sequence[Prompt]
  ):
    self.generate, self.order, self.prompts = generate, order, prompts
    self.group_ids = np.asarray(requests.group_ids)
    self.samples: dict[int, Sample] = {}
    self.ended: set[int] = set()  # rows, of all processes

  @property
  def is_over(self) -> bool:
    return len(self.ended) == np.sum(self.group_ids >= 0)

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

  def told(self, replies: dict[int, concurrent.futures.Future]) -> dict[int, list[int] | None]:
    """What is said to samples, on all processes: row → ids, None = the episode is over."""
    own = [(row, *self.samples[row].take(reply)) for row, reply in replies.items()]
    out = {}
    for part in hosts.exchange({'replies': json.dumps(own)}, 'what environments say'):
      for row, ids, reward in json.loads(str(part['replies'])):
        out[row] = ids
        if row in self.samples:
          sample = self.samples[row]
          sample.rewards[sample.rollout.num_tokens - 1] = reward
    return out

  def answer(self, live: LiveRollout, told: Mapping[int, list[int] | None]) -> bool:
    """Lets samples hear what was said to them; those that are over leave their slots.

    Returns:
      Whether any sample goes on.
    """
    going_on = {row: ids for row, ids in told.items() if ids is not None}
    refused = live.append(going_on)
    over = [row for row in told if row not in going_on or row in refused]
    for row in self.samples.keys() & going_on.keys():
      sample = self.samples[row]
      if row in refused:
        rollout = sample.rollout
        sample.rollout = rollout.replace(truncated=np.ones_like(rollout.truncated))
      else:
        sample.heard += len(going_on[row])
        sample.known = int(sample.rollout.num_tokens) + len(going_on[row])
    self.ended |= set(over)
    live.release(over)
    return len(refused) < len(going_on)

  def collect(
    self, requests: Requests, like: Rollout
  ) -> tuple[Rollout, list[Completion], dict[str, np.ndarray], dict[str, Any]]:
    """What `play` returns.

    Args:
      requests: those of `play`.
      like: of any samples; a host may have none.
    """
    generate = self.generate
    places = generate.shares.rows(len(self.order))
    own = [self.samples[row] for row in sorted(self.samples)]
    used = np.isin(places, sorted(self.samples))

    def to_rows(like, *values):
      out = np.zeros((len(places), *like.shape[1:]), like.dtype)
      for place, value in zip(np.flatnonzero(used), values):
        out[place] = value
      return out

    found = jax.tree.map(to_rows, like, *(sample.rollout for sample in own))
    rewards = to_rows(like.policy_logprobs, *(sample.rewards for sample in own))
    rollout, rewards = generate.shares.join((found, rewards), self.order)
    groups = np.asarray(requests.group_ids)
    rollout = rollout.replace(
      group_ids=groups.astype(np.int32),
      temperature=np.where(groups >= 0, rollout.temperature, 1).astype(np.float32),
    )
    rollout = generate.with_prompts(rollout, requests)
    samples = {int(self.order[row]): sample for row, sample in self.samples.items()}
    completions = [
      self._with_episode(completion, samples[row]) if completion.is_here else completion
      for row, completion in zip(
        np.flatnonzero(groups >= 0).tolist(), generate.completions(rollout, self.prompts)
      )
    ]
    extras = {'turn_ids': rollout.turn_ids, 'token_rewards': rewards}
    return rollout, completions, extras, self._metrics()

  def _metrics(self) -> dict[str, float]:
    """Means over the episodes of all processes."""
    counts = collections.Counter()
    for sample in self.samples.values() if self.generate.shares.leads else ():
      counts.update({'rollout/turns': sample.turns, 'rollout/heard': sample.heard})
      counts.update({f'tools/{name}': float(n) for name, n in sample.counts.items()})
    total = collections.Counter()
    for part in hosts.exchange({'counts': json.dumps(counts)}, 'metrics'):
      total.update(json.loads(str(part['counts'])))
    return {name: total[name] / len(self.ended) for name in sorted(total)}

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
  order, dealt = generate.dealt(requests)
  own = Play(generate, dealt, order, prompts)
  hosts.meet('the sampler')
  live = generate.start(params, dealt)
  waiting: dict[concurrent.futures.Future, int] = {}
  woken = False  # since `finished` was dispatched
  # One that has several hosts looks at what the others say, too.
  patience = SECONDS if hosts.count() > 1 else None
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
    finished = live.advance(NUM_WINDOWS)
    while not own.is_over:
      following = live.advance(NUM_WINDOWS)
      rows, rollouts, is_idle = live.read(finished)
      for i, row in enumerate(rows.tolist()):
        turn = own.turn(row, jax.tree.map(lambda x, i=i: x[i], rollouts))
        if generate.shares.leads:
          waiting[pool.submit(own.samples[row].reply, turn, generate)] = row
      if is_idle and waiting and not woken:
        concurrent.futures.wait(waiting, patience, concurrent.futures.FIRST_COMPLETED)
      there = [future for future in waiting if future.done()]
      told = own.told({waiting.pop(future): future for future in there})
      woken = own.answer(live, told)
      finished = following
  return own.collect(requests, rollouts)
