"""Rollouts that wait for their update, in a checkpoint: whole, so that any hosts can go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rljax.data.packing import CapacityError, Layout
from rljax.stages.stage import Collected
from rljax.structs import Batch

NUMBERS = ('segment_ids', 'prefix_ids', 'sample_ids')  # −1 = nothing stands there
Waiting = tuple[int, Collected]  # the iteration that has drawn it, and what


def to_record(waiting: Sequence[Waiting], whole: Callable[[Batch], Batch]) -> list[Any]:
  """What a checkpoint keeps of rollouts that wait; `whole` gives a batch the rows of all hosts."""
  found = [(drawn, one, whole(one.batch)) for drawn, one in waiting]
  names = [f.name for f in dataclasses.fields(Batch)]
  return [
    (drawn, ({name: getattr(batch, name) for name in names}, one.metrics, one.rows))
    for drawn, one, batch in found
  ]


def from_record(record: Sequence[Any], layout: Layout) -> list[Waiting]:
  """The rollouts of `to_record`, of each batch the rows of this host.

  Raises:
    CapacityError: on other hosts, the micro-batches of this layout do not hold them.
  """
  return [
    (drawn, Collected(_own(Batch(**batch), layout), metrics, rows))
    for drawn, (batch, metrics, rows) in record
  ]


def _own(batch: Batch, layout: Layout) -> Batch:
  """The rows of this host, of as many micro-batches as the layout has: hosts deal groups."""
  before, most = batch.tokens.shape[1], layout.micro_batches
  if int(batch.num_micro.max()) > most:
    raise CapacityError(
      f'a rollout that waits for its update has {int(batch.num_micro.max())} micro-batches, and '
      f'the layout holds {most}; go on with the number of processes that has drawn it'
    )
  rows = layout.shares.rows(layout.rows)

  def leaf(path, x):
    if np.ndim(x) < 4:
      return x
    missing = ((0, 0), (0, max(0, most - before)), *((0, 0),) * (x.ndim - 2))
    none = -1 if path[0].name in NUMBERS else 0
    return np.pad(x[:, :most], missing, constant_values=none)[:, :, rows]

  size = layout.rows * layout.samples_per_row  # places of a micro-batch
  places = batch.sample_slots
  step, within = np.divmod(places, before * size)
  moved = np.where(places < 0, -1, step * most * size + within).astype(places.dtype)
  return jax.tree.map_with_path(leaf, batch).replace(sample_slots=moved)
