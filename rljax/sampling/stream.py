"""A rollout in bounded steps: finished samples reach the host while others are being drawn.

`begin` makes the state, `advance` goes on for some windows and hands out samples that have ended,
`fork` lets further samples go on from live ones. The host dispatches one `advance` before it reads
what the one before has handed out; see `rollouts.streamed`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from rljax.sampling.loop import assemble, check_settings, drive
from rljax.sampling.slots import (
  NO_TOKEN,
  Samples,
  Slots,
  Work,
  of_samples,
  row_keys_of,
  start,
  tokens_before,
)
from rljax.sampling.waiting import Queue, make_queue, refill
from rljax.structs import Policy, PyTree, Requests, Rollout, SamplerSettings

Array = jax.Array


@struct.dataclass
class Stream:
  """A rollout under way.

  Attributes:
    samples, slots, queue: of the engine.
    handed_out: bool [N], samples that `advance` has returned.
    held: bool [N], samples that wait for `fork`.
  """

  samples: Samples
  slots: Slots
  queue: Queue
  handed_out: Array
  held: Array


@struct.dataclass
class Finished:
  """Samples that have ended since.

  Attributes:
    sample: int32 [F], their rows in the requests; −1 = none.
    rollout: Rollout of [F]; rows without a sample have group −1.
    done: bool scalar, every sample has been handed out or is held.
  """

  sample: Array
  rollout: Rollout
  done: Array


def begin(
  policy: Policy,
  params: PyTree,
  requests: Requests,
  *,
  seed: Array | int,
  settings: SamplerSettings,
  held: Array | None = None,
) -> Stream:
  """The state of a rollout of which nothing is drawn.

  Args:
    policy, params, requests, seed, settings: as in `sample`. `params` in the compute dtype
      (`policy.cast`) save a cast in every `advance`.
    held: bool [N], samples that are not started but by `fork`; None = none.

  Raises:
    ValueError: as in `sample`.
  """
  check_settings(settings, policy)
  requests = jax.tree.map(jnp.asarray, requests)
  count = requests.group_ids.shape[0]
  held = jnp.zeros(count, bool) if held is None else jnp.asarray(held) & (requests.group_ids >= 0)
  num_slots = min(settings.slots or count, count)
  work, samples, slots = start(Work(policy, params, requests, None, settings), seed, num_slots)
  waiting = samples.replace(allowed=jnp.where(held, 0, samples.allowed))
  return Stream(
    samples=samples,
    slots=slots,
    queue=make_queue(work, waiting, num_slots),
    handed_out=requests.group_ids < 0,
    held=held,
  )


def advance(
  policy: Policy,
  params: PyTree,
  requests: Requests,
  state: Stream,
  *,
  seed: Array | int,
  settings: SamplerSettings,
  num_windows: Array | int,
) -> tuple[Stream, Finished]:
  """At most `num_windows` windows; then the samples that have ended, as many as there are slots.

  To be jitted with `state` donated; what has not been handed out is so in later calls. The samples
  are those of `sample`, token for token, however the calls are cut.

  Args:
    policy, params, requests, seed, settings: as in `begin`.
    state: of `begin` or `advance`.
    num_windows: may be traced.

  Returns:
    (state, Finished).
  """
  requests = jax.tree.map(jnp.asarray, requests)
  work = Work(policy, params, requests, row_keys_of(requests, seed), settings)
  num_slots = state.slots.sample.shape[0]
  slots, queue = refill(work, state.samples, state.slots, state.queue)
  samples, slots, queue = drive(
    work, state.samples, slots, queue, size=num_slots, until=0, num_windows=num_windows
  )
  ended = samples.stopped | (samples.num_new >= samples.allowed)
  fresh = ended & ~state.handed_out & ~state.held
  count = work.num_samples
  sample = jnp.nonzero(fresh, size=num_slots, fill_value=count)[0].astype(jnp.int32)
  there = sample < count
  rows, keys = of_samples(work, sample)
  rows = rows.replace(group_ids=jnp.where(there, rows.group_ids, -1))
  some = jax.tree.map(lambda x: x.at[sample].get(mode='clip'), samples)
  handed_out = state.handed_out.at[sample].set(True, mode='drop')
  finished = Finished(
    sample=jnp.where(there, sample, -1),
    rollout=assemble(work._replace(requests=rows, keys=keys), some),
    done=jnp.all(handed_out | state.held),
  )
  return (
    state.replace(samples=samples, slots=slots, queue=queue, handed_out=handed_out), finished
  )


def fork(
  policy: Policy, requests: Requests, state: Stream, parents: Array, children: Array, at: Array
) -> tuple[Stream, Array]:
  """Lets held samples go on from live ones, at a token, without a prefill.

  Child c has the tokens of its parent before position `at`, with their records, and draws its own
  from there; its noise is that of its own draw_id and sample_index. Its limits and stop ids are its
  own.

  Args:
    policy: as in `begin`.
    requests: as in `begin`; a child has its parent's prompt (`prompt_row`) and prefix.
    state: between two `advance`.
    parents, children: int32 [F], rows of the requests; −1 = none. A child takes part once.
    at: int32 [F], position of the child's first own token: behind prompt and prefix, and at most
      the number of tokens that the parent has.

  Returns:
    (state, bool [F]: whether the child lives now). Those that do not are as they were: the parent
    is not live, the child was not held, no slot was free, or the cache has too little room: the
    steps since the parent's first token and those that the child may still take are
    `settings.max_new_tokens` at most, so forks far behind their parent's last token need more.
  """
  samples, slots = state.samples, state.slots
  count, num_slots = state.held.shape[0], slots.sample.shape[0]
  parent, child = jnp.clip(parents, 0, count - 1), jnp.clip(children, 0, count - 1)
  live = slots.sample[None, :] == parent[:, None]
  kept = at - samples.given[parent]
  fits = (parents >= 0) & (children >= 0) & jnp.any(live, axis=1) & state.held[child]
  fits &= (kept >= 0) & (kept <= samples.num_new[parent]) & (kept < samples.allowed[child])
  source = jnp.argmax(live, axis=1)
  steps = slots.steps - slots.since[source] + samples.allowed[child] - kept
  fits &= steps <= samples.records.tokens.shape[1]
  free = jnp.nonzero(slots.sample == count, size=num_slots, fill_value=num_slots)[0]
  slot = free.at[jnp.cumsum(fits) - 1].get(mode='fill', fill_value=num_slots)
  slot = jnp.where(fits, slot, num_slots)
  fits &= slot < num_slots
  child = jnp.where(fits, child, count)

  length = slots.tail.shape[1]
  before, is_drawn = tokens_before(requests, samples, parent, at, max(length, 1))
  tail = jnp.where(is_drawn, before, NO_TOKEN)[:, before.shape[1] - length :]
  samples = samples.replace(
    num_new=samples.num_new.at[child].set(kept, mode='drop'),
    records=jax.tree.map(lambda x: x.at[child].set(x[parent], mode='drop'), samples.records),
  )
  slots = slots.replace(
    sample=slots.sample.at[slot].set(child, mode='drop'),
    tokens=slots.tokens.at[slot].set(before[:, -1], mode='drop'),
    tail=slots.tail.at[slot].set(tail, mode='drop'),
    since=slots.since.at[slot].set(slots.since[source], mode='drop'),
    cache=policy.copy(slots.cache, slot, source),
  )
  held = state.held.at[child].set(False, mode='drop')
  return state.replace(samples=samples, slots=slots, held=held), fits
