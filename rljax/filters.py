"""Filters of the sampling distribution: top-k, top-p, min-p.

Boundaries are found by bisection over the ordered bit patterns of the logits: 32 sums over the
vocabulary and no sort. That is several times faster than a sort, takes a vocabulary that is
sharded, and has no k that must be known at compilation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from rljax import masking

Array = jax.Array

FILTERS = ('top_k', 'top_p', 'min_p')


def _ordered(x: Array) -> Array:
  """Integers that compare as the floats `x` do; −0 and +0 are equal."""
  dtype = jnp.int64 if x.dtype == jnp.float64 else jnp.int32
  bits = lax.bitcast_convert_type(jnp.where(x == 0, jnp.zeros_like(x), x), dtype)
  return jnp.where(bits < 0, bits ^ jnp.iinfo(dtype).max, bits)


def _keep_while_below(logits: Array, weights: Array, target: Array) -> Array:
  """bool [..., V]: the weights of all strictly larger logits sum to less than `target` [...].

  The largest logit is always kept, and equal logits are kept or dropped together.
  """
  order = _ordered(logits)
  high = jnp.max(order, axis=-1)
  low = jnp.full_like(high, jnp.iinfo(order.dtype).min)

  def halve(_, bounds):
    low, high = bounds
    middle = (low & high) + ((low ^ high) >> 1)  # the mean without overflow
    above = jnp.sum(jnp.where(order > middle[..., None], weights, 0), axis=-1)
    enough = above < target
    return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

  _, threshold = lax.fori_loop(0, jnp.iinfo(order.dtype).bits, halve, (low, high))
  return order >= threshold[..., None]


def top_k(logits: Array, k: Array) -> Array:
  """Keeps the k largest logits: `l_v` stays iff `#{u : l_u > l_v} < k`; the others become −∞.

  k ≤ 0 switches the filter off, k ≥ V keeps everything.

  Args:
    logits: float [..., V].
    k: int32 [...].

  Returns:
    float [..., V], at least float32.

  **Source:** Fan, Lewis, Dauphin 2018 (arXiv:1805.04833), section 5.1.
  **Differs from the source:** logits that tie with the k-th are all kept, so that the result does
  not depend on the order of the vocabulary.

  Examples:
    >>> print(filters.top_k(jnp.array([2.0, 1.0, 1.0, 0.0]), 2))  # a tie stays
    [  2.   1.   1. -inf]
  """
  logits = masking.widen(logits)
  k = jnp.asarray(k)
  keep = _keep_while_below(logits, jnp.ones_like(logits), k.astype(logits.dtype))
  return jnp.where(keep | (k <= 0)[..., None], logits, -jnp.inf)


def top_p(logits: Array, p: Array) -> Array:
  """Keeps the smallest set of best tokens whose probability reaches p (nucleus).

  `l_v` stays iff `Σ_{u : l_u > l_v} π_u < p` with π = softmax(logits); the others become −∞.
  p ≥ 1 switches the filter off exactly; the best token is kept at any p.

  Args:
    logits: float [..., V]; −∞ for what an earlier filter dropped.
    p: float32 [...], fraction.

  Returns:
    float [..., V], at least float32.

  **Source:** Holtzman et al. 2019 (arXiv:1904.09751), section 3.1.
  **Differs from the source:** tokens that tie at the boundary are all kept.

  Examples:
    >>> print(filters.top_p(jnp.log(jnp.array([0.5, 0.3, 0.2])), 0.6) > -jnp.inf)
    [ True  True False]
  """
  logits = masking.widen(logits)
  p = jnp.asarray(p).astype(logits.dtype)
  keep = _keep_while_below(logits, jax.nn.softmax(logits, axis=-1), p)
  return jnp.where(keep | (p >= 1)[..., None], logits, -jnp.inf)


def min_p(logits: Array, p: Array) -> Array:
  """Keeps the tokens that are at least p times as probable as the best: `l_v ≥ max l + log p`.

  p = 0 keeps everything, p = 1 only the best (and its ties).

  Args:
    logits: float [..., V].
    p: float32 [...], fraction of the best token's probability.

  Returns:
    float [..., V], at least float32.

  **Source:** Nguyen et al. 2024 (arXiv:2407.01082), section 3.
  **Differs from the source:** nothing; it is written with logits.

  Examples:
    >>> print(filters.min_p(jnp.log(jnp.array([0.5, 0.3, 0.2])), 0.5) > -jnp.inf)
    [ True  True False]
  """
  logits = masking.widen(logits)
  p = jnp.clip(jnp.asarray(p).astype(logits.dtype), 0, 1)
  floor = jnp.max(logits, axis=-1) + jnp.log(p)
  return jnp.where(logits >= floor[..., None], logits, -jnp.inf)


def apply_filters(
  logits: Array, *, top_k: Array, top_p: Array, min_p: Array, filters: tuple[str, ...] = FILTERS
) -> Array:
  """The logits with −∞ for the tokens that the named filters drop.

  The order is top-k, top-p, min-p, each on what the one before it left (renormalised).

  Args:
    logits: float [..., V], already divided by the temperature.
    top_k: int32 [...], 0 = off.  top_p: float32 [...], 1 = off.  min_p: float32 [...], 0 = off.
    filters: the filters to apply, of ('top_k', 'top_p', 'min_p'); the others cost nothing and
      their arguments are not read.

  Returns:
    float [..., V], at least float32; at least one entry of each row stays.

  Raises:
    ValueError: an unknown filter.

  **Source:** as the three functions; the order of Hugging Face's generation.
  **Differs from the source:** ties, see `top_k` and `top_p`.

  Examples:
    >>> logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    >>> print(filters.apply_filters(logits, top_k=2, top_p=1.0, min_p=0.0) > -jnp.inf)
    [ True  True False]
  """
  check_filters(filters)
  logits = masking.widen(logits)
  values = {'top_k': top_k, 'top_p': top_p, 'min_p': min_p}
  for name in FILTERS:
    if name in filters:
      logits = _FUNCTIONS[name](logits, values[name])
  return logits


def check_filters(filters: tuple[str, ...]) -> None:
  """Raises ValueError with the name of an unknown filter.

  Examples:
    >>> filters.check_filters(('top_k', 'top_q'))
    Traceback (most recent call last):
    ValueError: unknown filter 'top_q'; there are top_k, top_p, min_p
  """
  for name in filters:
    if name not in FILTERS:
      raise ValueError(f'unknown filter {name!r}; there are {", ".join(FILTERS)}')


# By a table, because the parameters of `apply_filters` have the names of the functions.
_FUNCTIONS = {'top_k': top_k, 'top_p': top_p, 'min_p': min_p}
