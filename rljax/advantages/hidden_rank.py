"""VERL: advantages grow where the hidden states of a completion fill more directions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.traits import declare

Array = jax.Array

NEGLIGIBLE = 1e-5  # of the largest eigenvalue; smaller ones are rounding


@declare()
def hidden_rank(
  advantages: Array,
  action_mask: Array,
  old_hidden: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  stride: int = 4,
  kappa: float = 2.0,
) -> Array:
  """A + min(max(Φ, 0), |A|/κ),  Φ = w·tanh z(ER) + (1 − w)·tanh z(ERV),  w = σ(ERA).

  ER_j is the effective rank of the hidden states at the first j of every `stride`-th action token,
  ER that of all of them: how much was explored. δ_j = ER_j − mean_{i<j} ER_i; ERV is the mean of δ,
  how fast it still grows, ERA the mean of its differences. While it accelerates exploration is paid
  for, else growth. z standardises over the samples of the iteration. κ > 1 keeps the sign of A.

  Args:
    advantages: float [..., T].
    action_mask: bool [..., T]; the other tokens get 0.
    old_hidden: float [..., T, D], of the policy before the update. It stands in memory for the
      whole iteration, K·M·r·T·D of the compute dtype.
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    stride: tokens; T/stride eigenvalue problems of that size for each place of a sample.
    kappa: the bonus is at most |A|/κ.

  Returns:
    at least float32 [..., T]. Constant.

  Raises:
    ValueError: a stride below 1.

  Examples:
    >>> # Two directions, one
    >>> hidden = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    >>> found, mask = jnp.ones((2, 2)), jnp.ones((2, 2), bool)
    >>> where = hidden, jnp.zeros((2, 2), int), jnp.array([[0], [1]])
    >>> print(advantages.hidden_rank(found, mask, *where, stride=1))
    [[1.5 1.5]
     [1.  1. ]]

  Source: VERL, Beyond the Exploration-Exploitation Trade-off: A Hidden State Approach for LLM
    Reasoning in RLVR (2025).
  Differs from the source: formula not confirmed against the paper; z over the batch, states at
    every `stride`-th token alone.
  Fidelity: recalled
  """
  if stride < 1:
    raise ValueError(f'hidden_rank: stride={stride}; it is at least 1')
  advantages, hidden = jax.lax.stop_gradient((advantages, old_hidden))
  advantages = masking.zero_where_not(advantages, action_mask)
  action = action_mask & (segment_ids >= 0)
  shape = segment_ids.shape

  def of_row(row):
    return jnp.stack(rank_dynamics(*row, num_segments=sample_ids.shape[-1], stride=stride))

  rows = hidden.reshape(-1, *hidden.shape[-2:]), action.reshape(-1, shape[-1])
  found = jax.lax.map(of_row, (*rows, segment_ids.reshape(-1, shape[-1])))  # [rows, 3, S]
  rank, velocity, acceleration = jnp.moveaxis(found, 1, 0).reshape(3, *sample_ids.shape)
  there = (sample_ids >= 0) & (masking.segment_sum(action, segment_ids, sample_ids.shape[-1]) > 0)
  mix = jax.nn.sigmoid(acceleration)
  bonus = mix * jnp.tanh(_standard(rank, there)) + (1 - mix) * jnp.tanh(_standard(velocity, there))
  bonus = masking.segment_to_token(jnp.where(there, bonus, 0), segment_ids)
  return advantages + jnp.clip(bonus, 0, jnp.abs(advantages) / kappa)


def rank_dynamics(
  hidden: Array, action: Array, segment_ids: Array, *, num_segments: int, stride: int
) -> tuple[Array, Array, Array]:
  """(ER, ERV, ERA) of the samples of one row, [S]; 0 where there are too few points.

  Args:
    hidden: float [T, D].
    action: bool [T].
    segment_ids: int32 [T].
    num_segments: S.
    stride: tokens.
  """
  length = -(-action.shape[0] // stride)
  own = (segment_ids[None, :] == jnp.arange(num_segments)[:, None]) & action[None, :]  # [S, T]
  number = jnp.cumsum(own, axis=1) - 1
  place = jnp.where(own & (number % stride == 0), number // stride, -1)
  chosen = place[:, None, :] == jnp.arange(length)[None, :, None]  # [S, J, T]
  points = jnp.any(chosen, axis=2)
  hidden = masking.zero_where_not(hidden, action[:, None])
  states = jnp.einsum('sjt,td->sjd', chosen.astype(hidden.dtype), hidden, precision='highest')
  gram = jnp.einsum('sid,sjd->sij', states, states, precision='highest')
  first = jnp.tril(jnp.ones((length, length), bool))  # [prefix, point]
  seen = first[:, :, None] & first[:, None, :]
  ranks = effective_rank(jnp.where(seen[None], gram[:, None], 0))  # [S, J]
  ranks = jnp.where(points, ranks, 0)
  earlier = jnp.cumsum(ranks, axis=1)[:, :-1] / jnp.arange(1, length)[None, :]
  change = ranks[:, 1:] - earlier
  velocity = masking.masked_mean(change, points[:, 1:], axis=1)
  acceleration = masking.masked_mean(change[:, 1:] - change[:, :-1], points[:, 2:], axis=1)
  return jnp.max(jnp.where(_is_last(points), ranks, 0), axis=1), velocity, acceleration


def effective_rank(gram: Array) -> Array:
  """exp(−Σ p log p), p = σ/Σσ, σ² the eigenvalues of Gram matrices [..., J, J]; 0 of zeros.

  Source: Roy & Vetterli 2007, The effective rank.
  """
  values = jnp.linalg.eigvalsh(gram)
  top = jnp.max(values, axis=-1, keepdims=True)
  singular = jnp.sqrt(jnp.where(values > NEGLIGIBLE * top, values, 0))
  total = jnp.sum(singular, axis=-1, keepdims=True)
  share = singular / jnp.where(total > 0, total, 1)
  entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1)), axis=-1)
  return jnp.where(total[..., 0] > 0, jnp.exp(entropy), 0)


def _is_last(points: Array) -> Array:
  following = jnp.concatenate([points[:, 1:], jnp.zeros_like(points[:, :1])], axis=1)
  return points & ~following


def _standard(x: Array, mask: Array) -> Array:
  """(x − mean)/σ over `mask`; 0 where all are equal."""
  flat = masking.is_constant(x, mask)
  deviation = jnp.sqrt(masking.masked_var(x, mask))
  return jnp.where(flat, 0, (x - masking.masked_mean(x, mask)) / jnp.where(flat, 1, deviation))
