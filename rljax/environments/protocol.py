"""What a policy says, what it hears, and who answers. No jax here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from rljax.prompts import Prompt


@dataclasses.dataclass(frozen=True)
class Turn:
  """What the policy has said since it last heard something.

  Attributes:
    tokens: its ids, the one that ended it included.
    text: the decoded tokens without special tokens.
    truncated: it ended by a limit of tokens.
    number: of the turn, from 0 on.
  """

  tokens: tuple[int, ...]
  text: str
  truncated: bool
  number: int


@dataclasses.dataclass(frozen=True)
class Reply:
  """What an environment makes of a turn.

  Attributes:
    observation: what the policy hears: text, which is tokenized by itself, or ids as they are.
    reward: of the turn; stands on its last token.
    done: the episode is over; the observation is not heard.
    counts: numbers by name; their sum over an episode is a metric, `tools/<name>`.
  """

  observation: str | tuple[int, ...] = ''
  reward: float = 0.0
  done: bool = False
  counts: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Episode(Protocol):
  """One conversation; used by one thread at a time."""

  def step(self, turn: Turn) -> Reply:
    """Answers a turn.

    An exception ends the episode, one of `reset` too: it is counted and the message printed, and
    the sample has no reward.
    """
    ...

  def outcome(self) -> Mapping[str, Any]:
    """What a reward may want to know when the episode is over: `metadata['episode']`."""
    ...


class Environment(Protocol):
  """Begins episodes.

  Attributes:
    stops: texts that end a turn, besides the tokenizer's ends of text.
    turn_tokens: tokens of one turn; 0 = the stage's max_new_tokens, which also bounds everything
      that is said and heard.
    max_observation: tokens of one observation. A longer one is cut in the middle, and counted.
  """

  stops: tuple[str, ...]
  turn_tokens: int
  max_observation: int

  def reset(self, prompt: Prompt, seed: int) -> Episode:
    """A new episode; a pure function of prompt and seed."""
    ...
