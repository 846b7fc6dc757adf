"""Returns of process rewards that a policy cannot farm by repeating good steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import action_rewards
from rljax.advantages.spans import span_returns
from rljax.traits import declare

Array = jax.Array

MODES = ('clip', 'delta', 'clip+delta')


@declare(couples='sequence')
def refined_step_returns(
  rewards: Array,
  token_rewards: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  step_ids: Array | None = None,
  *,
  mode: str = 'clip+delta',
  eta: float = 0.5,
  alpha: float = 1.0,
) -> Array:
  """A_t = α·R + Σ_{j≥k} r_j in step k.  Clip: r_k = min(p_k − η, 0); delta: r_k = p_k − p_{k+1}.

  p_k is the score of step k, the sum of its token rewards, and 0 after the last step. Clipped, a
  step that is good enough earns nothing, and no step is worth taking twice; by delta the sum is
  the score of the present step, however many follow. With both p is clipped first. Without a
  baseline: whiten it (`advantages.whiten` as a shaping).

  Args:
    rewards: float [N], R, of the outcome; not finite = unscorable, gets 0.
    token_rewards: float [..., T], scores of the steps, each on any token of its step; a KL penalty
      among them would be refined too.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    step_ids: int32 [..., T], the number of the step in its sample; read at action tokens only.
      Without them each action token is a step.
    mode: 'clip', 'delta' or 'clip+delta'.
    eta: score of a step that is good enough.
    alpha: factor of the outcome.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Raises:
    ValueError: an unknown mode.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> scores = jnp.array([[0.9, 0.2, 0.9]])
    >>> for mode in ('clip', 'delta'):
    ...   print(mode, advantages.refined_step_returns(jnp.array([1.0]), scores, *row, mode=mode))
    clip [[0.7 0.7 1. ]]
    delta [[1.9 1.2 1.9]]

  Source: On Designing Effective RL Reward at Training Time for LLM Reasoning (2024).
  Differs from the source: no critic; formulas not confirmed against the paper.
  Fidelity: recalled
  """
  if mode not in MODES:
    raise ValueError(f'refined_step_returns: mode {mode!r} is not one of {", ".join(MODES)}')
  if step_ids is None:
    step_ids = jax.lax.broadcasted_iota(jnp.int32, action_mask.shape, action_mask.ndim - 1)
  places = (action_mask, segment_ids, sample_ids)
  outcome = masking.zero_where_not(jax.lax.stop_gradient(rewards), jnp.isfinite(rewards))
  only_steps = jnp.where(jnp.isfinite(rewards), 0, rewards)
  process, action = action_rewards(only_steps, token_rewards, *places)
  scores, start = span_returns(process, action, segment_ids, step_ids, 0.0)
  if mode != 'delta':
    scores = jnp.where(action, jnp.minimum(scores - eta, 0), 0)
  if mode == 'clip':
    once = jnp.where(start, scores, 0)
    scores, _ = span_returns(once, action, segment_ids, step_ids, 1.0)
  success = alpha * masking.sample_to_token(outcome, sample_ids, segment_ids)
  return jnp.where(action, success + scores, 0)
