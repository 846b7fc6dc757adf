"""The compiled programs of a policy's sampler."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from rljax import hosts
from rljax.layouts import Mover
from rljax.sampling import Finished, advance, append, begin, release, sample
from rljax.sampling.score import score
from rljax.sharding import ROWS
from rljax.shares import ALONE, Shares
from rljax.structs import Array, Policy, PyTree, Requests, Rollout, SamplerSettings

ROWS_AT_ONCE = 32  # samples that are answered in one call


@dataclasses.dataclass(frozen=True)
class SamplerProgram:
  """A policy's sampler, compiled once for each set of shapes: whole rollouts, or in steps.

  Attributes:
    policy: whose parameters it takes.
    mesh: the rows are divided over its axes data and fsdp; None = all on one device.
    draft: parameters of the draft model, where the policy has one (`models.with_draft`); those that
      are handed in are then the policy's own.
    beside: parameters of the roles that the policy takes besides (`Policy.beside`), likewise.
    move: takes parameters as they come, with those beside them, to the layout that samples; None =
      they stand there. It adds adapters in: what samples is then one tree of parameters.
  """

  policy: Policy
  mesh: jax.sharding.Mesh | None = None
  draft: PyTree = dataclasses.field(default=None, compare=False, repr=False)
  beside: dict[str, PyTree] = dataclasses.field(default_factory=dict, compare=False, repr=False)
  move: Mover | None = dataclasses.field(default=None, compare=False, repr=False)

  def __call__(
    self, params: PyTree, requests: Requests, seed: Array, settings: SamplerSettings
  ) -> Rollout:
    """A whole rollout; its arrays are futures."""
    return self.whole(self._placed(params), requests, seed, settings)

  def _placed(self, params: PyTree) -> PyTree:
    params = self.together(params)
    return self._with_draft(params if self.move is None else self.move(params))

  def outline(self, params: PyTree) -> PyTree:
    """What `whole` is given for `params`, as shapes where it stands."""
    params = self.together(params)
    return self._with_draft(params if self.move is None else self.move.outline(params))

  def together(self, params: PyTree) -> PyTree:
    """What `move` is given for `params`: with the roles beside them."""
    return {'policy': params, **self.beside} if self.beside else params

  def _with_draft(self, params: PyTree) -> PyTree:
    return params if self.draft is None else {'policy': params, 'draft': self.draft}

  @functools.cached_property
  def whole(self) -> Any:
    """The jitted `(params, requests, seed, settings) -> Rollout`."""

    def sampler(params, requests, seed, settings):
      return sample(self.policy, params, requests, seed=seed, settings=settings, mesh=self.mesh)

    return jax.jit(sampler, out_shardings=self._read(ROWS))

  def logprobs(
    self, params: PyTree, tokens: Array, num_tokens: Array, temperature: Array | float = 1.0
  ) -> Array:
    """float32 [N, T], nats, of given texts [N, T], see `sampling.score`; a future."""
    return self.scores(self._placed(params), tokens, num_tokens, temperature)

  @functools.cached_property
  def scores(self) -> Any:
    """The jitted `(params, tokens, num_tokens, temperature) -> log-probs`."""

    def scored(params, tokens, num_tokens, temperature):
      return score(self.policy, params, tokens, num_tokens, temperature=temperature)['logprobs']

    return jax.jit(scored)

  @functools.cached_property
  def steps(self) -> tuple[Any, Any]:
    """(begin, advance), jitted; `advance` takes over the memory of the state."""

    def first(params, requests, seed, settings):
      return begin(
        self.policy, params, requests, seed=seed, settings=settings, mesh=self.mesh
      )

    def further(params, requests, state, seed, settings, num_windows):
      return advance(
        self.policy, params, requests, state, seed=seed, settings=settings,
        num_windows=num_windows, mesh=self.mesh,
      )  # fmt: skip

    told = (None, Finished(self._read(ROWS), self._read(ROWS), self._read()))
    return jax.jit(first), jax.jit(further, donate_argnums=2, out_shardings=told)

  @functools.cached_property
  def replies(self) -> tuple[Any, Any]:
    """(append, release), jitted; they take over the memory of the state."""

    def wake(params, requests, state, settings, *given):
      return append(
        self.policy, params, requests, state, *given, settings=settings, mesh=self.mesh
      )

    def leave(requests, state, rows):
      return release(requests, state, rows, mesh=self.mesh)

    told = (None, self._read())
    return (
      jax.jit(wake, donate_argnums=2, out_shardings=told),
      jax.jit(leave, donate_argnums=1, out_shardings=told),
    )

  def _read(self, *spec: Any) -> NamedSharding | None:
    """Of what several processes look at; for one process XLA may choose."""
    return NamedSharding(self.mesh, PartitionSpec(*spec)) if hosts.count() > 1 else None

  def ready(self, params: PyTree) -> PyTree:
    """Parameters for a rollout in steps: in the compute dtype, with those of a draft model."""
    params = self._placed(params)
    return params if self.policy.cast is None else jax.jit(self.policy.cast)(params)

  def stream(
    self,
    params: PyTree,
    requests: Requests,
    seed: Array,
    settings: SamplerSettings,
    num_windows: int,
  ) -> Iterator[tuple[np.ndarray, Rollout]]:
    """The samples of a rollout as they end.

    A call of `advance` is dispatched before what the one before has handed out is read, so the
    device works on while the host does. An iterator that is dropped stops after that call.

    Args:
      params, requests, seed, settings: as in `__call__`.
      num_windows: windows of one call.

    Yields:
      (int [F] rows of the requests, Rollout of [F] numpy arrays), F ≥ 1.
    """
    live = LiveRollout(self, params, requests, seed, settings)
    finished = live.advance(num_windows)
    while True:
      following = live.advance(num_windows)
      rows, rollout, is_idle = live.read(finished)
      if len(rows):
        yield rows, rollout
      if is_idle:
        return
      finished = following


class LiveRollout:
  """A rollout in steps; its samples may be answered.

  Args:
    program: of the policy.
    params: of the policy.
    requests: on the devices.
    seed: of the noise.
    settings: with `turns` where samples are answered.
    width: tokens of the longest answer.
    shares: which rows each process holds.
  """

  def __init__(
    self,
    program: SamplerProgram,
    params: PyTree,
    requests: Requests,
    seed: Array,
    settings: SamplerSettings,
    width: int = 0,
    shares: Shares = ALONE,
  ) -> None:
    self._program, self._requests, self._settings = program, requests, settings
    self._seed, self._width, self._shares = seed, width, shares
    self._params = program.ready(params)
    self._state = program.steps[0](self._params, requests, seed, settings)

  def advance(self, num_windows: int) -> Finished:
    """Dispatches some windows; what has ended by then, as futures."""
    self._state, finished = self._program.steps[1](
      self._params, self._requests, self._state, self._seed, self._settings, np.int32(num_windows)
    )
    return finished

  def read(self, finished: Finished) -> tuple[np.ndarray, Rollout, bool]:
    """(int [F] rows of the requests that this process holds, their Rollout of [F] in numpy, whether
    nothing is being drawn); waits for the device.
    """
    sample, rollout = self._shares.read((finished.sample, finished.rollout))
    there = sample >= 0
    return sample[there], jax.tree.map(lambda x: x[there], rollout), bool(finished.done)

  def append(self, answers: Mapping[int, Sequence[int]]) -> set[int]:
    """Lets samples hear an answer and go on; those for which there is no room."""
    refused = set()
    for rows in self._parts(answers):
      tokens = np.zeros((len(rows), self._width), np.int32)
      lengths = np.zeros(len(rows), np.int32)
      for i, row in enumerate(rows):
        if row >= 0:
          tokens[i, : len(answers[row])], lengths[i] = answers[row], len(answers[row])
      self._state, done = self._program.replies[0](
        self._params, self._requests, self._state, self._settings, rows, tokens, lengths
      )
      refused |= {int(row) for row, well in zip(rows, np.asarray(done)) if row >= 0 and not well}
    return refused

  def release(self, rows: Iterable[int]) -> None:
    """Gives the slots of samples to others."""
    for some in self._parts(rows):
      self._state, _ = self._program.replies[1](self._requests, self._state, some)

  def _parts(self, rows: Iterable[int]) -> Iterator[np.ndarray]:
    """Rows in arrays of one size, −1 where there are no more: one program serves all."""
    rows = list(rows)
    for first in range(0, len(rows), ROWS_AT_ONCE):
      some = np.full(ROWS_AT_ONCE, -1, np.int32)
      some[: len(rows[first : first + ROWS_AT_ONCE])] = rows[first : first + ROWS_AT_ONCE]
      yield some
