"""The compiled programs of a policy's sampler."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from rljax.sampling import advance, begin, sample
from rljax.structs import Array, Policy, PyTree, Requests, Rollout, SamplerSettings


@dataclasses.dataclass(frozen=True)
class SamplerProgram:
  """A policy's sampler, compiled once for each set of shapes: whole rollouts, or in steps.

  Attributes:
    policy: whose parameters it takes.
    mesh: the rows are divided over its axes data and fsdp; None = all on one device.
  """

  policy: Policy
  mesh: jax.sharding.Mesh | None = None

  def __call__(
    self, params: PyTree, requests: Requests, seed: Array, settings: SamplerSettings
  ) -> Rollout:
    """A whole rollout; its arrays are futures."""
    return self.whole(params, requests, seed, settings)

  @functools.cached_property
  def whole(self) -> Any:
    """The jitted `(params, requests, seed, settings) -> Rollout`."""

    def sampler(params, requests, seed, settings):
      return sample(self.policy, params, requests, seed=seed, settings=settings, mesh=self.mesh)

    return jax.jit(sampler)

  @functools.cached_property
  def _steps(self) -> tuple[Any, Any]:
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

    return jax.jit(first), jax.jit(further, donate_argnums=2)

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
    start, step = self._steps
    if self.policy.cast is not None:
      params = jax.jit(self.policy.cast)(params)
    count = np.int32(num_windows)
    state = start(params, requests, seed, settings)
    state, finished = step(params, requests, state, seed, settings, count)
    while True:
      state, following = step(params, requests, state, seed, settings, count)
      found = jax.device_get(finished)
      there = found.sample >= 0
      if there.any():
        yield found.sample[there], jax.tree.map(lambda x, there=there: x[there], found.rollout)
      if found.done:
        return
      finished = following
