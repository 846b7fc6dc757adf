"""A rollout in bounded steps: finished samples reach the host while others are being drawn.

`begin` makes the state, `advance` goes on for some windows and hands out samples that have ended.
The host dispatches one `advance` before it reads what the one before has handed out; see
`rollouts.streamed`. Between two of them `sampling.live` may fork samples or append to them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from rljax.sampling.loop import assemble, check_settings, drive
from rljax.sampling.shards import divide, of_one_shard, on_shards
from rljax.sampling.slots import Samples, Slots, Work, of_samples, row_keys_of, start
from rljax.sampling.waiting import Queue, make_queue, refill
from rljax.structs import Policy, PyTree, Requests, Rollout, SamplerSettings

Array = jax.Array


@struct.dataclass
class Stream:
  """A rollout under way; on a mesh with several shards of rows all leaves have an axis [shards].

  Attributes:
    samples, slots, queue: of the engine.
    handed_out: bool [N], samples that `advance` has returned.
    held: bool [N], samples that wait for `fork`.
    by_position: whether the cache holds drawn tokens at their positions.
  """

  samples: Samples
  slots: Slots
  queue: Queue
  handed_out: Array
  held: Array
  by_position: bool = struct.field(pytree_node=False)


@struct.dataclass
class Finished:
  """Samples that have ended since.

  Attributes:
    sample: int32 [F], their rows in the requests; −1 = none. F = slots.
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
  mesh: Mesh | None = None,
) -> Stream:
  """The state of a rollout of which nothing is drawn.

  Args:
    policy, params, requests, seed, settings, mesh: as in `sample`. `params` in the compute dtype
      (`policy.cast`) save a cast in every `advance`.
    held: bool [N], samples that are not started but by `fork`; None = none.

  Raises:
    ValueError: as in `sample`.

  Examples:
    >>> from rljax.structs import SamplerSettings
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = policy.init(jax.random.key(0))
    >>> limits = dict(max_prompt=2, max_new_tokens=3, temperature=1.0, stop_ids=[])
    >>> requests = sampling.make_requests([[3, 1]], samples_per_prompt=2, draw_ids=[0], **limits)
    >>> settings = SamplerSettings(length=5, max_new_tokens=3, slots=2)
    >>> state = sampling.begin(policy, params, requests, seed=0, settings=settings)
    >>> print(type(state).__name__)  # nothing is drawn yet
    Stream
  """
  check_settings(settings, policy)
  held = jnp.zeros(requests.group_ids.shape, bool) if held is None else jnp.asarray(held)
  shards, requests = divide(mesh, requests)
  settings = of_one_shard(settings, shards, requests)
  held = jnp.pad(held, (0, requests.group_ids.shape[0] - held.shape[0]))

  def local(whole, requests, held):
    params, seed, settings = whole
    held &= requests.group_ids >= 0
    num_slots = min(settings.slots or len(held), len(held))
    work, samples, slots = start(Work(policy, params, requests, None, settings), seed, num_slots)
    waiting = samples.replace(allowed=jnp.where(held, 0, samples.allowed))
    return Stream(
      samples=samples,
      slots=slots,
      queue=make_queue(work, waiting, num_slots),
      handed_out=requests.group_ids < 0,
      held=held,
      by_position=settings.by_position,
    )

  held = held if shards == 1 else held.reshape(shards, -1)
  return on_shards(mesh, local, (params, jnp.asarray(seed), settings), requests, held)


def advance(
  policy: Policy,
  params: PyTree,
  requests: Requests,
  state: Stream,
  *,
  seed: Array | int,
  settings: SamplerSettings,
  num_windows: Array | int,
  mesh: Mesh | None = None,
) -> tuple[Stream, Finished]:
  """At most `num_windows` windows; then the samples that have ended, as many as there are slots.

  To be jitted with `state` donated; what has not been handed out is so in later calls. The samples
  are those of `sample`, token for token, however the calls are cut. With `settings.turns` a sample
  that has been handed out keeps its slot; others cannot have it until `append` or `release`.

  Args:
    policy, params, requests, seed, settings, mesh: as in `begin`.
    state: of `begin` or `advance`.
    num_windows: may be traced.

  Returns:
    (state, Finished).

  Examples:
    >>> from rljax.structs import SamplerSettings
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = policy.init(jax.random.key(0))
    >>> limits = dict(max_prompt=2, max_new_tokens=3, temperature=1.0, stop_ids=[])
    >>> requests = sampling.make_requests([[3, 1]], samples_per_prompt=2, draw_ids=[0], **limits)
    >>> settings = SamplerSettings(length=5, max_new_tokens=3, slots=2)
    >>> state = sampling.begin(policy, params, requests, seed=0, settings=settings)
    >>> state, done = sampling.advance(
    ...   policy, params, requests, state, seed=0, settings=settings, num_windows=9
    ... )
    >>> print(done.sample, done.done)
    [0 1] True
  """
  shards, requests = divide(mesh, requests)
  settings = of_one_shard(settings, shards, requests)

  def local(whole, requests, state):
    params, seed, settings, num_windows = whole
    work = Work(policy, params, requests, row_keys_of(requests, seed), settings)
    return _advance_shard(work, state, num_windows)

  whole = (params, jnp.asarray(seed), settings, jnp.asarray(num_windows))
  state, finished = on_shards(mesh, local, whole, requests, state)
  if shards == 1:
    return state, finished
  first = jnp.arange(shards)[:, None] * (requests.group_ids.shape[0] // shards)
  sample = jnp.where(finished.sample >= 0, finished.sample + first, -1)
  sample, rollout = jax.tree.map(
    lambda x: x.reshape(-1, *x.shape[2:]), (sample, finished.rollout)
  )
  return state, Finished(sample, rollout, jnp.all(finished.done))


def _advance_shard(work: Work, state: Stream, num_windows: Array) -> tuple[Stream, Finished]:
  """`advance` for the rows of one shard."""
  num_slots, count = state.slots.sample.shape[0], work.num_samples
  slots, queue = refill(work, state.samples, state.slots, state.queue)
  samples, slots, queue = drive(
    work, state.samples, slots, queue, size=num_slots, until=0, num_windows=num_windows
  )
  ended = samples.stopped | (samples.num_new >= samples.allowed)
  fresh = ended & ~state.handed_out & ~state.held
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
