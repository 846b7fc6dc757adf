"""What the configs of runs on several hosts name: rewards, an environment, a writer that hangs."""

import dataclasses
import os
import random
import time

from rljax.environments import Reply


def length(completion):
  return float(len(completion))


def hanging(completion):
  """`length`, where the verifiers of the host answer."""
  if os.environ.get('VERIFIER') == 'hangs':
    time.sleep(1000)
  return float(len(completion))


class Stuck:
  """A writer of clu's interface that never comes back; only the first process has writers."""

  def __init__(self, workdir):
    del workdir

  def write_scalars(self, row, scalars):
    del row, scalars
    time.sleep(1000)

  def flush(self):
    pass

  close = flush


def agreement(completions, tokens):
  """How many completions of all groups say the same, and how long one is."""
  return [completions.count(text) + 0.1 * len(ids) for text, ids in zip(completions, tokens)]


agreement.level = 'batch'


def echo(*, turns: int = 3):
  """An environment that hears a letter of each turn's text back, and is late."""
  return Echo(turns)


@dataclasses.dataclass(frozen=True)
class Echo:
  turns: int
  stops: tuple[str, ...] = ('a',)
  turn_tokens: int = 3
  max_observation: int = 2

  def reset(self, prompt, seed):
    return EchoEpisode(self.turns, random.Random(seed))


class EchoEpisode:
  def __init__(self, turns, draw):
    self.turns, self.draw = turns, draw

  def step(self, turn):
    time.sleep(self.draw.random() * 0.02)  # answers come in any order
    done = turn.number + 1 >= self.turns
    heard = (turn.text or 'd')[0] + self.draw.choice('bc')
    return Reply(heard, reward=0.5 * len(turn.text), done=done, counts={'answers': 1})

  def outcome(self):
    return {}
