"""Samples of one iteration → `Batch`: rows that hold several samples, cut into minibatches.

Every shape is a function of the layout alone, so the update compiles once; how many rows are used
is data (`num_micro`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from rljax.structs import Batch, Rollout

TOKEN_DTYPES = {
  'tokens': np.int32,
  'action_mask': bool,
  'policy_logprobs': np.float32,
  'behavior_logprobs': np.float32,
  'policy_step': np.int32,
}


class CapacityError(ValueError):
  """The samples of an iteration do not fit the layout."""


@dataclasses.dataclass(frozen=True)
class Layout:
  """The shapes of a `Batch`.

  Attributes:
    minibatches: K, optimizer steps of one epoch.
    micro_batches: M, capacity of a minibatch in micro-batches.
    rows: r, rows of one micro-batch; a multiple of the devices that share the rows.
    row_length: T, slots of a row.
    samples_per_row: S.
    samples: N, capacity of the sample arrays.
  """

  minibatches: int
  micro_batches: int
  rows: int
  row_length: int
  samples_per_row: int
  samples: int


def make_layout(
  *,
  samples: int,
  group_size: int,
  max_length: int,
  minibatches: int = 1,
  rows: int = 8,
  row_length: int = 0,
  packed: bool = True,
) -> Layout:
  """The layout that holds `samples` samples of at most `max_length` tokens, whatever their lengths.

  Args:
    samples: N.
    group_size: samples of one prompt; a group stays in one minibatch.
    max_length: tokens of the longest possible sample, prompt and completion.
    minibatches: K.
    rows: r.
    row_length: T; 0 = the smallest multiple of 128 that holds one maximal sample.
    packed: several samples a row; False = one.

  Raises:
    ValueError: a sample does not fit into a row, or there are fewer groups than minibatches.
  """
  length = row_length or -(-max_length // 128) * 128
  if length < max_length:
    raise ValueError(
      f'row_length is {row_length} tokens, but a sample may have {max_length} '
      f'(max_prompt + max_new_tokens)'
    )
  groups = samples // group_size
  if groups < minibatches:
    raise ValueError(f'{groups} groups cannot be cut into {minibatches} minibatches')
  per_row = max(1, min(length // 4, 32)) if packed else 1
  sure = min(per_row, length // max_length)
  most = -(-groups // minibatches) * group_size
  return Layout(
    minibatches=minibatches,
    micro_batches=-(-most // (sure * rows)),
    rows=rows,
    row_length=length,
    samples_per_row=per_row,
    samples=samples,
  )


def _first_fit(lengths: np.ndarray, layout: Layout) -> list[list[int]]:
  """Sample indices by row: first fit, longest first; ties keep their order."""
  rows: list[list[int]] = []
  space: list[int] = []
  open_from = 0  # rows before this one are full
  for index in np.argsort(-lengths, kind='stable'):
    need = int(lengths[index])
    for row in range(open_from, len(rows)):
      if space[row] >= need and len(rows[row]) < layout.samples_per_row:
        break
    else:
      row = len(rows)
      rows.append([])
      space.append(layout.row_length)
    rows[row].append(int(index))
    space[row] -= need
    while open_from < len(rows) and (
      not space[open_from] or len(rows[open_from]) == layout.samples_per_row
    ):
      open_from += 1
  return rows


def _minibatch_of_group(group_ids: np.ndarray, minibatches: int) -> np.ndarray:
  """int [N]: groups go to minibatches in order of appearance, in shares that differ by one."""
  used = group_ids >= 0
  _, first, inverse = np.unique(group_ids[used], return_index=True, return_inverse=True)
  order = np.argsort(np.argsort(first))  # rank of each group by its first sample
  out = np.full(len(group_ids), -1)
  out[used] = order[inverse] * minibatches // max(len(first), 1)
  return out


def pack(
  rollout: Rollout,
  rewards: np.ndarray,
  layout: Layout,
  *,
  components: Mapping[str, np.ndarray] | None = None,
  extras: Mapping[str, np.ndarray] | None = None,
) -> tuple[Batch, float]:
  """Packs the used samples of a rollout (host arrays).

  Args:
    rollout: numpy arrays; rows with group_ids −1 are left out.
    rewards: float [N], NaN = unscorable.
    layout: the shapes.
    components: float [N] by name.
    extras: sample arrays [N, …] of a method's own.

  Returns:
    (batch of numpy arrays, fraction of the capacity in rows that is used).

  Raises:
    CapacityError: the samples do not fit; names the knobs.
  """
  k, m, r, t = layout.minibatches, layout.micro_batches, layout.rows, layout.row_length
  s, n = layout.samples_per_row, layout.samples
  if len(rollout.group_ids) > n:
    raise CapacityError(f'{len(rollout.group_ids)} samples, but the layout holds {n} (samples)')
  longest = int(np.max(rollout.num_tokens, initial=0))
  if longest > t:
    raise CapacityError(f'a sample has {longest} tokens, but a row holds {t} (row_length)')

  tokens = {name: np.zeros((k, m * r, t), dtype) for name, dtype in TOKEN_DTYPES.items()}
  if rollout.entropy is not None:
    tokens['entropy'] = np.zeros((k, m * r, t), np.float32)
  sources = {name: np.asarray(getattr(rollout, name)) for name in tokens}
  tokens['positions'] = np.zeros((k, m * r, t), np.int32)
  sources['positions'] = np.broadcast_to(np.arange(t), (len(rollout.group_ids), t))
  tokens['segment_ids'] = np.full((k, m * r, t), -1, np.int32)
  sample_ids = np.full((k, m * r, s), -1, np.int32)
  num_micro = np.zeros(k, np.int32)
  lengths = np.asarray(rollout.num_tokens)
  minibatch = _minibatch_of_group(np.asarray(rollout.group_ids), k)

  used_rows = 0
  for which in range(k):
    members = np.flatnonzero(minibatch == which)
    rows = _first_fit(lengths[members], layout)
    if len(rows) > m * r:
      raise CapacityError(
        f'minibatch {which} needs {len(rows)} rows, but the layout holds {m} × {r} '
        f'(micro_batches × rows)'
      )
    used_rows += len(rows)
    num_micro[which] = -(-len(rows) // r)
    for row, indices in enumerate(rows):
      start = 0
      for segment, index in enumerate(members[indices]):
        end = start + int(lengths[index])
        for name, source in sources.items():
          tokens[name][which, row, start:end] = source[index, : end - start]
        tokens['segment_ids'][which, row, start:end] = segment
        sample_ids[which, row, segment] = index
        start = end

  shape = (k, m, r)
  flat = sample_ids.reshape(-1)
  sample_slots = np.full(n, -1, np.int32)
  sample_slots[flat[flat >= 0]] = np.flatnonzero(flat >= 0)
  batch = Batch(
    **{name: value.reshape(*shape, t) for name, value in tokens.items()},
    token_rewards=np.zeros((*shape, t), np.float32),
    sample_ids=sample_ids.reshape(*shape, s),
    num_micro=num_micro,
    sample_slots=sample_slots,
    **_sample_arrays(rollout, rewards, components or {}, extras or {}, n),
  )
  return batch, used_rows / (k * m * r)


def _sample_arrays(rollout, rewards, components, extras, capacity) -> dict:
  """The [N] arrays, padded to the capacity."""

  def padded(x, dtype, fill=0):
    x = np.asarray(x, dtype)
    out = np.full((capacity, *x.shape[1:]), fill, dtype)
    out[: len(x)] = x
    return out

  count = len(rollout.group_ids)
  return {
    'group_ids': padded(rollout.group_ids, np.int32, -1),
    'rewards': padded(rewards, np.float32),
    'reward_components': {k: padded(v, np.float32) for k, v in components.items()},
    'temperature': padded(rollout.temperature, np.float32, 1),
    'prompt_length': padded(rollout.prompt_length, np.int32),
    'num_tokens': padded(rollout.num_tokens, np.int32),
    'truncated': padded(rollout.truncated, bool),
    'is_external': padded(np.zeros(count, bool), bool),
    'role_ids': padded(np.zeros(count), np.int32),
    'extras': {k: padded(v, np.asarray(v).dtype) for k, v in extras.items()},
  }
