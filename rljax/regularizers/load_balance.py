"""The load of experts, kept even by a loss of the router's probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.masking import one_hot_segments, widen
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence')
def load_balance(
  router_probs: Array,
  router_choices: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
) -> tuple[Array, dict[str, Array]]:
  """ℓ_t = E·Σ_e f_e·p_te, a mean over layers; f_e the fraction of the sample's choices that are e.

  Its mean over the tokens of a sample is E·Σ_e f_e·P_e, 1 where the load or the router is even. f
  is a constant: p falls where the load is high. It is of one sample, so that neither the other
  samples of a micro-batch nor packing change it. As the auxiliary term of a stage:
  `auxiliary=dict(name='regularizers.load_balance')` and `auxiliary_coef`.

  Args:
    router_probs: float [..., T, L', E], p, of L' layers with E experts; differentiated.
    router_choices: int32 [..., T, L', k], the experts that were asked.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; how many samples a row may hold.

  Returns:
    (loss [..., T], at least float32, diagnostics: `balance`, the loss).

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> probs, chosen = jnp.full((1, 3, 1, 2), 0.5), jnp.zeros((1, 3, 1, 1), int)
    >>> print(regularizers.load_balance(probs, chosen, *row)[0])  # an even router: 1
    [[1. 1. 1.]]
    >>> uneven = jnp.broadcast_to(jnp.array([0.9, 0.1]), (1, 3, 1, 2))
    >>> print(regularizers.load_balance(uneven, chosen, *row)[0])
    [[1.8 1.8 1.8]]

  Source: DeepSeek-V3 (arXiv 2412.19437), eq. 17–20; Fedus et al., 2101.03961, eq. 4–6.
  Differs from the source: f and the mean are over the sampled tokens alone; p is a softmax.
  Fidelity: recalled
  """
  count, chosen = router_probs.shape[-1], router_choices.shape[-1]
  actions = action_mask & (segment_ids >= 0)
  probs = jnp.where(actions[..., None, None], widen(router_probs), 0)
  experts = jax.lax.broadcasted_iota(jnp.int32, (*router_choices.shape, count), probs.ndim)
  hot = (router_choices[..., None] == experts).sum(axis=-2, dtype=probs.dtype)
  member = one_hot_segments(jnp.where(actions, segment_ids, -1), sample_ids.shape[-1])
  member = member.astype(probs.dtype)
  exact = dict(precision=jax.lax.Precision.HIGHEST)
  tokens = jnp.maximum(jnp.sum(member, axis=-2), 1)[..., None, None]
  fractions = jnp.einsum('...ts,...tle->...sle', member, hot, **exact) / (chosen * tokens)
  load = jnp.einsum('...ts,...sle->...tle', member, jax.lax.stop_gradient(fractions), **exact)
  loss = count * jnp.mean(jnp.sum(load * probs, axis=-1), axis=-1)
  return loss, {'balance': jax.lax.stop_gradient(loss)}
