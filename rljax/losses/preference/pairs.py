"""A pair is a group: its best and its worst sample, brought to the place of the best.

Every pair loss does the same four things: it finds the pairs in the rewards, brings the arrays of
both samples to the chosen one's place (`of_pair`), computes there, and leaves 0 everywhere else
(`on_pairs`). What stands at other places is replaced before the arithmetic, so NaN in an unused
place is harmless in values and gradients; nothing is scattered, forward or backward.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import LIMIT

Array = jax.Array


class Pairs(NamedTuple):
  """Where the pairs are.

  Attributes:
    chosen: bool [N], at most one in a group: the place of the pair's loss.
    rejected: bool [N], one for each chosen.
    group_ids: int32 [N].
  """

  chosen: Array
  rejected: Array
  group_ids: Array


def find_pairs(rewards: Array, group_ids: Array) -> Pairs:
  """chosen = argmax of R in the group, rejected = argmin of R in the group.

  Ties are broken by the order in the array. In a group of more than two samples those between the
  best and the worst take no part. A group of equal rewards (max − min ≤ 1e-6·max(1, max|R|)) or of
  one sample is no pair; a reward that is not finite takes its sample out of the group.

  Args:
    rewards: float [N]. Constant.
    group_ids: int32 [N]; −1 = unused.
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  counted = jnp.isfinite(rewards) & (group_ids >= 0)
  rewards = masking.zero_where_not(rewards, counted)
  paired = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  best = masking.group_rank(rewards, group_ids, counted) == 0
  worst = masking.group_rank(-rewards, group_ids, counted) == 0
  return Pairs(paired & best, paired & worst, group_ids)


def of_pair(x: Array, pairs: Pairs) -> tuple[Array, Array]:
  """(x of the chosen, x of the rejected sample), [N], at the chosen place; 0 elsewhere."""
  worst = masking.group_sum(x, pairs.group_ids, pairs.rejected)
  return masking.zero_where_not(x, pairs.chosen), masking.zero_where_not(worst, pairs.chosen)


def log_ratios(
  sequence_logprobs: Array, sequence_ref_logprobs: Array, pairs: Pairs
) -> tuple[Array, Array]:
  """(h_w, h_l), h = Σℓ − Σℓ^ref, at the chosen place; the reference is constant."""
  now_w, now_l = of_pair(sequence_logprobs, pairs)
  ref_w, ref_l = of_pair(jax.lax.stop_gradient(sequence_ref_logprobs), pairs)
  return now_w - ref_w, now_l - ref_l


def token_means(
  sequence_logprobs: Array, completion_length: Array, pairs: Pairs
) -> tuple[Array, Array]:
  """(ℓ̄_w, ℓ̄_l), the sums over the numbers of tokens, at the chosen place."""
  sums = of_pair(sequence_logprobs, pairs)
  lengths = of_pair(jax.lax.stop_gradient(completion_length), pairs)
  return tuple(total / jnp.maximum(length, 1) for total, length in zip(sums, lengths))


def logistic(z: Array, label_smoothing: Array | float = 0.0) -> Array:
  """−(1−ε)·log σ(z) − ε·log σ(−z)."""
  right, wrong = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
  return -(1 - label_smoothing) * right - label_smoothing * wrong


def exponential_score(x: Array, rate: Array | float) -> Array:
  """(e^{rate·x} − 1)/rate, and x where rate·x is small; the exponent is at most 20."""
  exponent = rate * x
  near = jnp.abs(jax.lax.stop_gradient(exponent)) < 1e-3
  far = jnp.where(near, 1, jnp.where(exponent > LIMIT, LIMIT, exponent))
  small = jnp.where(near, exponent, 0)
  series = 1 + small / 2 * (1 + small / 3 * (1 + small / 4 * (1 + small / 5)))
  return jnp.where(near, x * series, jnp.expm1(far) / jnp.where(near, 1, rate))


def on_pairs(
  loss: Array, chosen: Array, rejected: Array, pairs: Pairs
) -> tuple[Array, dict[str, Array]]:
  """The loss at the chosen places, and the diagnostics of the implicit rewards there.

  Args:
    loss: float [N].
    chosen: float [N], implicit reward of the chosen sample, at its place.
    rejected: float [N], that of the rejected sample, at the same place.
    pairs: the places.

  Returns:
    (loss [N], diagnostics of [N]: `chosen`, `rejected`, `margin` their difference, `accuracy` 1
    where it is positive, `pairs` 1 where a pair stands: their sum is the number of pairs).
  """
  margin = chosen - rejected
  diagnostics = {
    'accuracy': margin > 0,
    'margin': margin,
    'chosen': chosen,
    'rejected': rejected,
    'pairs': jnp.ones_like(margin),
  }
  diagnostics = {k: masking.zero_where_not(v, pairs.chosen) for k, v in diagnostics.items()}
  return masking.zero_where_not(loss, pairs.chosen), jax.lax.stop_gradient(diagnostics)
