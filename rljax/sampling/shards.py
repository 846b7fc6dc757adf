"""The rows of a rollout over the shards of a mesh: each has its own queue, slots and cache."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from rljax.sampling.slots import SAMPLE_FIELDS
from rljax.sharding import ROWS, sample_shards
from rljax.structs import PyTree, Requests, SamplerSettings

Array = jax.Array


def divide(mesh: Mesh | None, requests: Requests) -> tuple[int, Requests]:
  """(shards of the rows, requests that they divide)."""
  shards = 1 if mesh is None else sample_shards(mesh)
  requests = jax.tree.map(jnp.asarray, requests)
  return shards, _padded(requests, -requests.group_ids.shape[0] % shards)


def of_one_shard(settings: SamplerSettings, shards: int, requests: Requests) -> SamplerSettings:
  """The settings with the slots of one shard, and as many prompts at once as fill those.

  Raises:
    ValueError: the slots are not divided.
  """
  slots, at_once = settings.slots, settings.prompts_at_once
  if slots % shards:
    raise ValueError(f'slots={slots} are not divided by the {shards} shards (data × fsdp)')
  if not at_once and shards > 1:
    # A shard sees all prompts and has samples of a few.
    samples, prompts = requests.group_ids.shape[0], requests.prompts.shape[0]
    at_once = -(-prompts * (slots or samples) // (samples * shards))
  return settings.replace(slots=slots // shards, prompts_at_once=at_once)


def on_shards(
  mesh: Mesh | None,
  local: Callable[[PyTree, Requests, PyTree], PyTree],
  whole: PyTree,
  requests: Requests,
  own: PyTree = None,
) -> PyTree:
  """`local(whole, requests, own)` on each shard of the rows, without a word between them.

  Args:
    mesh: None, or one shard: as it stands, and nothing has the axis [shards].
    whole: the same on all shards.
    requests: each shard gets its rows.
    own: [shards, ...], each shard gets its own.

  Returns:
    What `local` returns, [shards, ...].
  """
  if mesh is None or sample_shards(mesh) == 1:
    return local(whole, requests, own)
  axes = tuple(name for name in ROWS if name in mesh.axis_names)
  over, same = PartitionSpec(axes), PartitionSpec()
  placed = requests.replace(
    **{k: over if k in SAMPLE_FIELDS else same for k, x in vars(requests).items() if x is not None}
  )

  def one(whole, requests, own):
    out = local(whole, requests, jax.tree.map(lambda x: x[0], own))
    return jax.tree.map(lambda x: x[None], out)

  return jax.shard_map(
    one,
    mesh=mesh,
    in_specs=(same, placed, over),
    out_specs=over,
    axis_names=set(axes),
    check_vma=False,
  )(whole, requests, own)


def _padded(requests: Requests, missing: int) -> Requests:
  """The requests with unused rows at the end."""
  if not missing:
    return requests
  rows = {name: getattr(requests, name) for name in SAMPLE_FIELDS}
  rows = jax.tree.map(
    lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]), rows
  )
  # No slice is written: XLA 0.10 divides such a write wrongly over the shards.
  groups = rows['group_ids']
  used = jnp.arange(len(groups)) < len(groups) - missing
  return requests.replace(**{**rows, 'group_ids': jnp.where(used, groups, -1)})
