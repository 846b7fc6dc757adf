"""The run of `small.py` with episodes: turns that an environment answers late.

Rollouts wait for their update, as there.

  rljax train --config=experiments/reliability/turns.py
"""

import dataclasses
import random
import time

import small

from rljax.environments import Reply


def get_config():
  config = small.get_config()
  config.environment = dict(name='turns.late')
  config.rewards.reward = dict(name='rewards.episode_return')
  config.rl.update(max_new_tokens=8, sampler=dict(slots=8, window=2))
  return config


def late(*, turns: int = 3, seconds: float = 0.01):
  """An environment that says a letter to each turn, after a wait of up to `seconds`."""
  return Late(turns, seconds)


@dataclasses.dataclass(frozen=True)
class Late:
  turns: int
  seconds: float
  stops: tuple[str, ...] = ('a',)
  turn_tokens: int = 2
  max_observation: int = 1

  def reset(self, prompt, seed):
    return Episode(self, random.Random(seed))


class Episode:
  def __init__(self, environment, draw):
    self.environment, self.draw = environment, draw

  def step(self, turn):
    time.sleep(self.draw.random() * self.environment.seconds)
    done = turn.number + 1 >= self.environment.turns
    return Reply(self.draw.choice('bc'), reward=0.5 * ('b' in turn.text), done=done)

  def outcome(self):
    return {}
