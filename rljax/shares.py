"""Which rows each host holds, and arrays of all rows of which it knows its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rljax import hosts


@dataclasses.dataclass(frozen=True)
class Shares:
  """Which shards of the rows each process holds: rows of samples are divided over the mesh.

  Processes whose devices hold the same shards have one share. The samples of a draw are all in one.

  Attributes:
    shards: of each share, the numbers of its shards.
    own: the share of this process.
    leads: whether this process answers for its share.
  """

  shards: tuple[tuple[int, ...], ...] = ((0,),)
  own: int = 0
  leads: bool = True

  def __len__(self) -> int:
    return len(self.shards)

  def rows(self, count: int, share: int | None = None) -> np.ndarray:
    """Which of `count` rows a share holds, this process's by default; int, ascending."""
    size = count // sum(len(some) for some in self.shards)
    some = self.shards[self.own if share is None else share]
    return np.concatenate([np.arange(s * size, (s + 1) * size) for s in some])

  def of_draws(self, draw_ids: np.ndarray) -> np.ndarray:
    """The share of each draw; draws in a row are in turns."""
    return np.asarray(draw_ids).astype(np.int64) % len(self)

  def answers_for(self, draw_id: int) -> bool:
    """Whether this process scores and shows the samples of a draw."""
    return self.leads and int(draw_id) % len(self) == self.own

  def deal(self, draw_ids: np.ndarray, used: np.ndarray) -> np.ndarray:
    """An order of rows in which each stands where its share is.

    Args:
      draw_ids: [N].
      used: bool [N]; the other rows may stand anywhere.

    Returns:
      int [N]: which row stands at each place.

    Raises:
      ValueError: the rows are not divided, or a share has more of them than places.
    """
    count, owners = len(draw_ids), np.where(used, self.of_draws(draw_ids), -1)
    if count % sum(len(some) for some in self.shards):
      raise ValueError(
        f'{count} samples (prompts × samples) are not divided by the '
        f'{sum(len(some) for some in self.shards)} shards of the rows (data × fsdp)'
      )
    order = np.full(count, -1)
    for share in range(len(self)):
      mine, places = np.flatnonzero(owners == share), self.rows(count, share)
      if len(mine) > len(places):
        raise ValueError(
          f'{len(mine)} samples for host {share}, which has room for {len(places)}: the number of '
          f'prompts must be a multiple of the {len(self)} hosts'
        )
      order[places[: len(mine)]] = mine
    order[order < 0] = np.flatnonzero(owners < 0)
    return order

  def read(self, tree: Any) -> Any:
    """Of arrays that are divided over the rows, those of this share, on the host."""
    if hosts.count() == 1:
      return jax.device_get(tree)
    return jax.tree.map(lambda x: _held(x)[self.rows(len(x))], tree)

  def join(self, tree: Any, order: np.ndarray) -> Any:
    """Arrays of this share's rows → [N, …] as before `deal`: of each row what is known here.

    Arrays [N] are whole on all processes. Of the others each has its own rows, and 0 elsewhere.

    Args:
      tree: of arrays on the host, as `read` gives them.
      order: that of `deal`.
    """
    leaves, structure = jax.tree.flatten(tree)
    rows = order[self.rows(len(order))]
    scalars = {str(i): x for i, x in enumerate(leaves) if x.ndim == 1}
    parts = hosts.exchange({**scalars, 'rows': rows}, 'what the sampler drew')

    def whole(i, x):
      out = np.zeros((len(order), *x.shape[1:]), x.dtype)
      for part in parts if x.ndim == 1 else [{str(i): x, 'rows': rows}]:
        out[part['rows']] = part[str(i)]
      return out

    return jax.tree.unflatten(structure, [whole(i, x) for i, x in enumerate(leaves)])

  def outline(self, batch: Any, rows: int) -> Any:
    """Shapes of the whole of a batch whose token arrays [K, M, …] have the rows of one share."""

    def leaf(x):
      whole = (*x.shape[:2], rows, *x.shape[3:]) if np.ndim(x) >= 4 else np.shape(x)
      return jax.ShapeDtypeStruct(whole, x.dtype)

    return jax.tree.map(leaf, batch)

  def assemble(self, batch: Any, shardings: Any) -> Any:
    """The batch on the devices: each process hands over its own rows, and nothing is sent."""

    def leaf(x, sharding):
      if np.ndim(x) < 4:
        return place(x, sharding)
      rows = x.shape[2] * len(self)
      own = self.rows(rows)

      def part(index):
        first, last, _ = index[2].indices(rows)
        at = int(np.searchsorted(own, first))
        return x[:, :, at : at + last - first]

      return jax.make_array_from_callback((*x.shape[:2], rows, *x.shape[3:]), sharding, part)

    return jax.tree.map(leaf, batch, shardings)


ALONE = Shares()  # the one process of a run


def of_mesh(mesh: Any, axes: Sequence[str]) -> Shares:
  """How the processes of a mesh share rows that are divided over `axes`.

  Raises:
    ValueError: a process holds some of the rows of another, and some that it does not.
  """
  if jax.process_count() != hosts.count():
    raise hosts.HostError(
      f'jax has {jax.process_count()} processes; call jax.distributed.initialize() first'
    )
  if hosts.count() == 1:
    return ALONE
  first = [mesh.axis_names.index(name) for name in axes]
  rest = [i for i in range(mesh.devices.ndim) if i not in first]
  number = int(np.prod([mesh.devices.shape[i] for i in first]))
  grid = mesh.devices.transpose(*first, *rest).reshape(number, -1)
  held: dict[tuple[int, ...], list[int]] = {}
  for shard, devices in enumerate(grid):
    held.setdefault(tuple(sorted({d.process_index for d in devices})), []).append(shard)
  everyone = sorted(p for holders in held for p in holders)
  if everyone != list(range(hosts.count())) or len({len(some) for some in held.values()}) > 1:
    raise ValueError(
      f'mesh {dict(mesh.shape)}: the {hosts.count()} processes do not share the rows (data × fsdp) '
      f'evenly; the devices of a process should be neighbours along {" × ".join(axes)}, or all '
      f'hold the same rows'
    )
  own = next(i for i, holders in enumerate(held) if jax.process_index() in holders)
  leads = list(held)[own][0] == jax.process_index()
  return Shares(tuple(tuple(some) for some in held.values()), own, leads)


def _held(x: Any) -> np.ndarray:
  """What this process holds of an array on devices; 0 elsewhere."""
  out = np.zeros(x.shape, x.dtype)
  for shard in x.addressable_shards:
    out[shard.index] = shard.data
  return out


def place(tree: Any, shardings: Any) -> Any:
  """Arrays that all processes have, on the devices of a mesh; nothing is sent."""
  def leaf(x, sharding):
    if isinstance(x, jax.Array):  # keys have no numpy, and some are on the mesh already
      return x if x.sharding == sharding else jax.jit(_same, out_shardings=sharding)(x)
    x = np.asarray(x)
    x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype))
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

  if hosts.count() == 1:
    return jax.device_put(tree, shardings)
  return jax.tree.map(leaf, tree, shardings)


def _same(x: Any) -> Any:
  return x
