"""Policy mirror descent by regression: Kimi-1.5, OPMD, DRO."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.ratios import check_level, completion_sum
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(couples='sequence')
def opmd(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  tau: float = 0.1,
  level: str = 'sequence',
) -> tuple[Array, dict[str, Array]]:
  """L_i = −Σ_t A_t·ℓ_t + (τ/2)·(Σ_t (ℓ_t − ℓ°_t))².

  With one advantage per completion its gradient is that of (A − τ·Σ(ℓ − ℓ°))²/(2τ), so the optimum
  is π ∝ π°·exp(A/τ). A = R − mean of the group: Kimi-1.5; A = R − V: DRO. No ratio, so nothing
  overflows and old samples may be used.

  level 'sequence' gives every action token of the sample the loss L_i of the whole sample: with
  seq_mean_token_mean weights the sum is the mean of L_i over samples. On-policy that is REINFORCE
  with seq_mean_token_sum weights. level 'token' is −A·ℓ + (τ/2)·(ℓ − ℓ°)² on each token, without
  the cross terms of the square: another regularizer, and on-policy REINFORCE token by token.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    tau: weight of the regularizer, units of the advantage per nat.
    level: 'sequence' or 'token'.

  Returns:
    (loss [..., T], diagnostics: `log_ratio` = ℓ − ℓ° of the token, or summed over the completion,
    nats).

  Raises:
    ValueError: an unknown level.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> loss, seen = losses.opmd(new, old, jnp.zeros((1, 3)), *row)
    >>> print(loss)  # A = 0: only (τ/2)·(Σ log r)² is left, on each token
    [[0.0522 0.0522 0.0522]]

  Source: Kimi team 2025, arXiv 2501.12599; Richemond et al. 2024, arXiv 2405.19107
    (DRO); level 'token': public implementations: ROLL, verl.
  Differs from the source: nothing; what the advantage subtracts is the advantage's choice.
  Fidelity: faithful
  """
  check_level(level)
  logprobs, advantages = widen(logprobs), sg(widen(advantages))
  log_ratio = logprobs - sg(widen(old_logprobs))
  pull = -advantages * logprobs
  if level == 'sequence':
    where = (action_mask, segment_ids, sample_ids)
    log_ratio, pull = completion_sum(log_ratio, *where), completion_sum(pull, *where)
  return pull + 0.5 * tau * jnp.square(log_ratio), {'log_ratio': sg(log_ratio)}
