"""`sample`: requests in, a rollout out, one program; slots are refilled from a queue on the device.

The rollout of a sample does not depend on slots, window or mesh; see `sampling.noise`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from rljax import filters, trips
from rljax.sampling.shards import divide, of_one_shard, on_shards
from rljax.sampling.slots import Samples, Slots, Work, compact, start
from rljax.sampling.waiting import Queue, make_queue, refill
from rljax.sampling.window import run_window
from rljax.structs import Policy, PyTree, Requests, Rollout, SamplerSettings

Array = jax.Array

CAPTURE = ('entropy', 'top', 'routing')
SPECULATE = ('', 'lookup', 'draft')
LEAST_SLOTS = 4  # a drain to fewer saves nothing


class Counts(NamedTuple):
  """What the engine did; int32 [shards of the mesh].

  Decode steps, and slots that they computed; guessed tokens that were compared with the drawn
  ones (those behind a wrong one are not), and how many were right.
  """

  steps: Array
  slot_steps: Array
  drafted: Array
  accepted: Array


def sample(
  policy: Policy,
  params: PyTree,
  requests: Requests,
  *,
  seed: Array | int,
  settings: SamplerSettings,
  mesh: Mesh | None = None,
) -> Rollout:
  """Samples a completion for each row of `requests`; pure, to be jitted with `policy` closed over.

  The token at position t of a sample is `argmax_v filter(logits_v / τ) + g_v` with the noise g a
  function of (seed, draw_id, sample_index, t) alone, see `sampling.noise`. So a sample does not
  depend on its batch, on its place in it or on the mesh, and it continues from any prefix of its
  own completion with the same tokens (up to near ties, since logits agree to rounding only).

  A row ends with the first of its stop ids or stop sequences, which is kept, or after
  `max_new_tokens` tokens, or at slot `settings.length`. A prefix that ends so has ended already.
  Rows with group −1 are empty in the rollout; rows with max_new_tokens 0 hold prompt and prefix
  only.

  `settings.slots` samples are decoded at once. A slot whose sample has ended takes the next of the
  queue after at most `settings.window` steps; when the queue is empty and half of the slots are
  free, the rest goes on in half of the slots, and so on `settings.drains` times.

  Args:
    policy: of the model; its cache functions are used.
    params: its parameters; `policy.cast` is applied once, before the loop.
    requests: arrays, see `Requests` and `make_requests`.
    seed: integer in [0, 2³²), may be traced. Evaluation takes another one than training.
    settings: see `SamplerSettings`.
    mesh: where the rows are divided over data × fsdp: each shard has a queue, slots / shards slots
      and a cache of its own, and nothing leaves it. None: all on one device.

  Returns:
    Rollout with [N, T] arrays; log-probs and entropy in the dtype of the logits (float32 at
    least), 0 where nothing was drawn; `policy_step` is the requests' in all slots.

  Raises:
    ValueError: an unknown filter or capture, turns, or slots that the shards of the mesh do not
      divide.

  Examples:
    >>> from rljax.structs import SamplerSettings
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = policy.init(jax.random.key(0))
    >>> limits = dict(max_prompt=2, max_new_tokens=3, temperature=1.0, stop_ids=[])
    >>> requests = sampling.make_requests([[3, 1]], samples_per_prompt=2, draw_ids=[0], **limits)
    >>> settings = SamplerSettings(length=5, max_new_tokens=3, slots=2)
    >>> rollout = sampling.sample(policy, params, requests, seed=0, settings=settings)
    >>> print(rollout.num_tokens, rollout.action_mask[0].astype(int))
    [5 5] [0 0 1 1 1]
    >>> again = sampling.sample(policy, params, requests, seed=0, settings=settings)
    >>> print(bool((again.tokens == rollout.tokens).all()))
    True
  """
  return sample_and_count(policy, params, requests, seed=seed, settings=settings, mesh=mesh)[0]


def sample_and_count(
  policy: Policy,
  params: PyTree,
  requests: Requests,
  *,
  seed: Array | int,
  settings: SamplerSettings,
  mesh: Mesh | None = None,
) -> tuple[Rollout, Counts]:
  """`sample`, and what it took.

  Examples:
    >>> from rljax.structs import SamplerSettings
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = policy.init(jax.random.key(0))
    >>> limits = dict(max_prompt=2, max_new_tokens=3, temperature=1.0, stop_ids=[])
    >>> requests = sampling.make_requests([[3, 1]], samples_per_prompt=2, draw_ids=[0], **limits)
    >>> settings = SamplerSettings(length=5, max_new_tokens=3, slots=2)
    >>> args = policy, params, requests
    >>> rollout, counts = sampling.sample_and_count(*args, seed=0, settings=settings)
    >>> print(counts.steps, counts.slot_steps)  # three steps of two slots
    [3] [6]
  """
  check_settings(settings, policy)
  if settings.turns:
    raise ValueError('turns are taken in a rollout in steps; see `begin`')
  params = params if policy.cast is None else policy.cast(params)
  count = requests.group_ids.shape[0]
  shards, requests = divide(mesh, requests)

  def local(whole, requests, _):
    params, seed, settings = whole
    return _sample_shard(policy, params, requests, seed, settings)

  whole = (params, jnp.asarray(seed), of_one_shard(settings, shards, requests))
  rollout, counts = on_shards(mesh, local, whole, requests)
  if shards > 1:
    rollout = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], rollout)
  return rollout, jax.tree.map(lambda x: x.reshape(shards), counts)


def check_settings(settings: SamplerSettings, policy: Policy) -> None:
  """Raises ValueError where there are no such filters, captures or guesses."""
  filters.check_filters(settings.filters)
  for name in settings.capture:
    if name not in CAPTURE:
      raise ValueError(f'unknown capture {name!r}; there is {", ".join(CAPTURE)}')
  if 'top' in settings.capture and settings.num_top < 1:
    raise ValueError(f"capture 'top' with num_top={settings.num_top}; it is 1 at least")
  if 'routing' in settings.capture and policy.routed is None:
    raise ValueError("capture 'routing': the policy has no experts whose choice could be recorded")
  how = settings.speculate
  if how not in SPECULATE:
    raise ValueError(f'unknown speculate {how!r}; there is {", ".join(map(repr, SPECULATE))}')
  if how and settings.num_draft < 1:
    raise ValueError(f'speculate {how!r} with num_draft={settings.num_draft}; it is 1 at least')
  if settings.by_position and policy.extend is None:
    asks = f'speculate {how!r}' if how else 'turns'
    raise ValueError(f'{asks}: the policy has no `extend`')
  if how == 'draft' and policy.draft is None:
    raise ValueError("speculate 'draft': the policy has no draft model; see models.with_draft")


def _sample_shard(policy, params, requests, seed, settings) -> tuple[Rollout, Counts]:
  """`sample` for rows that stand on one device, or on the tensor axis of a mesh."""
  num_slots = min(settings.slots or requests.group_ids.shape[0], requests.group_ids.shape[0])
  work, samples, slots = start(Work(policy, params, requests, None, settings), seed, num_slots)
  queue = make_queue(work, samples, num_slots)
  slots, queue = refill(work, samples, slots, queue)
  sizes = _sizes(num_slots, settings.drains)
  samples, slots, queue = drive(
    work, samples, slots, queue, size=num_slots, until=sizes[0] if sizes else 0
  )
  for size, until in zip(sizes, [*sizes[1:], 0]):
    slots = compact(work, slots, size)
    samples, slots, queue = drive(work, samples, slots, queue, size=size, until=until)
  counts = Counts(slots.steps, slots.slot_steps, slots.drafted, slots.accepted)
  return assemble(work, samples), counts


def _sizes(num_slots: int, drains: int) -> list[int]:
  """Slots of each stage of the drain."""
  sizes = [num_slots >> i for i in range(1, drains + 1)]
  return [size for size in sizes if size >= LEAST_SLOTS]


def drive(
  work: Work,
  samples: Samples,
  slots: Slots,
  queue: Queue,
  *,
  size: int,
  until: int,
  num_windows: Array | None = None,
) -> tuple[Samples, Slots, Queue]:
  """Windows and refills until no sample waits and at most `until` live.

  Args:
    work, samples, slots, queue: the state.
    size: slots that take part; all of them while samples wait.
    until: live samples.
    num_windows: int32 scalar, windows at most; None = as many as it takes.
  """
  n = work.num_samples
  window = jnp.maximum(jnp.asarray(work.settings.window, jnp.int32), 1)

  def going_on(carry):
    _, slots, queue, left = carry
    waits = queue.next < queue.count  # and, with turns, perhaps for slots that are kept
    return (jnp.sum(slots.sample < n) > jnp.where(waits, 0, until)) & (left > 0)

  def one(carry):
    samples, slots, queue, left = carry
    here = jnp.minimum(slots.sample, n - 1)
    remaining = jnp.where(slots.sample < n, samples.allowed[here] - samples.num_new[here], 0)
    steps = jnp.minimum(window, jnp.max(remaining))
    samples, slots = run_window(work, samples, slots, size=size, num_steps=steps)
    if size == slots.sample.shape[0]:
      slots, queue = refill(work, samples, slots, queue)
    return samples, slots, queue, left - 1

  left = jnp.asarray(jnp.iinfo(jnp.int32).max if num_windows is None else num_windows, jnp.int32)
  # Samples of one length end together: each turn fills all slots anew, nothing is left to drain.
  total = slots.sample.shape[0]
  with trips.taken(-(-n // total) if size == total else 0):
    return lax.while_loop(going_on, one, (samples, slots, queue, left))[:3]


def assemble(work: Work, samples: Samples) -> Rollout:
  """The [N, T] arrays from the records."""
  requests, length = work.requests, work.settings.length
  used = requests.group_ids >= 0
  prompt_length = requests.prompt_length[requests.prompt_row]
  slot = jnp.arange(length, dtype=jnp.int32)[None, :]
  given = samples.given[:, None]
  num_tokens = jnp.where(used, jnp.minimum(samples.given + samples.num_new, length), 0)
  mask = slot < num_tokens[:, None]
  line = jnp.clip(slot - given, 0, work.most_new - 1)
  completion = action_mask = mask & (slot >= given)
  turn_ids = None

  def of_line(lines: Array) -> Array:
    return jnp.take_along_axis(lines, line.reshape(*line.shape, *(1,) * (lines.ndim - 2)), axis=1)

  if samples.appended is not None:
    appended = of_line(samples.appended)
    action_mask = completion & ~appended
    begins = samples.appended & ~jnp.pad(samples.appended, ((0, 0), (1, 0)))[:, :-1]
    turn_ids = jnp.where(completion, of_line(jnp.cumsum(begins, axis=1, dtype=jnp.int32)), 0)

  def place(lines: Array) -> Array:
    drawn = action_mask.reshape(*action_mask.shape, *(1,) * (lines.ndim - 2))
    return jnp.where(drawn, of_line(lines), 0)

  records = jax.tree.map(place, samples.records)
  routing = samples.routing
  if routing is not None:
    known = slot < num_tokens[:, None] - 1  # no last token was put in
    routing = jnp.where(known[..., None, None], routing, -1)
  tokens = _to_length(requests.prompts, length)[requests.prompt_row]
  if requests.prefix is not None:
    index = jnp.clip(slot - prompt_length[:, None], 0, requests.prefix.shape[1] - 1)
    prefix = jnp.take_along_axis(requests.prefix, index, axis=1)
    tokens = jnp.where(slot < prompt_length[:, None], tokens, prefix)
  return Rollout(
    tokens=jnp.where(completion, of_line(samples.records.tokens), jnp.where(mask, tokens, 0)),
    mask=mask,
    action_mask=action_mask,
    behavior_logprobs=records.behavior_logprobs,
    policy_logprobs=records.policy_logprobs,
    policy_step=jnp.full(mask.shape, requests.policy_step, jnp.int32),
    group_ids=requests.group_ids,
    draw_ids=requests.draw_ids,
    prompt_ids=requests.prompt_ids,
    sample_index=requests.sample_index,
    prompt_length=jnp.where(used, prompt_length, 0),
    num_tokens=num_tokens,
    temperature=requests.temperature,
    truncated=used & ~samples.stopped,
    entropy=records.entropy,
    turn_ids=turn_ids,
    top_ids=records.top_ids,
    top_logprobs=records.top_logprobs,
    routing=routing,
  )


def _to_length(prompts: Array, length: int) -> Array:
  """[Q, P] -> [Q, T] by padding or cutting on the right."""
  cut = prompts[:, :length]
  return jnp.pad(cut, ((0, 0), (0, length - cut.shape[1])))
