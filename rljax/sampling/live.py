"""What is done to live samples between two `advance`: they fork, are appended to, are given up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rljax.sampling.shards import divide, on_shards
from rljax.sampling.slots import NO_TOKEN, tokens_before
from rljax.sampling.stream import Stream
from rljax.sampling.waiting import put_continued
from rljax.structs import Policy, PyTree, Requests, SamplerSettings

Array = jax.Array


def fork(
  policy: Policy,
  requests: Requests,
  state: Stream,
  parents: Array,
  children: Array,
  at: Array,
  *,
  mesh: Mesh | None = None,
) -> tuple[Stream, Array]:
  """Lets held samples go on from others that have a slot, at a token, without a prefill.

  Child c has the tokens of its parent before position `at`, with their records, and draws its own
  from there; its noise is that of its own draw_id and sample_index. Its limits and stop ids are its
  own.

  Args:
    policy, mesh: as in `begin`.
    requests: as in `begin`; a child has its parent's prompt (`prompt_row`) and prefix.
    state: between two `advance`.
    parents, children: int32 [F], rows of the requests; −1 = none. A child takes part once.
    at: int32 [F], position of the child's first own token: behind prompt and prefix, and at most
      the number of tokens that the parent has.

  Returns:
    (state, bool [F]: whether the child lives now). Those that do not are as they were: the parent
    has no slot, or is on another shard; the child was not held; no slot was free; or the cache has
    too little room: where drawn tokens stand in a ring (neither turns nor speculation), the steps
    since the parent's first token and those that the child may still take are
    `settings.max_new_tokens` at most, so forks far behind their parent's last token need more.

  Examples:
    >>> from rljax.structs import SamplerSettings
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = policy.init(jax.random.key(0))
    >>> limits = dict(max_prompt=2, max_new_tokens=2, temperature=1.0, stop_ids=[])
    >>> requests = sampling.make_requests([[3, 1]], samples_per_prompt=2, draw_ids=[0], **limits)
    >>> settings = SamplerSettings(length=9, max_new_tokens=7, slots=2, turns=True)
    >>> options = dict(seed=0, settings=settings)
    >>> held = jnp.array([False, True])  # the second sample waits
    >>> state = sampling.begin(policy, params, requests, held=held, **options)
    >>> state, _ = sampling.advance(policy, params, requests, state, num_windows=9, **options)
    >>> where = jnp.array([0]), jnp.array([1]), jnp.array([3])  # parent, child, position
    >>> state, lives = sampling.fork(policy, requests, state, *where)
    >>> print(lives)
    [ True]
  """

  def local(_, requests, own):
    return _fork_shard(policy, requests, *own)

  return _on_shards(mesh, local, None, requests, state, (parents, children), (at,))


def append(
  policy: Policy,
  params: PyTree,
  requests: Requests,
  state: Stream,
  samples: Array,
  tokens: Array,
  lengths: Array,
  *,
  settings: SamplerSettings,
  max_new_tokens: Array | None = None,
  mesh: Mesh | None = None,
) -> tuple[Stream, Array]:
  """Wakes samples that have ended their turn, with further tokens that the policy did not draw.

  Only the last token of the turn and what is appended are computed. The sample goes on as one that
  has all of this for a prefix would, token for token; in its rollout what is appended has no action
  mask, and `turn_ids` tells the turns apart. A stop sequence may begin in what is appended.

  Args:
    policy, params, requests, settings, mesh: as in `begin`, with `settings.turns`.
    state: between two `advance`.
    samples: int32 [F], rows of the requests that have ended; −1 = none. A sample takes part once.
    tokens: int32 [F, L], right padded.
    lengths: int32 [F], tokens; with 0 a sample that has met its limit goes on.
    max_new_tokens: int32 [F], tokens of the next turn; None = those of the requests, for each turn.

  Returns:
    (state, bool [F]: whether the sample lives now). Those that do not are as they were: the sample
    keeps no slot, or what is appended leaves no room within `settings.max_new_tokens` and `length`.
    They can be released.

  Raises:
    ValueError: the state has no turns.

  Examples:
    >>> from rljax.structs import SamplerSettings
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = policy.init(jax.random.key(0))
    >>> limits = dict(max_prompt=2, max_new_tokens=2, temperature=1.0, stop_ids=[])
    >>> requests = sampling.make_requests([[3, 1]], samples_per_prompt=2, draw_ids=[0], **limits)
    >>> settings = SamplerSettings(length=9, max_new_tokens=7, slots=2, turns=True)
    >>> state = sampling.begin(policy, params, requests, seed=0, settings=settings)
    >>> args = policy, params, requests, state
    >>> state, _ = sampling.advance(*args, seed=0, settings=settings, num_windows=9)
    >>> heard = jnp.array([[4, 5]]), jnp.array([2])  # two tokens for the first sample
    >>> args = policy, params, requests, state, jnp.array([0]), *heard
    >>> state, lives = sampling.append(*args, settings=settings)
    >>> print(lives)
    [ True]
  """
  if not settings.turns:
    raise ValueError('append: the rollout has no turns; begin it with settings.turns')
  limits = jnp.asarray(requests.max_new_tokens)[samples]
  limits = limits if max_new_tokens is None else jnp.asarray(max_new_tokens)

  def local(params, requests, own):
    return _append_shard(policy, params, requests, settings.length, *own)

  given = (tokens, lengths, limits)
  return _on_shards(mesh, local, params, requests, state, (samples,), given)


def release(
  requests: Requests, state: Stream, samples: Array, *, mesh: Mesh | None = None
) -> tuple[Stream, Array]:
  """Frees the slots of samples; one that is still being drawn is given up.

  Args:
    requests, mesh: as in `begin`.
    state: between two `advance`.
    samples: int32 [F], rows of the requests; −1 = none.

  Returns:
    (state, bool [F]: whether the sample had a slot). What is given up is not handed out.

  Examples:
    >>> from rljax.structs import SamplerSettings
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = policy.init(jax.random.key(0))
    >>> limits = dict(max_prompt=2, max_new_tokens=3, temperature=1.0, stop_ids=[])
    >>> requests = sampling.make_requests([[3, 1]], samples_per_prompt=2, draw_ids=[0], **limits)
    >>> settings = SamplerSettings(length=5, max_new_tokens=3, slots=2)
    >>> state = sampling.begin(policy, params, requests, seed=0, settings=settings)
    >>> state, freed = sampling.release(requests, state, jnp.array([0, -1]))
    >>> print(freed)
    [False False]
  """

  def local(_, requests, own):
    state, samples = own
    found, slot = _slots_of(state, samples)
    row = jnp.where(found, samples, len(state.held))
    slot = jnp.where(found, slot, len(state.slots.sample))
    freed = state.slots.sample.at[slot].set(len(state.held), mode='drop')
    handed_out = state.handed_out.at[row].set(True, mode='drop')
    slots = state.slots.replace(sample=freed)
    return state.replace(slots=slots, handed_out=handed_out), found

  return _on_shards(mesh, local, None, requests, state, (samples,), ())


def _on_shards(mesh, local, whole, requests, state, rows, given) -> tuple[Stream, Array]:
  """`local(whole, requests, (state, *rows, *given))` where each shard sees the rows that it has."""
  shards, requests = divide(mesh, requests)
  rows, given = jax.tree.map(jnp.asarray, (rows, given))
  if shards == 1:
    return on_shards(mesh, local, whole, requests, (state, *rows, *given))
  size = requests.group_ids.shape[0] // shards
  rows = [x[None, :] - size * jnp.arange(shards)[:, None] for x in rows]
  rows = [jnp.where((x >= 0) & (x < size), x, -1) for x in rows]
  given = [jnp.broadcast_to(x, (shards, *x.shape)) for x in given]
  state, done = on_shards(mesh, local, whole, requests, (state, *rows, *given))
  return state, jnp.any(done, axis=0)


def _slots_of(state: Stream, samples: Array) -> tuple[Array, Array]:
  """(whether each sample has a slot, drawn or kept; int32 which)."""
  sample, count = samples[:, None], len(state.held)
  slots = state.slots.sample[None, :]
  mine = (slots == sample) | (slots == sample + count + 1)
  mine &= sample >= 0
  return jnp.any(mine, axis=1), jnp.argmax(mine, axis=1)


def _fork_shard(policy, requests, state, parents, children, at) -> tuple[Stream, Array]:
  """`fork` for the rows of one shard."""
  samples, slots = state.samples, state.slots
  count, num_slots = state.held.shape[0], slots.sample.shape[0]
  parent, child = jnp.clip(parents, 0, count - 1), jnp.clip(children, 0, count - 1)
  fits, source = _slots_of(state, parents)
  kept = at - samples.given[parent]
  fits &= (children >= 0) & state.held[child]
  fits &= (kept >= 0) & (kept <= samples.num_new[parent]) & (kept < samples.allowed[child])
  if not state.by_position:
    steps = slots.steps - slots.since[source] + samples.allowed[child] - kept
    fits &= steps <= samples.records.tokens.shape[1]
  free = jnp.nonzero(slots.sample == count, size=num_slots, fill_value=num_slots)[0]
  slot = free.at[jnp.cumsum(fits) - 1].get(mode='fill', fill_value=num_slots)
  slot = jnp.where(fits, slot, num_slots)
  fits &= slot < num_slots
  child = jnp.where(fits, child, count)

  def inherit(x):
    return x.at[child].set(x[parent], mode='drop')

  before = _last_tokens(requests, samples, parent, at, slots)
  appended = samples.appended
  if appended is not None:
    lines = jnp.arange(appended.shape[1])[None, :]
    appended = appended.at[child].set(appended[parent] & (lines < kept[:, None]), mode='drop')
  samples = samples.replace(
    num_new=samples.num_new.at[child].set(kept, mode='drop'),
    records=jax.tree.map(inherit, samples.records),
    appended=appended,
  )
  slots = slots.replace(
    sample=slots.sample.at[slot].set(child, mode='drop'),
    tokens=slots.tokens.at[slot].set(before[0], mode='drop'),
    tail=slots.tail.at[slot].set(before[1], mode='drop'),
    since=slots.since.at[slot].set(slots.since[source], mode='drop'),
    cache=policy.copy(slots.cache, slot, source),
  )
  held = state.held.at[child].set(False, mode='drop')
  return state.replace(samples=samples, slots=slots, held=held), fits


def _append_shard(policy, params, requests, length, state, rows, tokens, lengths, limits):
  """`append` for the rows of one shard."""
  samples, slots = state.samples, state.slots
  count, num_slots, width = state.held.shape[0], slots.sample.shape[0], samples.appended.shape[1]
  row = jnp.clip(rows, 0, count - 1)
  fits, slot = _slots_of(state, rows)
  line = samples.num_new[row]
  fits &= (slots.sample[slot] > count) & (lengths >= 0) & (lengths <= tokens.shape[1])
  most = jnp.minimum(jnp.minimum(width, length - samples.given[row]), line + lengths + limits)
  fits &= line + lengths < most
  sample, slot = jnp.where(fits, row, count), jnp.where(fits, slot, num_slots)
  end_of_turn = _last_tokens(requests, samples, row, samples.given[row] + line, slots)[0]

  new = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
  place = jnp.where(fits[:, None] & (new < lengths[:, None]), line[:, None] + new, width)
  drawn = samples.records.tokens
  drawn = drawn.at[row[:, None], place].set(tokens, mode='drop')
  samples = samples.replace(
    allowed=samples.allowed.at[sample].set(most, mode='drop'),
    num_new=samples.num_new.at[sample].add(lengths, mode='drop'),
    stopped=samples.stopped.at[sample].set(False, mode='drop'),
    records=samples.records._replace(tokens=drawn),
    appended=samples.appended.at[row[:, None], place].set(True, mode='drop'),
  )
  at = samples.given[row] + samples.num_new[row]
  last, tail = _last_tokens(requests, samples, row, at, slots)
  # The cache lacks the last token of the turn; the last of all is decoded next.
  order = jnp.argsort(~fits, stable=True)
  text = jnp.concatenate([end_of_turn[:, None], tokens], axis=1)
  cache = put_continued(
    policy, params, slots.cache, jnp.where(fits, slot, -1)[order], None, slot[order],
    text[order, :-1], (samples.given[row] + line - 1)[order],
  )  # fmt: skip
  slots = slots.replace(
    sample=slots.sample.at[slot].set(sample, mode='drop'),
    tokens=slots.tokens.at[slot].set(last, mode='drop'),
    tail=slots.tail.at[slot].set(tail, mode='drop'),
    cache=cache,
  )
  handed_out = state.handed_out.at[sample].set(False, mode='drop')
  return state.replace(samples=samples, slots=slots, handed_out=handed_out), fits


def _last_tokens(requests, samples, row, at, slots) -> tuple[Array, Array]:
  """Before position `at` of samples: the last token, and what `Slots.tail` has of a completion."""
  length = slots.tail.shape[1]
  before, is_drawn = tokens_before(requests, samples, row, at, max(length, 1))
  tail = jnp.where(is_drawn, before, NO_TOKEN)[:, before.shape[1] - length :]
  return before[:, -1], tail
