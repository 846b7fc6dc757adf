"""Losses on ranked lists: a list is a group, ranked by its rewards."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array


def _over_others(one: Callable[..., Array], *rows: Array) -> Array:
  """[N]: one(*values of a sample); made again for the gradient, so that no [N, N] is kept."""
  return jax.checkpoint(lambda *r: jax.vmap(one)(*r))(*rows)


def _counted(rewards: Array, group_ids: Array) -> tuple[Array, Array]:
  """(rewards with 0 for what does not count, bool [N] members of lists that are not constant)."""
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  counted = jnp.isfinite(rewards) & (group_ids >= 0)
  rewards = masking.zero_where_not(rewards, counted)
  return rewards, counted & ~masking.group_is_constant(rewards, group_ids, counted)


def _on_first(
  loss: Array, scores: Array, rewards: Array, group_ids: Array, counted: Array
) -> tuple[Array, dict[str, Array]]:
  """Each list's sum at its first counted sample, with the diagnostics of its best and worst."""
  first = masking.group_rank(jnp.zeros_like(scores), group_ids, counted) == 0
  best = counted & (masking.group_rank(rewards, group_ids, counted) == 0)
  worst = counted & (masking.group_rank(-rewards, group_ids, counted) == 0)
  chosen, rejected = (masking.group_sum(scores, group_ids, place) for place in (best, worst))
  # The sum's own order keeps every member's bits; only the first carries it.
  places = pairing.Pairs(counted & first, worst, group_ids)
  return pairing.on_pairs(
    masking.group_sum(loss, group_ids, counted), chosen, rejected, places
  )


def _scores(sequence_logprobs, sequence_ref_logprobs, beta, counted):
  """s = β·h of the counted samples; 0 elsewhere."""
  ref = jax.lax.stop_gradient(masking.zero_where_not(sequence_ref_logprobs, counted))
  return beta * (masking.zero_where_not(sequence_logprobs, counted) - ref)


@declare(denominator='groups', couples='group', traits=('group_relative',))
def lipo_lambda(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """Σ_{ψ_i>ψ_j} |2^{ψ_i} − 2^{ψ_j}|·|1/log(1+τ_i) − 1/log(1+τ_j)|·log(1 + e^{−(s_i − s_j)}).

  ψ = rewards, s = β(Σℓ − Σℓ^ref), τ = 1, 2, … the rank of a sample by s in its group; the weights
  are constants. Pairs of equal rewards take no part. Rewards are labels of relevance and enter as
  they are: 2^ψ is not indifferent to their scale.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], ψ, graded labels (0 … 1 in the paper); NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.

  Returns:
    (loss [N] at the first sample of each group, 0 elsewhere; diagnostics of [N] there, of the best
    and the worst sample by rewards, see `pairs.on_pairs`).

  Examples:
    >>> scores = jnp.array([0.0, 0.0, 0.0])
    >>> rewards, groups = jnp.array([1.0, 0.5, 0.0]), jnp.array([0, 0, 0])
    >>> loss = lambda now: losses.lipo_lambda(now, scores, rewards, groups, beta=1.0)[0].sum()
    >>> print(jax.grad(loss)(scores))  # the best is raised, the worst lowered
    [-0.5166  0.1168  0.3998]

  Source: Liu et al. 2024, arXiv 2402.01878, the LiPO-λ loss.
  Differs from the source: its sign is that of a loss.
  Fidelity: faithful
  """
  rewards, counted = _counted(rewards, group_ids)
  scores = _scores(sequence_logprobs, sequence_ref_logprobs, beta, counted)
  rank = masking.group_rank(jax.lax.stop_gradient(scores), group_ids, counted)
  gain, discount = jnp.exp2(rewards), 1 / jnp.log(2 + rank.astype(scores.dtype))

  def one(group_id, label, score, own_gain, own_discount):
    worse = counted & (group_ids == group_id) & (rewards < label)
    weight = (own_gain - gain) * (own_discount - discount)
    weight = jnp.where(weight < 0, -weight, weight)
    return jnp.sum(masking.zero_where_not(weight * jax.nn.softplus(scores - score), worse))

  loss = _over_others(one, group_ids, rewards, scores, gain, discount)
  return _on_first(loss, scores, rewards, group_ids, counted)


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def list_mle(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """Σ_k [log Σ_{j≥k} e^{s_(j)} − s_(k)], s = β(Σℓ − Σℓ^ref) in descending order of rewards.

  The Plackett–Luce likelihood of the ranking; DPO for two samples. Equal rewards inside a list are
  ranked by the order in the array; a list of equal rewards has loss 0.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.

  Returns:
    (loss [N] at the first sample of each group, 0 elsewhere; diagnostics of [N] there, of the best
    and the worst sample by rewards, see `pairs.on_pairs`).

  Examples:
    >>> scores = jnp.array([0.0, 0.0, 0.0])
    >>> rewards, groups = jnp.array([1.0, 0.5, 0.0]), jnp.array([0, 0, 0])
    >>> # Log 3! before anything is learnt
    >>> print(losses.list_mle(scores, scores, rewards, groups)[0])
    [1.7918 0.     0.    ]

  Source: Xia et al. 2008, "Listwise approach to learning to rank"; for language models: Rafailov et
    al. 2023, arXiv 2305.18290; Liu et al. 2024, arXiv 2402.01878.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  rewards, counted = _counted(rewards, group_ids)
  scores = _scores(sequence_logprobs, sequence_ref_logprobs, beta, counted)
  rank = masking.group_rank(rewards, group_ids, counted)

  def one(group_id, own_rank, score, own):
    left = counted & (group_ids == group_id) & (rank >= own_rank) & own
    top = jnp.max(jnp.where(left, jax.lax.stop_gradient(scores), -jnp.inf))
    top = jnp.where(own, top, 0)
    total = jnp.sum(jnp.where(left, jnp.exp(jnp.where(left, scores - top, 0)), 0))
    return jnp.log(jnp.where(own, total, 1)) + top - score

  loss = _over_others(one, group_ids, rank, scores, counted)
  return _on_first(loss, scores, rewards, group_ids, counted)
