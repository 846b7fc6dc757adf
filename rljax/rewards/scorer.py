"""Completions → rewards."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rljax import redaction
from rljax.prompts import Completion
from rljax.rewards import calls, delivery
from rljax.rewards.pool import Call, Pool

if TYPE_CHECKING:  # workers import this package, and most rewards need no numpy
  import numpy as np

_MAX_MESSAGES = 8


@dataclasses.dataclass(frozen=True)
class Scores:
  """Rewards of N completions, in their order.

  Attributes:
    rewards: float32 [N]; NaN = unscorable: the sample leaves the loss.
    components: float32 [N] by name, of rewards that return a dict; NaN where there is none.
    errors: samples whose reward raised, ended its process or was no finite number.
    timeouts: samples whose reward was over a limit of time.
    messages: what went wrong → how often, the first few different ones.
  """

  rewards: np.ndarray
  components: dict[str, np.ndarray]
  errors: int
  timeouts: int
  messages: dict[str, int]


class Scorer:
  """Scores completions; a reward that misbehaves costs its own call and nothing else.

  A reward sees one sample at a time; one that declares `level = 'group'` (an attribute of the
  function) sees the samples of one draw of a prompt, one of the level 'batch' all completions of a
  call of `score`: lists in place of single values, see `calls.GROUP_FIELDS`. It returns a list with
  a float or a dict for each; an exception in the list is the failure of that sample alone. Limits
  are of one call (and start anew at `calls.progress`, as for each part of a reward made of rewards
  and each reply of a judge's client); a call that fails leaves all its samples without a reward.

  A worker is a fresh interpreter with JAX_PLATFORMS=cpu that imports what the reward imports. It
  receives the reward by name, or by value if it lives in `__main__`, in a notebook or in a
  function. `random` (and numpy's global generator, if the reward uses it) is seeded for each
  sample, so a reward that draws gives the same on any worker.

  Args:
    reward: a dotted name, looked up under `rljax.` first; a function; or a config node
      `dict(name=…, <hyper-parameters>)`. Its parameters are taken by name, see `calls.LEVELS`.
    workers: processes; 0 = in this process, without limits.
    cpu_seconds: CPU time for one call; its wall-clock time may be 5 × as long, so that a busy
      machine does not change rewards.
    memory_mib: writable memory of a worker, MiB (enforced on Linux).
    start_seconds: wall-clock time in which a worker must have imported the reward.
    seed: of the reward's random draws.
    seconds: wall-clock time of one call of `score`, with workers; what is left then has timed out.

  Raises:
    BindingError: the reward does not exist or takes what does not exist.
  """

  def __init__(
    self,
    reward: str | Callable[..., Any] | Mapping[str, Any],
    *,
    workers: int = 2,
    cpu_seconds: float = 5.0,
    memory_mib: int = 1024,
    start_seconds: float = 120.0,
    seed: int = 0,
    seconds: float = math.inf,
  ) -> None:
    if workers < 0 or cpu_seconds <= 0 or memory_mib <= 0:
      raise ValueError(
        f'Scorer: workers={workers}, cpu_seconds={cpu_seconds}, memory_mib={memory_mib}; '
        'workers must be ≥ 0 and limits > 0'
      )
    self._function, how = delivery.resolve(reward, by_value=workers > 0)
    self._names = calls.fields(self._function)
    self._level = calls.level(self._function)
    self._seed, self._seconds = seed, seconds
    self._lock = threading.Lock()
    self._closed = False
    self._pool = None
    if workers:
      self._pool = Pool(
        workers,
        how=how,
        path=[os.path.abspath(p) if not p or os.path.exists(p) else p for p in sys.path],
        cpu_seconds=cpu_seconds,
        wall_seconds=5 * cpu_seconds,
        memory_mib=memory_mib,
        start_seconds=start_seconds,
      )

  def __enter__(self) -> Scorer:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def close(self) -> None:
    """Ends all workers and their children; a later `score` raises."""
    self._closed = True
    if self._pool:
      self._pool.close()

  def score(self, completions: Sequence[Completion]) -> Scores:
    """The rewards of `completions`, in their order, whichever worker scored them.

    Raises:
      RuntimeError: the workers cannot import the reward, or this scorer is closed.
    """
    if self._closed:
      raise RuntimeError('this Scorer is closed')
    together = self._together(completions)
    given = [self._call([completions[i] for i in places]) for places in together]
    with self._lock:
      found = self._pool.run(given, self._seconds) if self._pool else self._run_here(given)
    outcomes = {i: calls.failure(c.failure) for i, c in enumerate(completions) if c.failure}
    for places, some in zip(together, found):
      outcomes.update(zip(places, some if len(some) == len(places) else some * len(places)))
    return _scores([outcomes[i] for i in range(len(completions))])

  def _together(self, completions: Sequence[Completion]) -> list[list[int]]:
    """The places of the completions of each call, without those of which nothing can be said."""
    groups: dict[int, list[int]] = {}
    for place, completion in enumerate(completions):
      if completion.failure:
        continue
      key = {'sample': place, 'group': completion.draw_id, 'batch': 0}[self._level]
      groups.setdefault(key, []).append(place)
    return list(groups.values())

  def _call(self, completions: Sequence[Completion]) -> Call:
    """The seed and the values of one call."""
    if self._level == 'sample':
      return self._seed_of(completions[0]), self._values(completions[0])
    numbers: dict[int, int] = {}
    given = {
      'completions': [c.text for c in completions],
      'prompts': [c.prompt.text for c in completions],
      'answers': [c.prompt.answer for c in completions],
      'metadata': [c.prompt.metadata for c in completions],
      'tokens': [c.tokens for c in completions],
      'truncated': [c.truncated for c in completions],
      'groups': [numbers.setdefault(c.draw_id, len(numbers)) for c in completions],
    }
    seed = hash(tuple(self._seed_of(c) for c in completions)) & 0x7FFFFFFFFFFFFFFF
    return seed, tuple(given[name] for name in self._names)

  def _seed_of(self, completion: Completion) -> int:
    return hash((self._seed, completion.draw_id, completion.sample_index)) & 0x7FFFFFFFFFFFFFFF

  def _values(self, completion: Completion) -> tuple[Any, ...]:
    prompt = completion.prompt
    values = {
      'completion': completion.text,
      'prompt': prompt.text,
      'answer': prompt.answer,
      'metadata': prompt.metadata,
      'tokens': completion.tokens,
      'truncated': completion.truncated,
    }
    return tuple(values[name] for name in self._names)

  def _run_here(self, given: list[Call]) -> list[list[calls.Outcome]]:
    import numpy as np

    state, numpy_state = random.getstate(), np.random.get_state()
    try:
      return [calls.call(self._function, self._names, values, seed) for seed, values in given]
    finally:
      random.setstate(state)
      np.random.set_state(numpy_state)


def _scores(outcomes: list[calls.Outcome]) -> Scores:
  import numpy as np

  names = dict.fromkeys(name for outcome in outcomes for name in outcome.components)
  messages: dict[str, int] = {}
  for outcome in outcomes:
    if outcome.message:
      said = redaction.redacted(outcome.message)
      if said in messages or len(messages) < _MAX_MESSAGES:
        messages[said] = messages.get(said, 0) + 1
  timeouts = sum(outcome.timed_out for outcome in outcomes)
  return Scores(
    rewards=np.array([outcome.reward for outcome in outcomes], np.float32),
    components={
      name: np.array([o.components.get(name, math.nan) for o in outcomes], np.float32)
      for name in names
    },
    errors=sum(bool(outcome.message) for outcome in outcomes) - timeouts,
    timeouts=timeouts,
    messages=messages,
  )
