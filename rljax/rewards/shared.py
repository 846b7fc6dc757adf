"""Completions that several hosts hold → the rewards of all of them, on every host."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from rljax import hosts
from rljax.prompts import Completion
from rljax.rewards.scorer import Scorer, Scores


class SharedScorer(Scorer):
  """A `Scorer` of which each process scores what it holds; all are told all rewards."""

  def score(self, completions: Sequence[Completion]) -> Scores:
    """The rewards of all completions, in their order."""
    if hosts.count() == 1:
      return super().score(completions)
    import numpy as np

    here = [i for i, completion in enumerate(completions) if completion.is_here]
    if self._level == 'batch':  # one host sees all of them
      completions = _told(completions, here)
      here = list(range(len(completions))) if hosts.is_first() else []
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


def _told(completions: Sequence[Completion], here: Sequence[int]) -> list[Completion]:
  """The completions with tokens and texts of all hosts; this one has those at `here`."""
  given = {}
  for i in here:
    one = completions[i]
    episode = one.prompt.metadata.get('episode')
    given[i] = (one.tokens, one.text, one.transcript, one.failure, episode)
  out = list(completions)
  for part in hosts.exchange({'said': json.dumps(given)}, 'what all have said'):
    for i, (tokens, text, transcript, failure, episode) in json.loads(str(part['said'])).items():
      prompt = out[int(i)].prompt
      if episode is not None:
        prompt = dataclasses.replace(prompt, metadata={**prompt.metadata, 'episode': episode})
      said = dict(tokens=tuple(tokens), text=text, transcript=transcript, failure=failure)
      out[int(i)] = dataclasses.replace(out[int(i)], prompt=prompt, **said)
  return out
