"""Completions that several hosts hold → the rewards of all of them, on every host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rljax import hosts
from rljax.prompts import Completion
from rljax.rewards.scorer import Scorer, Scores


class SharedScorer(Scorer):
  """A `Scorer` of which each process scores what it holds; all are told all rewards."""

  def __init__(self, reward: Any, **limits: Any) -> None:
    super().__init__(reward, **limits)
    if hosts.count() > 1 and self._level == 'batch':
      raise ValueError(
        f'the reward {reward} sees all completions of an iteration at once, and with several '
        f'processes no host has them all; one that sees a group or a sample can be scored'
      )

  def score(self, completions: Sequence[Completion]) -> Scores:
    """The rewards of all completions, in their order."""
    if hosts.count() == 1:
      return super().score(completions)
    import numpy as np

    here = [i for i, completion in enumerate(completions) if completion.is_here]
    own = super().score([completions[i] for i in here])
    told = {f'component/{name}': values for name, values in own.components.items()}
    told |= {'here': np.asarray(here, int), 'rewards': own.rewards}
    told |= {'counts': [own.errors, own.timeouts], 'messages': json.dumps(own.messages)}
    parts = hosts.exchange(told, 'rewards')
    names = dict.fromkeys(name for part in parts for name in part if name.startswith('component/'))

    def whole(name):
      out = np.full(len(completions), np.nan, np.float32)
      for part in parts:
        out[part['here']] = part.get(name, np.nan)
      return out

    messages: dict[str, int] = {}
    for part in parts:
      for message, count in json.loads(str(part['messages'])).items():
        messages[message] = messages.get(message, 0) + count
    errors, timeouts = np.sum([part['counts'] for part in parts], axis=0).tolist()
    components = {name.removeprefix('component/'): whole(name) for name in names}
    return Scores(whole('rewards'), components, errors, timeouts, messages)
