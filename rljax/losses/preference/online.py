"""Losses on pairs that two policies drew: exploration, and play against a mixture."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def xpo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  is_external: Array,
  *,
  beta: float = 0.1,
  alpha: float = 1e-5,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(βΔ) + α·Σℓ(ỹ), ỹ the sample of the reference, Δ = h_w − h_l, h = Σℓ − Σℓ^ref.

  Online DPO on a sample of the policy and one of the reference, with optimism: the likelihood of
  what the reference would write is pushed down, so that the policy explores.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    is_external: bool [N], the sample is the reference's; those of the pair count.
    beta: strength of the tie to the reference, 1/nats.
    alpha: weight of the exploration, 1/nats.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> external = jnp.array([False, True])
    >>> print(losses.xpo(now, ref, rewards, groups, external, alpha=0.1)[0])  # DPO + 0.1·(−4)
    [0.1981 0.    ]

  Source: Xie et al. 2024, arXiv 2405.21046.
  Differs from the source: formula not confirmed against the paper (as in public implementations).
  Fidelity: recalled
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  drawn = is_external & (pairs.chosen | pairs.rejected)
  explored = pairing.of_pair(sequence_logprobs, pairs._replace(rejected=drawn))[1]
  loss = pairing.logistic(beta * (h_w - h_l)) + alpha * explored
  return pairing.on_pairs(loss, beta * h_w, beta * h_l, pairs)


@declare(denominator='samples', couples='sequence')
def nash_md(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  is_external: Array,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """−sg(P(y ≻ y′) − ½ − βh)·Σℓ, h = Σℓ − Σℓ^ref; y of the policy, y′ of the mixture.

  A policy gradient against an opponent: `rewards` of the policy's sample is the probability that it
  beats y′, which is drawn from the geometric mixture of policy and reference (weights ½ and ½ in
  public implementations). The mixture is the sampler's business: only its completions enter, as
  external samples, and they carry no loss. The gradient is that of the win rate less β times the
  sequence KL where y is the policy's own.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], P(y ≻ y′) in [0, 1]; NaN = no loss. Constant.
    group_ids: int32 [N]; −1 = unused.
    is_external: bool [N], the sample is the mixture's.
    beta: τ of the paper, weight of the KL.

  Returns:
    (loss [N], diagnostics of [N]: `accuracy` P at samples with a loss, `kl_ref` h there, nats).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> wins, external = jnp.array([0.8, 0.2]), jnp.array([False, True])
    >>> loss = lambda now: losses.nash_md(now, ref, wins, groups, external)[0].sum()
    >>> print(jax.grad(loss)(now))  # −(0.8 − ½ − 0.1·1); the opponent has no loss
    [-0.2  0. ]

  Source: Munos et al. 2023, arXiv 2312.00886, Nash-MD-PG.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  played = (group_ids >= 0) & jnp.isfinite(rewards) & ~is_external
  now = masking.zero_where_not(sequence_logprobs, played)
  drift = jax.lax.stop_gradient(now - masking.zero_where_not(sequence_ref_logprobs, played))
  wins = masking.zero_where_not(rewards, played)
  loss = -masking.zero_where_not(wins - 0.5 - beta * drift, played) * now
  return loss, {'accuracy': wins, 'kl_ref': drift}
