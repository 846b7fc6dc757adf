"""Triples: a gold completion is imitated, and of the two others one is preferred."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array

KINDS = ('sigmoid', 'hinge', 'ipo', 'tpo-l')


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def tpo(
  sequence_logprobs: Array,
  completion_length: Array,
  rewards: Array,
  group_ids: Array,
  *,
  pair: str = 'sigmoid',
  beta: float = 0.01,
  nll_coef: float = 1.0,
  margin: float = 0.5,
) -> tuple[Array, dict[str, Array]]:
  """f(β(Σℓ_w − Σℓ_l)) − α·Σℓ_gold/|y_gold|; f(z) = −log σ(z) or max(0, 1 − z).

  A triple is a group: gold is its best sample, chosen its second, rejected its worst; the loss
  stands on the chosen one. 'ipo' is (ℓ̄_w − ℓ̄_l − 1/(2β))² and 'tpo-l' −log σ(β(ℓ̄_w − ℓ̄_l) − γ),
  with means over tokens. A group of fewer than three samples, or whose second and worst have equal
  rewards, is no triple.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    completion_length: float [N], action tokens. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    pair: 'sigmoid', 'hinge', 'ipo' or 'tpo-l'.
    beta: scale of the log-probs, 1/nats.
    nll_coef: α, weight of the gold completion's likelihood per token.
    margin: γ of 'tpo-l'.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Raises:
    ValueError: an unknown pair term.

  Examples:
    >>> now, groups = jnp.array([-2.0, -2.0, -4.0]), jnp.array([0, 0, 0])
    >>> rewards, length = jnp.array([1.0, 0.5, 0.0]), jnp.array([2.0, 2.0, 2.0])
    >>> # On the second best; the best is to be learnt
    >>> print(losses.tpo(now, length, rewards, groups)[0])
    [0.     1.6832 0.    ]

  Source: Saeidi et al. 2024, arXiv 2405.16681; 'hinge' and 'ipo': public implementations.
  Differs from the source: the likelihood is per token of each gold completion (public
    implementations average it over all gold tokens of the batch).
  Fidelity: adapted
  """
  if pair not in KINDS:
    raise ValueError(f'tpo: pair {pair!r} is not one of {", ".join(KINDS)}')
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  counted = jnp.isfinite(rewards) & (group_ids >= 0)
  clean = masking.zero_where_not(rewards, counted)
  gold = counted & (masking.group_rank(clean, group_ids, counted) == 0)
  others = pairing.find_pairs(rewards, jnp.where(gold, -1, group_ids))
  pairs = others._replace(group_ids=group_ids)
  mean_w, mean_l = pairing.token_means(sequence_logprobs, completion_length, pairs)
  triple = pairs._replace(rejected=gold)
  gold_mean = pairing.token_means(sequence_logprobs, completion_length, triple)[1]

  averaged = pair in ('ipo', 'tpo-l')
  chosen, rejected = (mean_w, mean_l) if averaged else pairing.of_pair(sequence_logprobs, pairs)
  z = beta * (chosen - rejected)
  if pair == 'hinge':
    loss = jnp.where(z < 1, 1 - z, 0)
  elif pair == 'ipo':
    loss = jnp.square(chosen - rejected - 1 / (2 * beta))
  else:
    loss = pairing.logistic(z - margin if pair == 'tpo-l' else z)
  return pairing.on_pairs(loss - nll_coef * gold_mean, beta * chosen, beta * rejected, pairs)
