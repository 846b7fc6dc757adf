"""Tokens weigh by how widely the policy looked when it drew them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def attention_mean(
  action_mask: Array, old_attention_entropy: Array, *, focus: float = 1.0
) -> Array:
  """w_t ∝ σ(−λ·z_t), Σ w = 1; z = (H_t − H̄)/σ_H over the loss tokens, H of attention.

  Tokens of low attention entropy (anchors) have steady gradients that agree with the whole, those
  of high entropy (explorers) large and volatile ones. λ > 0 leans on anchors, λ < 0 on explorers,
  0 is `token_mean`; a schedule of λ moves from one to the other. Where all entropies are equal so
  are the weights.

  Args:
    action_mask: bool [..., T].
    old_attention_entropy: float [..., T], nats, of the policy before the update, mean over heads
      and layers.
    focus: λ, per standard deviation.

  Returns:
    float32 [..., T]; sums to 1, or to 0 without loss tokens.

  Examples:
    >>> mask, entropy = jnp.ones((1, 3), bool), jnp.array([[0.5, 1.0, 1.5]])
    >>> print(weighting.attention_mean(mask, entropy))  # leans on tokens that look at few places
    [[0.5153 0.3333 0.1514]]
    >>> print(weighting.attention_mean(mask, entropy, focus=-1.0))
    [[0.1514 0.3333 0.5153]]

  Source: Not All Tokens Learn Alike: Attention Entropy Reveals Heterogeneous Signals in RL
    Reasoning (2026).
  Differs from the source: formula not confirmed against the paper, whose schedule and mean over
    heads are not known.
  Fidelity: recalled
  """
  entropy = masking.zero_where_not(jax.lax.stop_gradient(old_attention_entropy), action_mask)
  centred = entropy - masking.masked_mean(entropy, action_mask)
  deviation = jnp.sqrt(masking.masked_var(entropy, action_mask))
  flat = masking.is_constant(entropy, action_mask)
  z = jnp.where(flat, 0, centred / jnp.where(flat, 1, deviation))
  soft = jnp.where(action_mask, jax.nn.sigmoid(-focus * z), 0)
  total = jnp.sum(soft)
  return (soft / jnp.where(total > 0, total, 1)).astype(jnp.float32)
