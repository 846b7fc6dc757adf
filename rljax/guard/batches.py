"""Batches on disk, whole, so that the step that they fed can be repeated; their samples to read.

`nonfinite/<stage>-<iteration>/` holds `batch.npz`, the arrays as they went into the update, and
`record.json`: stage, iteration, the checkpoint from which a run comes there, what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rljax import files, hosts, sharding
from rljax.checkpoint.store import flatten, nest
from rljax.structs import Batch
from rljax.tokenization import Tokenizer

FOLDER = 'nonfinite'  # within a work directory
ARRAYS, RECORD = 'batch.npz', 'record.json'


def on_host(batch: Batch, mesh: Any) -> Batch:
  """The whole batch in numpy; where there are several hosts, all call it together."""
  if hosts.count() > 1:
    hosts.meet('a batch that is saved')
    batch = jax.jit(lambda x: x, out_shardings=sharding.replicated(mesh))(batch)
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), batch)
  return jax.tree.map(np.asarray, batch)


def save_batch(folder: Any, batch: Batch, record: Mapping[str, Any]) -> None:
  """Writes a batch (numpy) and what is known of it."""
  files.write_arrays(folder / ARRAYS, flatten(batch))
  files.write_json(folder / RECORD, files.plain(record))


def read_batch(folder: files.PathLike) -> tuple[Batch, dict[str, Any]]:
  """A saved batch (numpy) and its record.

  Raises:
    ValueError: there is none, or it holds something else.
  """
  place = files.as_path(folder)
  if not (place / RECORD).exists():
    raise ValueError(f'{place} holds no saved batch ({RECORD} is not there)')
  arrays = {'reward_components': {}, **nest(files.read_arrays(place / ARRAYS))}
  try:
    return Batch(**arrays), files.read_json(place / RECORD)
  except TypeError as error:
    raise ValueError(f'{place / ARRAYS} holds no batch: {error}') from error


def saved(workdir: Any) -> list[str]:
  """The names of the batches in a work directory."""
  folder = files.as_path(workdir) / FOLDER
  return [name for name in files.names(folder) if (folder / name / RECORD).exists()]


def pinned(workdir: Any) -> set[int]:
  """The checkpoints that saved batches need, to be repeated."""
  folder = files.as_path(workdir) / FOLDER
  found = {files.read_json(folder / name / RECORD)['checkpoint'] for name in saved(workdir)}
  return found - {None}


def samples(
  batch: Batch, tokenizer: Tokenizer, log_ratios: np.ndarray | None = None
) -> list[dict[str, Any]]:
  """The samples of a batch (numpy) to read: ids, texts, rewards, and how far the policy has moved.

  Args:
    batch: in numpy.
    tokenizer: of the policy.
    log_ratios: float [K, M, r, T], nats, 0 where nothing was sampled: the present log-probs less
      those of the draw; None: there are none.

  Returns:
    one dict for each sample; those whose log-ratio is largest first.
  """
  rows = [
    _sample(batch, slot, tokenizer, log_ratios)
    for slot in np.flatnonzero((batch.group_ids >= 0) & (batch.sample_slots >= 0))
  ]
  return sorted(rows, key=_change, reverse=True)


def _change(row: Mapping[str, Any]) -> float:
  """How far a sample's log-prob has moved; what is not finite comes first."""
  moved = abs(row.get('log_ratio', 0.0))
  return moved if math.isfinite(moved) else math.inf


def _sample(batch, slot, tokenizer, log_ratios):
  *place, segment = np.unravel_index(batch.sample_slots[slot], batch.sample_ids.shape)
  place = tuple(place)
  own = batch.segment_ids[place] == segment
  ids = batch.tokens[place][own]
  if batch.prefix_ids is not None and (prefix := batch.prefix_ids[place][own].max(initial=-1)) >= 0:
    ids = np.concatenate([batch.tokens[place][batch.segment_ids[place] == prefix], ids])
  length = int(batch.prompt_length[slot])
  row = {
    'prompt_id': int(batch.prompt_ids[slot]),
    'group_id': int(batch.group_ids[slot]),
    'slot': int(slot),
    'prompt': tokenizer.decode(ids[:length].tolist()),
    'completion': tokenizer.decode(ids[length:].tolist()),
    'tokens': len(ids),
    'reward': float(batch.rewards[slot]),
  }
  if log_ratios is not None:
    found = log_ratios[place][own & batch.action_mask[place]].astype(np.float64)
    row['log_ratio'] = float(found.sum())
    row['ratio_min'] = float(np.exp(found.min(initial=0)))
    row['ratio_max'] = float(np.exp(found.max(initial=0)))
  return row
