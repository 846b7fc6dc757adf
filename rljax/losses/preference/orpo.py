"""Likelihood and the odds ratio in one loss, without a reference."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array

CERTAIN = -1e-6  # nats per token; from here on 1 − p counts as 1e-6


def log1mexp(x: Array) -> Array:
  """log(1 − e^x) for x ≤ 0, without cancellation; x above −1e-6 is taken for −1e-6."""
  x = jnp.where(x > CERTAIN, CERTAIN, x)
  near = x > -0.6931471805599453
  # Both branches are finite in value and gradient where they are not taken.
  close = jnp.log(-jnp.expm1(jnp.where(near, x, -0.5)))
  return jnp.where(near, close, jnp.log1p(-jnp.exp(jnp.where(near, -1, x))))


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def orpo(
  sequence_logprobs: Array,
  completion_length: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """−ℓ̄_w − β·log σ(ℓ̄_w − ℓ̄_l − log(1 − e^{ℓ̄_w}) + log(1 − e^{ℓ̄_l})), ℓ̄ = Σℓ/|y|.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    completion_length: float [N], action tokens. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: λ of the paper, weight of the odds ratio.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`; implicit rewards
    are β·ℓ̄).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> length = jnp.array([2.0, 2.0])
    >>> # The likelihood of the chosen one, and odds
    >>> print(losses.orpo(now, length, rewards, groups)[0])
    [1.0238 0.    ]

  Source: Hong et al. 2024, arXiv 2403.07691, equations 4 and 7.
  Differs from the source: a mean log-prob above −1e-6 counts as −1e-6 in the odds, where they
    would be infinite; the likelihood is of action tokens only.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  mean_w, mean_l = pairing.token_means(sequence_logprobs, completion_length, pairs)
  log_odds = mean_w - mean_l - log1mexp(mean_w) + log1mexp(mean_l)
  loss = -mean_w - beta * jax.nn.log_sigmoid(log_odds)
  return pairing.on_pairs(loss, beta * mean_w, beta * mean_l, pairs)
