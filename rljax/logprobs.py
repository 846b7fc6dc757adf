"""Everything that needs the whole vocabulary, in one chunked pass over (hidden, unembed).

No float32 array of [R, T, V] exists, forward or backward: logits are made for one chunk of slots at
a time, the forward pass keeps one number per token and statistic, and the backward pass makes the
logits of each chunk again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rljax import trips
from rljax.masking import widen
from rljax.vocabulary import STATISTICS, Slot, is_target, log_softmax

Array = jax.Array
PyTree = Any
Unembed = Callable[[PyTree, Array], Array]


def token_statistics(
  unembed: Unembed,
  head: PyTree,
  hidden: Array,
  tokens: Array,
  segment_ids: Array,
  *,
  temperature: Array | float,
  statistics: tuple[str, ...] = ('logprobs',),
  constant: tuple[str, ...] = (),
  where: Array | None = None,
  chunk_size: int = 512,
  others: Mapping[str, tuple[Unembed, PyTree, Array]] | None = None,
  jsd_beta: Array | float = 0.5,
  top_k: int = 32,
  top_p: Array | float = 1.0,
  stored: tuple[Array, Array] | None = None,
) -> dict[str, Array]:
  """Statistics of the distribution from which each token was drawn.

  With z = logits(hidden[t−1]) / temperature[t], p = softmax(z) and q the same of another role:
    logprobs[t] = log p(tokens[t]),  entropy[t] = −Σ_v p log p,  sum_squares[t] = Σ_v p²,
    nucleus_entropy[t]: entropy of the best entries that reach top_p, renormalised,
    self_certainty[t] = KL(uniform ‖ p),
    full_kl[t] = KL(p ‖ q),  full_forward_kl[t] = KL(q ‖ p) with q of the reference,
    teacher_reverse_kl[t] = KL(p ‖ q),  teacher_forward_kl[t] = KL(q ‖ p),
    teacher_jsd[t] = (β·KL(q ‖ m) + (1−β)·KL(p ‖ m)) / (β(1−β)),  m = (1−β)p + βq,
    teacher_top_k_kl[t] = max(0, Σ_{v ∈ top k of q} q log q/p), with q of the teacher,
    stored_kl[t] = KL(q ‖ p) over the entries of `stored` and one bucket for all others.
  All stand at slot t, are 0 at the first slot of a segment, on padding and where not `where`, and
  nothing that stands in `hidden` at an unused slot reaches a value or a gradient.

  The forward pass saves the log-normaliser and the statistics themselves. The backward pass goes
  through the chunks again with the derivatives of `rljax.vocabulary` and pulls them back through
  `unembed`; the head's gradient is summed in at least float32. Logits of −inf (entries that do not
  exist) are fine unless such a token is scored.

  Args:
    unembed: `unembed(head, h) -> logits`, [..., D] -> [..., V]; closes over nothing differentiated.
    head: pytree of float arrays; differentiated.
    hidden: [..., T, D], any float dtype; differentiated.
    tokens: int32 [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    temperature: of the sampler, > 0; a scalar or [..., T], per token that of its sample. Constant.
    statistics: names.
    constant: those of them that have no gradient; they cost nothing in the backward pass.
    where: bool [..., T], the tokens that are asked for; None = all. Where a row has several chunks,
      these tokens stand in the first ones, and the chunks behind them are left out.
    chunk_size: slots whose logits exist at once. Chunks are cut along T only, so an array that is
      sharded over rows stays where it is; the memory is rows · chunk_size · V.
    others: 'reference', 'teacher' -> (unembed, head, hidden) of the role that a statistic compares
      with. Constant.
    jsd_beta: β of teacher_jsd, 0 … 1; at the ends it is KL(q ‖ p) and KL(p ‖ q). Constant.
    top_k: entries of q in teacher_top_k_kl (more where the last is tied).
    top_p: of nucleus_entropy, fraction. Constant.
    stored: (int32 [..., T, k], different entries; float [..., T, k], their log-probs in q), as
      somebody recorded them for tokens[t]. Constant.

  Returns:
    dict, statistic -> at least float32 [..., T], nats (sum_squares: a probability).

  Raises:
    ValueError: an unknown statistic, or one of a role that `others` lacks, or of nothing stored.

  Examples:
    >>> head, hidden = jnp.eye(4), jnp.zeros((1, 3, 4))  # four entries, all equally likely
    >>> rows = dict(tokens=jnp.array([[1, 2, 3]]), segment_ids=jnp.array([[0, 0, -1]]))
    >>> names = ('logprobs', 'entropy')
    >>> found = logprobs.token_statistics(
    ...   lambda head, h: h @ head, head, hidden, **rows, temperature=1.0, statistics=names)
    >>> print(found['logprobs'], found['entropy'])
    [[ 0.     -1.3863  0.    ]] [[0.     1.3863 0.    ]]
  """
  others = dict(others or {})
  _check(statistics, others, stored)
  # From here on slot t holds what concerns the token that hidden[t] predicts, tokens[t + 1].
  valid = (segment_ids >= 0) & (_shift_left(segment_ids, -1) == segment_ids)
  if where is not None:
    valid &= _shift_left(where, False)
  if jnp.ndim(temperature) == 0:
    temperature = jnp.full(tokens.shape, temperature, _wide(hidden))
  slots = {
    'target': _shift_left(tokens, 0),
    'valid': valid,
    'temperature': jnp.where(valid, _shift_left(widen(temperature), 1), 1),
    'others': {role: other[2] for role, other in others.items()},
  }
  if stored is not None:
    ids, logq = (_shift_left(x.swapaxes(-1, -2), 0).swapaxes(-1, -2) for x in stored)
    slots['stored'] = ids, jnp.where(valid[..., None], widen(logq), 0)
  fixed = {
    'heads': {role: other[1] for role, other in others.items()},
    'jsd_beta': jnp.asarray(jsd_beta, _wide(hidden)),
    'top_p': jnp.asarray(top_p, _wide(hidden)),
  }
  unembeds = tuple((role, other[0]) for role, other in others.items())
  live = tuple(name for name in statistics if name not in constant)
  way = _Pass(unembed, unembeds, tuple(statistics), live, chunk_size, top_k)
  fixed, slots = jax.lax.stop_gradient((fixed, slots))
  if where is None or tokens.shape[-1] <= chunk_size:
    found = _chunked(way, head, hidden, fixed, slots)
  else:
    fixed['used'] = jnp.max(jnp.sum(valid, axis=-1, dtype=jnp.int32))
    order = jnp.argsort(~valid, axis=-1, stable=True)
    inverse = jnp.argsort(order, axis=-1)
    slots = jax.tree.map(lambda x: _reorder(x, order, inverse), slots)
    found = _chunked(way, head, _reorder(hidden, order, inverse), fixed, slots)
    found = {name: _reorder(value, inverse, order) for name, value in found.items()}
  return {name: _shift_right(value) for name, value in found.items()}


def _check(statistics: tuple[str, ...], others: Mapping[str, Any], stored: Any) -> None:
  for name in statistics:
    if name not in STATISTICS:
      raise ValueError(f'unknown statistic {name!r}; there are {", ".join(STATISTICS)}')
    role = STATISTICS[name].role
    if role is not None and role not in others:
      raise ValueError(f"statistic {name!r} needs others['{role}'] = (unembed, head, hidden)")
    if STATISTICS[name].of_stored and stored is None:
      raise ValueError(f'statistic {name!r} needs stored = (ids, log-probs)')


def _wide(x: Array) -> jnp.dtype:
  return jnp.promote_types(x.dtype, jnp.float32)


def _shift_left(x: Array, fill: int) -> Array:
  return jnp.concatenate([x[..., 1:], jnp.full_like(x[..., :1], fill)], axis=-1)


def _shift_right(x: Array) -> Array:
  return jnp.concatenate([jnp.zeros_like(x[..., :1]), x[..., :-1]], axis=-1)


@jax.custom_vjp
def _reorder(x: Array, order: Array, inverse: Array) -> Array:
  """[..., T] or [..., T, D] with its slots in another order; no scatter, forward or backward."""
  return jnp.take_along_axis(x, order if x.ndim == order.ndim else order[..., None], order.ndim - 1)


_reorder.defvjp(
  lambda x, order, inverse: (_reorder(x, order, inverse), (order, inverse)),
  lambda saved, g: (_reorder(g, *reversed(saved)), None, None),
)


def _loop(
  slots: PyTree, carry: PyTree, chunk_size: int, axis: int, body: Callable, used: Array | None
) -> PyTree:
  """Runs body(chunk of slots, chunk of carry[0], carry[1], fresh) -> the new carry, chunk by chunk.

  `axis` is the position of T in every array. The last chunk may overlap the one before it; `fresh`
  [size] marks the slots that no earlier chunk had. With `used`, only the chunks of the first `used`
  slots.
  """
  length = jax.tree.leaves(slots)[0].shape[axis]
  number = max(1, -(-length // chunk_size))
  size = -(-length // number)
  if number == 1:
    return body(slots, *carry, jnp.ones((size,), bool))

  def step(index, carry):
    start = jnp.minimum(index * size, length - size)

    def take(x):
      return jax.lax.dynamic_slice_in_dim(x, start, size, axis)

    def put(whole, part):
      return jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis)

    fresh = start + jnp.arange(size) >= index * size
    piece, rest = body(jax.tree.map(take, slots), jax.tree.map(take, carry[0]), carry[1], fresh)
    return jax.tree.map(put, carry[0], piece), rest

  last = number if used is None else -(-used // size)
  with trips.taken(number):
    return jax.lax.fori_loop(0, last, step, carry)


def _clean(hidden: Array, valid: Array) -> Array:
  return jnp.where(valid[..., None], hidden, jnp.zeros((), hidden.dtype))


class _Pass(NamedTuple):
  """What is static of one pass; s are source-aligned arrays [..., T] and [..., T, D] of a chunk."""

  unembed: Unembed
  unembeds: tuple[tuple[str, Unembed], ...]
  names: tuple[str, ...]
  live: tuple[str, ...]  # those with a gradient
  chunk_size: int
  top_k: int

  def slots(
    self, logits: Array, fixed: PyTree, s: dict[str, Any], lse: Array | None = None
  ) -> tuple[dict[str | None, Slot], Array]:
    """(what a statistic sees, by the role that it compares with, log-normaliser)."""
    logp, lse = log_softmax(logits, s['temperature'], lse)
    chosen = is_target(s['target'], logp.shape[-1])
    known = (fixed['jsd_beta'], self.top_k, fixed['top_p'], s.get('stored'))
    own = Slot(logp, jnp.exp(logp), chosen, None, *known)
    seen = {None: own}
    for role, unembed in self.unembeds:
      other = unembed(fixed['heads'][role], _clean(s['others'][role], s['valid']))
      seen[role] = own._replace(logq=log_softmax(other, s['temperature'])[0])
    return seen, lse

  def forward_chunk(self, head: PyTree, fixed: PyTree, s: dict[str, Any]) -> dict[str, Array]:
    logits = self.unembed(head, _clean(s['hidden'], s['valid']))
    seen, lse = self.slots(logits, fixed, s)
    found = {name: STATISTICS[name].value(seen[STATISTICS[name].role]) for name in self.names}
    return {name: jnp.where(s['valid'], x, 0) for name, x in {'lse': lse, **found}.items()}

  def backward_chunk(
    self, head: PyTree, fixed: PyTree, s: dict[str, Any], g: dict[str, Array]
  ) -> tuple[PyTree, Array]:
    """Gradients of head and hidden for the cotangents g of the statistics of one chunk."""
    logits, pull = jax.vjp(self.unembed, head, _clean(s['hidden'], s['valid']))
    seen, _ = self.slots(logits, fixed, s, s['lse'])
    total = jnp.zeros_like(seen[None].p)
    for name in self.live:
      statistic = STATISTICS[name]
      total += g[name][..., None] * statistic.slope(seen[statistic.role], s[name])
    return pull((total / s['temperature'][..., None]).astype(logits.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(way: _Pass, head: PyTree, hidden: Array, fixed: PyTree, slots: dict[str, Any]):
  """dict, statistic -> [..., T], source-aligned."""
  return _forward(way, head, hidden, fixed, slots)[0]


def _forward(way, head, hidden, fixed, slots):
  dtype = jnp.promote_types(slots['temperature'].dtype, _wide(hidden))
  empty = {n: jnp.zeros(hidden.shape[:-1], dtype) for n in (*way.names, 'lse')}

  def body(s, _, rest, fresh):
    found = way.forward_chunk(head, fixed, s)
    return {n: value.astype(dtype) for n, value in found.items()}, rest

  whole, axis, used = {**slots, 'hidden': hidden}, hidden.ndim - 2, fixed.get('used')
  found, _ = _loop(whole, (empty, ()), way.chunk_size, axis, body, used)
  statistics = {name: found[name] for name in way.names}
  return statistics, (head, hidden, fixed, slots, found)


def _backward(way, saved, cotangents):
  head, hidden, fixed, slots, found = saved
  g = {n: jnp.where(slots['valid'], cotangents[n], 0) for n in way.live}
  axis = hidden.ndim - 2

  def body(inputs, d_hidden, d_head, fresh):
    s, g = inputs
    fresh = fresh.reshape((1,) * axis + fresh.shape)
    g = {n: jnp.where(fresh, value, 0) for n, value in g.items()}
    new_head, new_hidden = way.backward_chunk(head, fixed, s, g)
    d_head = jax.tree.map(lambda total, x: total + x.astype(total.dtype), d_head, new_head)
    return d_hidden + new_hidden, d_head

  d_head = jax.tree.map(lambda x: jnp.zeros(x.shape, _wide(x)), head)
  carry = (jnp.zeros_like(hidden), d_head)
  slots = {**slots, 'hidden': hidden, **found}
  d_hidden, d_head = _loop((slots, g), carry, way.chunk_size, axis, body, fixed.get('used'))
  return jax.tree.map(lambda g, x: g.astype(x.dtype), d_head, head), d_hidden, None, None


_chunked.defvjp(_forward, _backward)
