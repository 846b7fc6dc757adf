"""Slots that decode together, and the records of every sample.

A slot holds one live sample; what is drawn goes straight to the sample's own line of the records.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rljax.sampling import noise
from rljax.sampling.draw import Draw, draw
from rljax.structs import Policy, PyTree, Requests, SamplerSettings

Array = jax.Array

# The fields of `Requests` that belong to the sample; the others belong to the prompt or to all.
SAMPLE_FIELDS = (
  'prompt_row', 'group_ids', 'draw_ids', 'prompt_ids', 'sample_index', 'temperature',
  'max_new_tokens', 'stop_ids', 'top_k', 'top_p', 'min_p', 'prefix', 'prefix_length',
  'stop_sequences',
)  # fmt: skip
NO_TOKEN = -2  # in the tail of a completion that is shorter; −1 is any token in a stop sequence


class Work(NamedTuple):
  """What stays the same through a rollout."""

  policy: Policy
  params: PyTree
  requests: Requests
  keys: Array  # typed [N]
  settings: SamplerSettings

  @property
  def num_samples(self) -> int:
    return self.requests.group_ids.shape[0]

  @property
  def most_new(self) -> int:
    """C, tokens that a sample has room for."""
    return self.settings.max_new_tokens or self.settings.length


@struct.dataclass
class Samples:
  """What is known of each of the N samples.

  Attributes:
    given: int32 [N], tokens of prompt and prefix.
    allowed: int32 [N], what `num_new` may become; 0 where it has ended already.
    num_new: int32 [N], tokens drawn or appended.
    stopped: bool [N], by a stop token or sequence.
    records: Draw of [N, C].
    appended: bool [N, C], which of these tokens were not drawn; None without turns.
    routing: int16 [N, T, L', k], of samples that have ended; None where it is not captured.
  """

  given: Array
  allowed: Array
  num_new: Array
  stopped: Array
  records: Draw
  appended: Array | None = None
  routing: Array | None = None


@struct.dataclass
class Slots:
  """The S slots: what lives in them, and the cache.

  Attributes:
    sample: int32 [S], N where the slot is free, N + 1 + i where sample i has ended and keeps it.
    tokens: int32 [S], the last token of the sample.
    tail: int32 [S, L], the last tokens of its completion, as many as a stop sequence may have.
    since: int32 [S], `steps` when the first token was drawn that the sample's cache has: a parent's
      where it is a fork.
    cache: of the policy, rows = slots.
    steps, slot_steps: int32 scalars, decode steps so far, and slots that they computed.
    drafted, accepted: int32 scalars, guessed tokens that were compared with the drawn ones, and
      how many were right.
  """

  sample: Array
  tokens: Array
  tail: Array
  since: Array
  cache: PyTree
  steps: Array
  slot_steps: Array
  drafted: Array
  accepted: Array


def start(work: Work, seed: Array | int, num_slots: int) -> tuple[Work, Samples, Slots]:
  """Nothing drawn, all slots free; the work with the keys of its samples."""
  policy, _, requests, _, settings = work
  work = work._replace(keys=row_keys_of(requests, seed))
  given = prompt_length = jnp.asarray(requests.prompt_length)[requests.prompt_row]
  ended = jnp.zeros(given.shape, bool)
  if requests.prefix is not None:
    given = prompt_length + requests.prefix_length
    tail = completion_tail(requests, num_tail(requests))
    last = last_of_prefix(requests)
    ended = (requests.prefix_length > 0) & is_stop(last, tail, requests)
  allowed = jnp.minimum(requests.max_new_tokens, settings.length - given)
  allowed = jnp.clip(allowed, 0, work.most_new)
  allowed = jnp.where((requests.group_ids >= 0) & ~ended, allowed, 0)
  n = work.num_samples
  room = (given_room(requests), work.most_new)
  if settings.by_position:
    room = (sum(room), 0)
  zero = jnp.zeros((), jnp.int32)
  slots = Slots(
    sample=jnp.full(num_slots, n, jnp.int32),
    tokens=jnp.zeros(num_slots, jnp.int32),
    tail=jnp.full((num_slots, num_tail(requests)), NO_TOKEN, jnp.int32),
    since=jnp.zeros(num_slots, jnp.int32),
    cache=policy.init_cache(num_slots, *room, **cache_options(settings)),
    steps=zero,
    slot_steps=zero,
    drafted=zero,
    accepted=zero,
  )
  records = jax.tree.map(
    lambda x: jnp.zeros((n, work.most_new, *x.shape[1:]), x.dtype), _one_draw(work)
  )
  samples = Samples(
    given=given,
    allowed=allowed,
    num_new=jnp.zeros_like(allowed),
    stopped=ended,
    records=records,
    appended=jnp.zeros((n, work.most_new), bool) if settings.turns else None,
  )
  if 'routing' in settings.capture:
    one = jax.eval_shape(lambda c: policy.routed(c, zero, settings.length), slots.cache)
    samples = samples.replace(routing=jnp.full((n, *one.shape), -1, one.dtype))
  return work, samples, slots


def cache_options(settings: SamplerSettings) -> dict[str, Any]:
  """What `Policy.init_cache` is told besides its room."""
  routing = {'routing': True} if 'routing' in settings.capture else {}
  return {'dtype': settings.cache_dtype or None, **routing}  # most policies know no experts


def _one_draw(work: Work) -> Draw:
  """The shapes of what is recorded of one token of one sample."""

  def one():
    token = jnp.zeros((1, 1), jnp.int32)
    hidden = work.policy.hidden(work.params, token, segment_ids=token, positions=token)[0]
    return draw_from(work, hidden[0], token[0], *of_samples(work, token[0]))

  return jax.eval_shape(one)


def draw_from(work: Work, hidden: Array, positions: Array, rows: Requests, keys: Array) -> Draw:
  """The tokens at `positions` [M] from the hidden states [M, D] before them."""
  logits = work.policy.unembed(work.policy.head(work.params), hidden)
  options = (work.settings.filters, work.settings.capture, work.settings.num_top)
  return draw(logits, keys, positions, rows, *options)


def row_keys_of(requests: Requests, seed: Array | int) -> Array:
  """Typed keys [N]."""
  return noise.row_keys(seed, requests.draw_ids, requests.sample_index)


def given_room(requests: Requests) -> int:
  """Tokens of prompt and prefix that a slot has room for."""
  return requests.prompts.shape[1] + (0 if requests.prefix is None else requests.prefix.shape[1])


def of_samples(work: Work, sample: Array) -> tuple[Requests, Array]:
  """(requests, keys) of some samples; N is any of them."""
  fields = {name: getattr(work.requests, name) for name in SAMPLE_FIELDS}
  fields = jax.tree.map(lambda x: jnp.asarray(x).at[sample].get(mode='clip'), fields)
  return work.requests.replace(**fields), work.keys[jnp.minimum(sample, work.num_samples - 1)]


def tokens_before(
  requests: Requests, samples: Samples, row: Array, at: Array, length: int
) -> tuple[Array, Array]:
  """The last `length` tokens of samples before position `at`: (int32 [F, L], of the completion)."""
  place = at[:, None] - length + jnp.arange(length)[None, :]
  prompt_length = jnp.asarray(requests.prompt_length)[jnp.asarray(requests.prompt_row)[row]]
  sources = [(jnp.asarray(requests.prompts)[jnp.asarray(requests.prompt_row)[row]], 0 * row)]
  if requests.prefix is not None:
    sources.append((jnp.asarray(requests.prefix)[row], prompt_length))
  sources.append((samples.records.tokens[row], samples.given[row]))
  out = jnp.full(place.shape, NO_TOKEN, jnp.int32)
  for tokens, first in sources:  # each goes on where the one before has ended
    index = place - first[:, None]
    found = jnp.take_along_axis(tokens, jnp.clip(index, 0, tokens.shape[1] - 1), axis=1)
    out = jnp.where(index >= 0, found, out)
  return out, place >= prompt_length[:, None]


# -- ends


def num_tail(requests: Requests) -> int:
  """L, tokens of the longest stop sequence."""
  return 0 if requests.stop_sequences is None else requests.stop_sequences.shape[2]


def completion_tail(requests: Requests, length: int) -> Array:
  """int32 [N, L]: the last tokens of each prefix."""
  shape = (requests.group_ids.shape[0], length)
  if requests.prefix is None or not length:
    return jnp.full(shape, NO_TOKEN, jnp.int32)
  at = requests.prefix_length[:, None] - length + jnp.arange(length)[None, :]
  tokens = jnp.take_along_axis(jnp.asarray(requests.prefix), jnp.maximum(at, 0), axis=1)
  return jnp.where(at >= 0, tokens, NO_TOKEN)


def last_of_prefix(requests: Requests) -> Array:
  """int32 [N]; any token where the prefix is empty."""
  at = jnp.maximum(requests.prefix_length - 1, 0)[:, None]
  return jnp.take_along_axis(jnp.asarray(requests.prefix), at, axis=1)[:, 0]


def is_stop(tokens: Array, tail: Array, requests: Requests) -> Array:
  """bool [N]: the token is a stop id, or the tail, which ends with it, a stop sequence."""
  stop = jnp.any(tokens[:, None] == requests.stop_ids, axis=1)  # unused entries are −1
  if requests.stop_sequences is not None:
    wanted = jnp.asarray(requests.stop_sequences)
    same = jnp.all((wanted == tail[:, None, :]) | (wanted < 0), axis=2)
    stop |= jnp.any(same & jnp.any(wanted >= 0, axis=2), axis=1)
  return stop


def compact(work: Work, slots: Slots, size: int) -> Slots:
  """The live samples, `size` at most, in the first slots."""
  n, total = work.num_samples, slots.sample.shape[0]
  alive, index = slots.sample < n, jnp.arange(total)
  room = min(size, total - size)
  sources = jnp.nonzero(alive & (index >= size), size=room, fill_value=total)[0]
  places = jnp.nonzero(~alive & (index < size), size=room, fill_value=total)[0]
  places = jnp.where(sources < total, places, total)

  def move(x, empty):
    moved = x.at[places].set(x.at[sources].get(mode='clip'), mode='drop')
    return jnp.where((index < size).reshape(-1, *(1,) * (x.ndim - 1)), moved, empty)

  return slots.replace(
    sample=move(slots.sample, n),
    tokens=move(slots.tokens, 0),
    tail=move(slots.tail, NO_TOKEN),
    since=move(slots.since, 0),
    cache=work.policy.copy(slots.cache, places, sources),
  )
