"""The samples that wait for a slot: their order, the cache of their prompts, how they get in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from rljax import trips
from rljax.sampling.slots import (
  Samples,
  Slots,
  Work,
  cache_options,
  completion_tail,
  given_room,
  last_of_prefix,
)
from rljax.structs import Policy, PyTree

Array = jax.Array

PIECE = 8  # prefixes that are prefilled at once


@struct.dataclass
class Queue:
  """The samples that wait, those of a prompt together, and the cache of some prompts.

  Attributes:
    order: int32 [N], samples by prompt row; the first `count` of them are to be drawn.
    count, next: int32 scalars; order[next] is the next sample.
    first: int32 scalar, prompt row of the first of the cached prompts, which follow each other.
    prompts: cache of the policy.
    prompts_at_once: rows of that cache.
  """

  order: Array
  count: Array
  next: Array
  first: Array
  prompts: PyTree
  prompts_at_once: int = struct.field(pytree_node=False)


def make_queue(work: Work, samples: Samples, num_slots: int) -> Queue:
  """All samples that may draw; no prompt is prefilled yet."""
  requests = work.requests
  num_prompts = requests.prompts.shape[0]
  # As many prompts as fill the slots, if all have as many samples.
  at_once = work.settings.prompts_at_once or -(-num_prompts * num_slots // work.num_samples)
  at_once = min(at_once, num_prompts)
  waiting = samples.allowed > 0
  order = jnp.argsort(jnp.where(waiting, requests.prompt_row, num_prompts), stable=True)
  return Queue(
    order=order.astype(jnp.int32),
    count=jnp.sum(waiting).astype(jnp.int32),
    next=jnp.zeros((), jnp.int32),
    first=jnp.asarray(-at_once, jnp.int32),
    prompts=work.policy.init_cache(at_once, given_room(requests), **cache_options(work.settings)),
    prompts_at_once=at_once,
  )


def refill(work: Work, samples: Samples, slots: Slots, queue: Queue) -> tuple[Slots, Queue]:
  """Fills free slots while samples wait; prompts are prefilled when they are due."""
  n = work.num_samples

  def going_on(carry):
    slots, queue = carry
    return (queue.next < queue.count) & jnp.any(slots.sample == n)

  def some(carry):
    slots, queue = carry
    queue = _with_prompts(work, queue)
    free = slots.sample == n
    place = queue.next + jnp.cumsum(free, dtype=jnp.int32) - 1
    sample = queue.order[jnp.clip(place, 0, n - 1)]
    source = jnp.asarray(work.requests.prompt_row)[sample] - queue.first
    fits = free & (place < queue.count) & (source < queue.prompts_at_once)
    slots = _admit(work, samples, slots, queue, sample, source, fits)
    return slots, queue.replace(next=queue.next + jnp.sum(fits, dtype=jnp.int32))

  # Once before the first step, and with each of the turns that `drive` notes: one is too many.
  turns = -(-n // slots.sample.shape[0])
  with trips.taken(turns / (turns + 1)):
    return lax.while_loop(going_on, some, (slots, queue))


def _with_prompts(work: Work, queue: Queue) -> Queue:
  """The queue with the prompt of its next sample in the cache."""
  requests, size = work.requests, queue.prompts_at_once
  due = jnp.asarray(requests.prompt_row)[queue.order[queue.next]]
  missing = due >= queue.first + size
  first = jnp.where(missing, due, queue.first)
  prompts = jnp.asarray(requests.prompts).at[first + jnp.arange(size)].get(mode='clip')

  def prefill(_, cache):
    starts = jnp.zeros(size, jnp.int32)
    return work.policy.prefill(work.params, cache, prompts, starts)[1]

  with trips.taken(1):
    cache = lax.fori_loop(0, missing.astype(jnp.int32), prefill, queue.prompts)
  return queue.replace(first=first, prompts=cache)


def _admit(work, samples, slots, queue, sample, source, fits) -> Slots:
  """Slots with the samples [S] that fit, continued from row `source` of the prompts' cache."""
  requests = work.requests
  row = jnp.asarray(requests.prompt_row)[sample]
  prompt_length = jnp.asarray(requests.prompt_length)[row]
  last = jnp.asarray(requests.prompts)[row, jnp.maximum(prompt_length - 1, 0)]
  order = jnp.argsort(~fits, stable=True)
  rows = jnp.where(fits[order], order, -1)
  if requests.prefix is None:
    cache = work.policy.put(slots.cache, rows, queue.prompts, source[order])
  else:
    cache = _put_with_prefixes(work, slots.cache, queue.prompts, rows, sample[order], source[order])
    has_prefix = jnp.asarray(requests.prefix_length)[sample] > 0
    last = jnp.where(has_prefix, last_of_prefix(requests)[sample], last)
  tail = completion_tail(requests, slots.tail.shape[1])[sample]
  return slots.replace(
    sample=jnp.where(fits, sample, slots.sample),
    tokens=jnp.where(fits, last, slots.tokens),
    tail=jnp.where(fits[:, None], tail, slots.tail),
    since=jnp.where(fits, slots.steps, slots.since),
    cache=cache,
  )


def _put_with_prefixes(work, cache, prompts, rows, sample, source):
  """Prompt and prefix into the rows [S]; those at the end are none."""
  requests = work.requests
  starts = jnp.asarray(requests.prompt_length)[jnp.asarray(requests.prompt_row)[sample]]
  prefix = jnp.asarray(requests.prefix)[sample]
  return put_continued(work.policy, work.params, cache, rows, prompts, source, prefix, starts)


def put_continued(
  policy: Policy,
  params: PyTree,
  cache: PyTree,
  rows: Array,
  origin: PyTree | None,
  source: Array,
  tokens: Array,
  starts: Array,
) -> PyTree:
  """Rows of a cache become other rows that go on with further tokens; a few rows at a time.

  Args:
    policy, params: of the model.
    cache: its rows are changed.
    rows: int32 [F]; −1 = none, which stand at the end.
    origin: the cache whose rows go on; None = `cache` itself.
    source: int32 [F], rows of `origin`.
    tokens: int32 [F, L].
    starts: int32 [F], position of the first.
  """
  total = rows.shape[0]
  size = min(PIECE, total)
  count = jnp.sum(rows >= 0)

  def piece(i, cache):
    at = i * size + jnp.arange(size)
    here = jnp.minimum(at, total - 1)
    continued = policy.take(cache if origin is None else origin, jnp.clip(source[here], 0))
    continued = policy.prefill(params, continued, tokens[here], starts[here])[1]
    return policy.put(cache, jnp.where(at < total, rows[here], -1), continued)

  with trips.taken(-(-total // size)):
    return lax.fori_loop(0, -(-count // size), piece, cache)
