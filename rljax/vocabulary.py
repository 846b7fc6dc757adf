"""Statistics of a distribution over the vocabulary: what each is, and its derivative.

With z the scaled logits of a slot, p = softmax(z), and q another role's distribution there (a
constant). `rljax.logprobs.token_statistics` makes them chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rljax import filters
from rljax.masking import widen

Array = jax.Array

LEAST = 1e-8  # of what is left to other entries: less is rounding
END = 1e-4  # a jsd_beta closer than this to 0 or 1 counts as 0 or 1


class Slot(NamedTuple):
  """What is known at a slot.

  Attributes:
    logp, p: [..., V], at least float32.
    chosen: bool [..., V], the token that was drawn.
    logq: [..., V] of the other role, or None.
    jsd_beta: scalar.
    top_k: int.
    top_p: scalar, of the nucleus.
    stored: (int32 [..., k] entries, float [..., k] their log-probs) that somebody recorded, or
      None.
  """

  logp: Array
  p: Array
  chosen: Array
  logq: Array | None
  jsd_beta: Array
  top_k: int
  top_p: Array
  stored: tuple[Array, Array] | None = None


class Statistic(NamedTuple):
  """value: slot -> [...]; slope: (slot, value) -> ∂value/∂z [..., V]; role: whose q, or None;
  of_stored: whether it looks at `Slot.stored`.
  """

  value: Callable[[Slot], Array]
  slope: Callable[[Slot, Array], Array]
  role: str | None = None
  of_stored: bool = False


def log_softmax(
  logits: Array, temperature: Array, lse: Array | None = None
) -> tuple[Array, Array]:
  """(log p [..., V], log-normaliser [...]) of logits / temperature."""
  scaled = widen(logits) / temperature[..., None]
  lse = jax.nn.logsumexp(scaled, axis=-1) if lse is None else lse
  return scaled - lse[..., None], lse


def is_target(target: Array, vocab_size: int) -> Array:
  """bool [..., V]: the entry of each token, target int32 [...].

  A comparison and not a gather: it fuses, and it needs no exchange where V is sharded.
  """
  return target[..., None] == jax.lax.broadcasted_iota(
    jnp.int32, (*target.shape, vocab_size), target.ndim
  )


def times(p: Array, x: Array) -> Array:
  """p · x with 0 · inf = 0."""
  return jnp.where(p > 0, p * x, 0)


def _sum(x: Array) -> Array:
  return jnp.sum(x, axis=-1)


def _logprob(s: Slot) -> Array:
  return _sum(jnp.where(s.chosen, s.logp, 0))


def _logprob_slope(s: Slot, value: Array) -> Array:
  return s.chosen.astype(s.p.dtype) - s.p


def _entropy(s: Slot) -> Array:
  return -_sum(times(s.p, s.logp))


def _entropy_slope(s: Slot, value: Array) -> Array:
  return -times(s.p, s.logp + value[..., None])


def _nucleus(s: Slot) -> tuple[Array, Array]:
  """(p of the smallest set of best entries that reaches top_p, renormalised; its logarithm)."""
  kept = filters.top_p(s.logp, jnp.broadcast_to(s.top_p, s.logp.shape[:-1]))
  logp = kept - jax.nn.logsumexp(kept, axis=-1, keepdims=True)
  return jnp.exp(logp), logp


def _nucleus_entropy(s: Slot) -> Array:
  p, logp = _nucleus(s)
  return -_sum(times(p, logp))


def _nucleus_entropy_slope(s: Slot, value: Array) -> Array:
  p, logp = _nucleus(s)
  return -times(p, logp + value[..., None])


def _sum_squares(s: Slot) -> Array:
  return _sum(jnp.square(s.p))


def _sum_squares_slope(s: Slot, value: Array) -> Array:
  return 2 * s.p * (s.p - value[..., None])


def _exists(s: Slot) -> Array:
  """Entries of the vocabulary that can be drawn, as weights that sum to 1."""
  there = jnp.isfinite(s.logp)
  return there / jnp.sum(there, axis=-1, keepdims=True)


def _self_certainty(s: Slot) -> Array:
  uniform = _exists(s)
  return -_sum(times(uniform, jnp.log(jnp.where(uniform > 0, 1 / uniform, 1)) + s.logp))


def _self_certainty_slope(s: Slot, value: Array) -> Array:
  return s.p - _exists(s)


def _reverse_kl(s: Slot) -> Array:
  return _sum(times(s.p, s.logp - s.logq))


def _reverse_kl_slope(s: Slot, value: Array) -> Array:
  return times(s.p, s.logp - s.logq - value[..., None])


def _forward_kl(s: Slot) -> Array:
  return _sum(times(jnp.exp(s.logq), s.logq - s.logp))


def _forward_kl_slope(s: Slot, value: Array) -> Array:
  return s.p - jnp.exp(s.logq)


def _log_mixture(s: Slot) -> Array:
  """log((1−β)·p + β·q)."""
  own, other = jnp.log1p(-s.jsd_beta), jnp.log(s.jsd_beta)
  return jnp.logaddexp(s.logp + own, s.logq + other)


def _inner(s: Slot) -> Slot:
  """The slot with a jsd_beta at which logarithms are finite."""
  return s._replace(jsd_beta=jnp.clip(s.jsd_beta, END, 1 - END))


def _at_ends(s: Slot, forward: Array, inner: Array, reverse: Array) -> Array:
  return jnp.where(
    s.jsd_beta < END, forward, jnp.where(s.jsd_beta > 1 - END, reverse, inner)
  )


def _jsd(s: Slot) -> Array:
  """[β·KL(q‖m) + (1−β)·KL(p‖m)] / (β(1−β)), m = (1−β)p + βq; KL(q‖p) at β = 0, KL(p‖q) at 1."""
  t = _inner(s)
  mixture, beta = _log_mixture(t), t.jsd_beta
  divergence = beta * _sum(times(jnp.exp(s.logq), s.logq - mixture))
  divergence += (1 - beta) * _sum(times(s.p, s.logp - mixture))
  return _at_ends(s, _forward_kl(s), divergence / (beta * (1 - beta)), _reverse_kl(s))


def _jsd_slope(s: Slot, value: Array) -> Array:
  t = _inner(s)
  ratio = times(s.p, s.logp - _log_mixture(t)) / t.jsd_beta
  inner = ratio - s.p * _sum(ratio)[..., None]
  reverse = times(s.p, s.logp - s.logq - _reverse_kl(s)[..., None])
  return _at_ends(s, _forward_kl_slope(s, value), inner, reverse)


def _top(s: Slot) -> Array:
  """q where it is among its largest `top_k` entries, else 0."""
  least = jax.lax.top_k(s.logq, min(s.top_k, s.logq.shape[-1]))[0][..., -1:]
  return jnp.where(s.logq >= least, jnp.exp(s.logq), 0)


def _top_k_kl(s: Slot) -> Array:
  """max(0, Σ_v q_v·(log q_v − log p_v) over the largest entries of q)."""
  return jnp.maximum(_sum(times(_top(s), s.logq - s.logp)), 0)


def _top_k_kl_slope(s: Slot, value: Array) -> Array:
  top = _top(s)
  return jnp.where((value > 0)[..., None], s.p * _sum(top)[..., None] - top, 0)


def _stored(s: Slot) -> tuple[Array, Array]:
  """(q [..., V] on the stored entries and 0 elsewhere; bool [..., V], which they are)."""
  ids, logq = s.stored
  entries = jax.lax.broadcasted_iota(jnp.int32, s.logp.shape, s.logp.ndim - 1)
  member, q = jnp.zeros(s.logp.shape, bool), jnp.zeros_like(s.logp)
  for i in range(ids.shape[-1]):  # comparisons fuse; a scatter would not
    here = entries == ids[..., i, None]
    member, q = member | here, jnp.where(here, jnp.exp(logq[..., i, None]), q)
  return q, member


def _rests(s: Slot, q: Array, member: Array) -> tuple[Array, Array]:
  """What p and q leave to all other entries, each `LEAST` at least."""
  left = _sum(jnp.where(member, 0, s.p))
  return jnp.maximum(left, LEAST), jnp.maximum(1 - _sum(q), LEAST)


def _stored_kl(s: Slot) -> Array:
  q, member = _stored(s)
  rest_p, rest_q = _rests(s, q, member)
  log_q = jnp.log(jnp.where(q > 0, q, 1))
  return _sum(times(q, log_q - s.logp)) + rest_q * (jnp.log(rest_q) - jnp.log(rest_p))


def _stored_kl_slope(s: Slot, value: Array) -> Array:
  q, member = _stored(s)
  rest_p, rest_q = _rests(s, q, member)
  share = jnp.where(member, 0, s.p) / rest_p[..., None]
  total = _sum(q) + rest_q * _sum(share)
  return s.p * total[..., None] - q - rest_q[..., None] * share


STATISTICS = {
  'logprobs': Statistic(_logprob, _logprob_slope),
  'entropy': Statistic(_entropy, _entropy_slope),
  'nucleus_entropy': Statistic(_nucleus_entropy, _nucleus_entropy_slope),
  'sum_squares': Statistic(_sum_squares, _sum_squares_slope),
  'self_certainty': Statistic(_self_certainty, _self_certainty_slope),
  'full_kl': Statistic(_reverse_kl, _reverse_kl_slope, 'reference'),
  'full_forward_kl': Statistic(_forward_kl, _forward_kl_slope, 'reference'),
  'teacher_reverse_kl': Statistic(_reverse_kl, _reverse_kl_slope, 'teacher'),
  'teacher_forward_kl': Statistic(_forward_kl, _forward_kl_slope, 'teacher'),
  'teacher_jsd': Statistic(_jsd, _jsd_slope, 'teacher'),
  'teacher_top_k_kl': Statistic(_top_k_kl, _top_k_kl_slope, 'teacher'),
  'stored_kl': Statistic(_stored_kl, _stored_kl_slope, of_stored=True),
}
