"""Hi-GRPO: the stages of a completion are compared each with the same stage of the others."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import action_rewards
from rljax.advantages.normalize_equal import normalize_equal
from rljax.advantages.spans import from_start, span_returns
from rljax.traits import declare

Array = jax.Array


@declare(couples='group', traits=('shift_invariant', 'scale_invariant', 'group_relative'))
def stage_normalize(
  rewards: Array,
  token_rewards: Array,
  group_ids: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  step_ids: Array,
  *,
  downstream: float = 1.0,
  epsilon: float = 1e-6,
  ddof: int = 1,
) -> Array:
  """A_t = (G_k − μ_{g,k})/(σ_{g,k} + ε) for t in stage k,  G_k = r_k + λ·G_{k+1}.

  μ and σ are over the samples of the group that have a stage k, so a coarse first stage is not
  measured by the scale of the fine ones. With λ a stage answers for what is built on it too. With
  one stage it is GRPO. A stage in which all returns of the group are equal gets 0.

  Args:
    rewards: float [N], of the whole, at the last stage; not finite = unscorable: leaves all
      statistics and gets 0.
    token_rewards: float [..., T], of the stages, each on any token of its stage.
    group_ids: int32 [N]; −1 = unused, gets 0.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    step_ids: int32 [..., T], the number of the stage in its sample, rising; read at action tokens
      only.
    downstream: λ, weight of the stages that follow.
    epsilon: added to σ, in units of the reward.
    ddof: of σ.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> rewards, groups, mask = jnp.array([1.0, 0.0]), jnp.zeros(2, int), jnp.ones((2, 2), bool)
    >>> segments, places = jnp.zeros((2, 2), int), jnp.array([[0], [1]])
    >>> turns = jnp.array([[0, 1], [0, 1]])
    >>> where = jnp.array([[0.3, 0.0], [0.1, 0.0]]), groups, mask, segments, places, turns
    >>> print(advantages.stage_normalize(rewards, *where, downstream=0.0))
    [[ 0.7071  0.7071]
     [-0.7071 -0.7071]]

  Source: AR3D-R1, Are We Ready for RL in Text-to-3D Generation? (2025), Hi-GRPO.
  Differs from the source: tokens of text for those of shapes and textures; how later stages count
    for earlier ones is not confirmed against the paper.
  Fidelity: adapted
  """
  rewards = jnp.where(group_ids >= 0, masking.widen(rewards), jnp.nan)
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  returns, start = span_returns(reward, action, segment_ids, step_ids, downstream)
  keys = (masking.sample_to_token(group_ids, sample_ids, segment_ids), step_ids)
  result = normalize_equal(returns, keys, start, no_std=False, epsilon=epsilon, ddof=ddof)
  return jnp.where(action, from_start(result, start), 0)
