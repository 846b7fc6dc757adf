"""A policy of a few lines whose logits depend on every token and its place; small enough to
enumerate, and apart from the decoder a second reader of the `Policy` contract."""

import jax
import jax.numpy as jnp

from rljax.structs import Policy


def history_policy(vocab_size, *, width=6, length=16, trace=None):
  """hidden_t = Σ_{s ≤ t} place[s, token_s];  logits = tanh(hidden) @ head.

  `trace`: a list that gets ('prefill' or 'decode', shape of the tokens) for each call.
  """
  trace = [] if trace is None else trace

  def init(key):
    place, head = jax.random.split(key)
    return {
      'place': jax.random.normal(place, (length, vocab_size, width)),
      'head': jax.random.normal(head, (width, vocab_size)),
    }

  def embed(params, tokens, positions):
    return params['place'].at[positions, tokens].get(mode='clip')

  def hidden(params, tokens, *, segment_ids, positions, prefix_ids=None, routing=None):
    x = embed(params, tokens, positions)
    seen = (segment_ids[:, :, None] == segment_ids[:, None, :]) & (
      positions[:, None, :] <= positions[:, :, None]
    )
    return jnp.einsum('rts,rsd->rtd', seen.astype(x.dtype), x), {}

  def read(params, cache, positions):
    slots = jnp.arange(cache.shape[1])
    x = embed(params, cache, jnp.broadcast_to(slots, cache.shape))
    seen = slots[None, None, :] <= positions[:, :, None]
    return jnp.sum(jnp.where(seen[..., None], x[:, None], 0), axis=2)

  def write(cache, positions, tokens):
    return jax.vmap(lambda row, at, new: row.at[at].set(new, mode='drop'))(
      cache, positions, tokens
    )

  def prefill(params, cache, tokens, starts):
    trace.append(('prefill', tokens.shape))
    positions = starts[:, None] + jnp.arange(tokens.shape[1])[None, :]
    cache = write(cache, positions, tokens)
    return read(params, cache, positions), cache

  def decode(params, cache, tokens, positions):
    trace.append(('decode', tokens.shape))
    hidden, cache = extend(params, cache, tokens[:, None], positions)
    return hidden[:, 0], cache

  def extend(params, cache, tokens, positions):
    places = positions[:, None] + jnp.arange(tokens.shape[1])[None, :]
    kept = jnp.where(positions[:, None] < 0, cache.shape[1], places)  # idle rows write nothing
    active = write(cache[: tokens.shape[0]], kept, tokens)
    return read(params, active, places), cache.at[: tokens.shape[0]].set(active)

  def put(cache, rows, other, sources=None):
    rows = jnp.where(rows < 0, cache.shape[0], rows)
    other = other if sources is None else other[sources]
    return cache.at[rows, : other.shape[1]].set(other, mode='drop')

  return Policy(
    init=init,
    hidden=hidden,
    head=lambda params: params['head'],
    unembed=lambda head, x: jnp.tanh(x) @ head,
    init_cache=lambda rows, given, drawn=0, dtype=None: jnp.zeros((rows, given + drawn), jnp.int32),
    prefill=prefill,
    decode=decode,
    extend=extend,
    take=lambda cache, rows: cache[rows],
    put=put,
    copy=lambda cache, rows, sources: put(cache, rows, cache, sources),
    axes={'place': (None, None, None), 'head': (None, None)},
  )
