"""Samples of one iteration → `Batch`: rows that hold several samples, cut into minibatches.

Every shape is a function of the layout alone, so the update compiles once; how many rows are used
is data (`num_micro`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rljax import hosts
from rljax.data import bins
from rljax.data.layout import CapacityError, Layout, make_layout
from rljax.shares import ALONE, Shares
from rljax.structs import Batch, Rollout

__all__ = ['CapacityError', 'Layout', 'make_layout', 'pack', 'shared_fraction']

TOKEN_DTYPES = {
  'tokens': np.int32,
  'action_mask': bool,
  'policy_logprobs': np.float32,
  'behavior_logprobs': np.float32,
  'policy_step': np.int32,
}


def pack(
  rollout: Rollout,
  rewards: np.ndarray,
  layout: Layout,
  *,
  components: Mapping[str, np.ndarray] | None = None,
  extras: Mapping[str, np.ndarray] | None = None,
  owners: np.ndarray | None = None,
) -> tuple[Batch, float]:
  """Packs the used samples of a rollout (host arrays): those of this process, into its own rows.

  Every process knows lengths and groups of all, so it knows where each sample stands.

  Args:
    rollout: numpy arrays; rows with group_ids −1 are left out.
    rewards: float [N], NaN = unscorable.
    layout: the shapes.
    components: float [N] by name.
    extras: arrays of a method's own by name: of samples [N, …], or of tokens, then with the shape
      of the rollout's, or one axis more; also 'token_rewards', 'is_external' and 'role_ids', which
      are 0 without.
    owners: int [N], the share of `layout.shares` that holds the tokens of each sample; None: all
      hold all of them, and groups go to shares in turns.

  Returns:
    (batch of numpy arrays, of token arrays the rows of this process; fraction of the capacity in
    rows that is used).

  Raises:
    CapacityError: the samples do not fit; names the knobs.
  """
  k, m, r, t = layout.minibatches, layout.micro_batches, layout.own_rows, layout.row_length
  s, n = layout.samples_per_row, layout.samples
  if len(rollout.group_ids) > n:
    raise CapacityError(f'{len(rollout.group_ids)} samples, but the layout holds {n} (samples)')
  longest = int(np.max(rollout.num_tokens, initial=0))
  if longest > t:
    raise CapacityError(f'a sample has {longest} tokens, but a row holds {t} (row_length)')

  extras = dict(extras or {})
  sources = _token_sources(rollout, extras, t)
  tokens = {n: np.zeros((k, m * r, t, *x.shape[2:]), x.dtype) for n, x in sources.items()}
  for name in tokens.keys() & {*extras, 'routing'}:
    if tokens[name].dtype.kind == 'i':
      tokens[name] -= 1  # ids: none where nothing stands
  for name in ('segment_ids', 'prefix_ids'):
    tokens[name] = np.full((k, m * r, t), -1, np.int32)
  sample_ids = np.full((k, m * r, s), -1, np.int32)
  num_micro = np.zeros(k, np.int32)
  samples = _to_pack(rollout, layout)
  minibatch = bins.minibatch_of_group(samples.group_ids, k)
  owners = _in_turns(samples.group_ids, len(layout.shares)) if owners is None else owners
  whose = dataclasses.replace(layout, rows=r)  # of one share
  places, used_rows = np.full(n, -1, np.int32), 0
  for which, share in np.ndindex(k, len(layout.shares)):
    members = np.flatnonzero((minibatch == which) & (owners == share))
    rows = bins.fit(samples.take(members), whose)
    if len(rows) > m * r:
      raise CapacityError(
        f'minibatch {which} needs {len(rows)} rows{_of_share(layout, share)}, but the layout holds '
        f'{m} × {r} (micro_batches × rows)'
      )
    used_rows += len(rows)
    num_micro[which] = max(num_micro[which], -(-len(rows) // r))
    everywhere = layout.shares.rows(layout.rows, share)
    for row, indices in enumerate(rows):
      start, line = 0, (which * m + row // r) * layout.rows + everywhere[row % r]
      for segment, piece in enumerate(_pieces(members[indices], samples)):
        if piece.owned:
          places[piece.sample] = line * s + segment
        if share == layout.shares.own:
          sample_ids[which, row, segment] = piece.sample if piece.owned else -1
          lines = {name: x[which, row] for name, x in tokens.items()}
          start = _put(lines, sources, piece, segment, start)

  shape = (k, m, r)
  tokens = {name: x.reshape(*shape, *x.shape[2:]) for name, x in tokens.items()}
  if not layout.share_prompts:
    del tokens['prefix_ids']
  own = {name: tokens.pop(name) for name in list(tokens) if name in (*extras, 'routing')}
  of_samples = _sample_arrays(rollout, rewards, components or {}, extras, n)
  of_samples['extras'] |= {name: x for name, x in own.items() if name != 'token_rewards'}
  batch = Batch(
    **tokens,
    token_rewards=own.get('token_rewards', np.zeros((*shape, t), np.float32)),
    sample_ids=sample_ids.reshape(*shape, s),
    num_micro=num_micro,
    sample_slots=places,
    **of_samples,
  )
  return batch, used_rows / (k * m * layout.rows)


class _Piece(NamedTuple):
  """A segment of a row: tokens start … stop − 1 of a sample; they also see the segment `prefix`."""

  sample: int
  start: int
  stop: int
  prefix: int = -1
  owned: bool = True  # by the sample; a prompt that several share is nobody's


def _put(
  row: Mapping[str, np.ndarray],
  sources: Mapping[str, np.ndarray],
  piece: _Piece,
  number: int,
  start: int,
) -> int:
  """Writes a segment into the arrays of a row from slot `start` on; the slot behind it."""
  end = start + piece.stop - piece.start
  for name, source in sources.items():
    row[name][start:end] = source[piece.sample, piece.start : piece.stop]
  row['segment_ids'][start:end], row['prefix_ids'][start:end] = number, piece.prefix
  return end


def _to_pack(rollout: Rollout, layout: Layout) -> bins.Samples:
  """What packing has to know; prompts without their last token, which predicts the completion."""
  lengths, group_ids = np.asarray(rollout.num_tokens), np.asarray(rollout.group_ids)
  prompts, shared = np.full(len(lengths), -1), np.zeros(len(lengths), int)
  if layout.share_prompts:
    sampled = np.asarray(rollout.action_mask)
    first = np.where(sampled.any(axis=1), sampled.argmax(axis=1), lengths)
    shared = np.maximum(np.minimum(first, rollout.prompt_length) - 1, 0)
    known: dict[bytes, int] = {}
    for i in np.flatnonzero((group_ids >= 0) & (shared > 0)):
      prompts[i] = known.setdefault(rollout.tokens[i, : shared[i]].tobytes(), len(known))
  return bins.Samples(lengths, group_ids, prompts, shared)


def _pieces(row: np.ndarray, samples: bins.Samples) -> list[_Piece]:
  """The segments of a row of samples; a prompt of several stands before the first of them."""
  of = {int(p): row[samples.prompts[row] == p] for p in samples.prompts[row]}
  out: list[_Piece] = []
  for index in row:
    prompt = int(samples.prompts[index])
    together = of.pop(prompt, ()) if prompt >= 0 else [index]
    prefix, start = -1, 0
    if len(together) > 1:
      prefix, start = len(out), int(samples.shared[index])
      out.append(_Piece(int(index), 0, start, owned=False))
    for i in together:
      out.append(_Piece(int(i), start, int(samples.lengths[i]), prefix))
  return out


def _in_turns(group_ids: np.ndarray, count: int) -> np.ndarray:
  """int [N]: groups go to shares in turns, in order of appearance."""
  _, first, inverse = np.unique(group_ids, return_index=True, return_inverse=True)
  order = np.argsort(np.argsort(np.where(group_ids[first] < 0, len(group_ids), first)))
  return order[inverse] % count


def _of_share(layout: Layout, share: int) -> str:
  return f' on host {share}' if len(layout.shares) > 1 else ''


def shared_fraction(batch: Batch, shares: Shares = ALONE) -> float:
  """The fraction of the samples' tokens that sharing prompts has saved."""
  own = int((batch.segment_ids >= 0).sum()) * shares.leads
  whole = int(batch.num_tokens[batch.group_ids >= 0].sum())
  return 1 - int(hosts.total(own, 'metrics')) / max(whole, 1)


def _is_token_array(x: np.ndarray, rollout: Rollout) -> bool:
  return np.ndim(x) < 4 and np.shape(x)[:2] == np.shape(rollout.tokens)


def _token_sources(rollout, extras, length) -> dict[str, np.ndarray]:
  """Arrays [N, …] whose rows are to be packed, by the name of the packed array."""
  names = [*TOKEN_DTYPES, *(['entropy'] if rollout.entropy is not None else [])]
  sources = {n: np.asarray(getattr(rollout, n), TOKEN_DTYPES.get(n, np.float32)) for n in names}
  if rollout.routing is not None:
    sources['routing'] = np.asarray(rollout.routing)
  count = len(rollout.group_ids)
  sources['positions'] = np.broadcast_to(np.arange(length, dtype=np.int32), (count, length))
  own = {name: np.asarray(x) for name, x in extras.items() if _is_token_array(x, rollout)}
  if 'token_rewards' in own:
    own['token_rewards'] = own['token_rewards'].astype(np.float32)  # no ids, whatever they are
  kinds = {'f': np.float32, 'i': np.int32}
  return sources | {n: x.astype(kinds.get(x.dtype.kind, x.dtype)) for n, x in own.items()}


def _sample_arrays(rollout, rewards, components, extras, capacity) -> dict:
  """The [N] arrays, padded to the capacity."""

  def padded(x, dtype, fill=0):
    x = np.asarray(x, dtype)
    out = np.full((capacity, *x.shape[1:]), fill, dtype)
    out[: len(x)] = x
    return out

  count = len(rollout.group_ids)
  own = {name: x for name, x in extras.items() if not _is_token_array(x, rollout)}
  return {
    'group_ids': padded(rollout.group_ids, np.int32, -1),
    'prompt_ids': padded(rollout.prompt_ids, np.int32),
    'rewards': padded(rewards, np.float32),
    'reward_components': {k: padded(v, np.float32) for k, v in components.items()},
    'temperature': padded(rollout.temperature, np.float32, 1),
    'prompt_length': padded(rollout.prompt_length, np.int32),
    'num_tokens': padded(rollout.num_tokens, np.int32),
    'truncated': padded(rollout.truncated, bool),
    'is_external': padded(own.pop('is_external', np.zeros(count)), bool),
    'role_ids': padded(own.pop('role_ids', np.zeros(count)), np.int32),
    'extras': {k: padded(v, np.asarray(v).dtype) for k, v in own.items()},
  }
