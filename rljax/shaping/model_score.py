"""The score of a reward model, alone or beside the reward of a rule."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def model_score(
  rewards: Array,
  reward_scores: Array,
  *,
  weight: float = 1.0,
  rule: float = 0.0,
  shift: float = 0.0,
  scale: float = 1.0,
) -> Array:
  """R' = rule·R + weight·(s − shift)/scale.

  Special cases: rule 0, the reward model alone (RLHF) · weight 0, verified rewards times `rule`.

  Args:
    rewards: float [N], R; not finite = unscorable, stays as it is. Constant.
    reward_scores: float [N], s, what the reward model of an earlier stage says at the last action
      token. Constant.
    weight: of the model, units of the reward.
    rule: of the reward that was there.
    shift: units of the score.
    scale: units of the score, above 0.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, scores = jnp.array([1.0, 0.0, jnp.nan]), jnp.array([0.5, 2.0, 0.5])
    >>> print(shaping.model_score(rewards, scores))  # NaN: nobody could score it
    [0.5 2.  nan]
    >>> print(shaping.model_score(rewards, scores, rule=1.0, weight=0.1))
    [1.05 0.2   nan]

  Source: Ouyang et al. 2022, arXiv 2203.02155, the reward model's scalar as the reward.
  Differs from the source: a weighted sum with the reward of a rule.
  Fidelity: adapted
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  score = jax.lax.stop_gradient((masking.widen(reward_scores) - shift) / scale)
  return jnp.where(jnp.isfinite(rewards), rule * rewards + weight * score, rewards)
