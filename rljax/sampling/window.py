"""A window: some steps of the slots between two looks at which of them are free.

A step gives each live sample its next token, or with speculation its next ones.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rljax import trips
from rljax.sampling import speculate
from rljax.sampling.slots import Samples, Slots, Work, draw_from, is_stop, of_samples

Array = jax.Array


def run_window(
  work: Work, samples: Samples, slots: Slots, *, size: int, num_steps: Array
) -> tuple[Samples, Slots]:
  """`num_steps` steps of the first `size` slots; a slot whose sample has ended is free."""
  n, settings = work.num_samples, work.settings
  width = 1 + (settings.num_draft if settings.speculate else 0)  # tokens that a step may give
  here = jnp.minimum(slots.sample[:size], n - 1)  # none enters during a window
  rows, keys = of_samples(work, jnp.repeat(here, width))
  guess = speculate.guesser(work, here) if settings.speculate else None
  ahead = jnp.arange(width, dtype=jnp.int32)[None, :]

  def step(state):
    samples, slots, texts, left = state
    line = samples.num_new[here]
    position = samples.given[here] + line
    at = jnp.where(slots.sample[:size] < n, jnp.maximum(position, 1) - 1, -1)
    drafts, cache = jnp.zeros((size, 0), jnp.int32), slots.cache
    if guess is not None:
      drafts, cache = guess(slots, position, at, texts)
    if not settings.by_position:
      hidden, cache = work.policy.decode(work.params, cache, slots.tokens[:size], at)
    else:
      new = jnp.concatenate([slots.tokens[:size, None], jnp.maximum(drafts, 0)], axis=1)
      hidden, cache = work.policy.extend(work.params, cache, new, at)
    places = (position[:, None] + ahead).reshape(-1)
    drawn = draw_from(work, hidden.reshape(size * width, -1), places, rows, keys)
    drawn = jax.tree.map(lambda x: x.reshape(size, width, *x.shape[1:]), drawn)
    before = slots.sample[:size]
    samples, slots, taken = _take(work, samples, slots, here, rows, drafts, drawn)
    if samples.routing is not None:
      samples = _with_routing(work, samples, before, slots, cache)
    if texts is not None:
      place = jnp.where(taken, position[:, None] + ahead, settings.length)
      texts = texts.at[jnp.arange(size)[:, None], place].set(drawn.tokens, mode='drop')
    slots = slots.replace(
      cache=cache, steps=slots.steps + 1, slot_steps=slots.slot_steps + size
    )
    return samples, slots, texts, left - 1

  def going_on(state):
    _, slots, _, left = state
    # Without guesses the steps are known: nothing ends more than a window early.
    return (left > 0) & (True if guess is None else jnp.any(slots.sample[:size] < n))

  texts = speculate.texts(work, samples, here) if settings.speculate == 'lookup' else None
  # With the trips of `drive`: all tokens of all samples, none of them guessed.
  with trips.taken(work.most_new):
    return lax.while_loop(going_on, step, (samples, slots, texts, num_steps))[:2]


def _with_routing(work, samples, before, slots, cache) -> Samples:
  """The samples with the routing of those that have ended in this step, one after the other.

  Now, since a ring of drawn tokens goes on under a slot that is free.
  """
  ended = (before < work.num_samples) & (slots.sample[: before.shape[0]] != before)
  order = jnp.argsort(~ended, stable=True)

  def one(i, routing):
    own = work.policy.routed(cache, order[i], work.settings.length)
    return lax.dynamic_update_index_in_dim(routing, own, before[order[i]], 0)

  return samples.replace(routing=lax.fori_loop(0, jnp.sum(ended), one, samples.routing))


def _take(work, samples, slots, here, rows, drafts, drawn) -> tuple[Samples, Slots, Array]:
  """What of the drawn tokens [size, width] belongs to the samples, written to their records.

  The token behind a draft was drawn as if the draft were the sample's token: it counts where that
  is so, and where nothing has ended the sample before.

  Returns:
    (samples, slots, bool [size, width]: the token belongs to its sample).
  """
  size, width = drawn.tokens.shape
  sample, line = slots.sample[:size], samples.num_new[here]
  ahead = jnp.arange(width, dtype=jnp.int32)[None, :]
  tail = jnp.concatenate([slots.tail[:size], drawn.tokens], axis=1)
  reach = jnp.arange(slots.tail.shape[1], dtype=jnp.int32)[None, :]
  tails = tail[:, 1 + ahead[0, :, None] + reach].reshape(size * width, -1)
  stop = is_stop(drawn.tokens.reshape(-1), tails, rows).reshape(size, width)
  right = drafts == drawn.tokens[:, :-1]
  broken = jnp.pad(~right | stop[:, :-1], ((0, 0), (1, 0)))
  alive = sample < work.num_samples
  taken = (jnp.cumsum(broken, axis=1) == 0) & alive[:, None]
  taken &= line[:, None] + ahead < samples.allowed[here][:, None]
  count = jnp.sum(taken, axis=1, dtype=jnp.int32)
  stopped = jnp.any(taken & stop, axis=1)
  ended = stopped | (line + count >= samples.allowed[here])
  place = jnp.where(taken, line[:, None] + ahead, work.most_new)
  samples = samples.replace(
    num_new=samples.num_new.at[sample].add(count, mode='drop'),
    stopped=samples.stopped.at[sample].max(stopped, mode='drop'),
    records=jax.tree.map(
      lambda lines, new: lines.at[sample[:, None], place].set(new, mode='drop'),
      samples.records,
      drawn,
    ),
  )
  left = sample + work.num_samples + 1 if work.settings.turns else work.num_samples
  last = jnp.take_along_axis(drawn.tokens, jnp.maximum(count - 1, 0)[:, None], axis=1)[:, 0]
  compared = taken[:, :-1] & (drafts >= 0)
  slots = slots.replace(
    sample=slots.sample.at[:size].set(jnp.where(alive & ended, left, sample)),
    tokens=slots.tokens.at[:size].set(last),
    tail=slots.tail.at[:size].set(jnp.take_along_axis(tail, count[:, None] + reach, axis=1)),
    drafted=slots.drafted + jnp.sum(compared, dtype=jnp.int32),
    accepted=slots.accepted + jnp.sum(compared & right, dtype=jnp.int32),
  )
  return samples, slots, taken
