"""RAPO: the forward KL to a reference that rewards reweight."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


def reward_softmax(
  rewards: Array,
  group_ids: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  tau: float = 1.0,
) -> Array:
  """G·softmax(R/τ) over the G scored completions of a prompt, on each token: a mean of 1.

  As weights of a divergence from the reference they make it that from π_ref·e^{R/τ}: where the
  reference did well it is held on to, where it failed the policy may leave. Equal rewards give 1.

  Args:
    rewards: float [N]; not finite = unscorable: 0. Constant.
    group_ids: int32 [N]; −1 = unused.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    tau: τ, units of the reward; large = all completions alike.

  Returns:
    [..., T], at least float32; 0 on tokens that are not sampled.

  Examples:
    >>> rewards, mask = jnp.array([1.0, 0.0]), jnp.ones((2, 1), bool)
    >>> where = jnp.zeros(2, int), mask, jnp.zeros((2, 1), int), jnp.array([[0], [1]])
    >>> print(regularizers.reward_softmax(rewards, *where).ravel())  # a mean of 1
    [1.4621 0.5379]

  Source: RAPO, Unlocking Reasoning Capabilities in LLMs via Reinforcement Learning Exploration
    (2025).
  Differs from the source: formula not confirmed against the paper; the most natural reading.
  Fidelity: recalled
  """
  scored = jnp.isfinite(rewards) & (group_ids >= 0)
  utility = masking.zero_where_not(rewards, scored) / tau
  top = masking.group_max(utility, group_ids, scored)
  odds = jnp.where(scored, jnp.exp(utility - jnp.where(scored, top, 0)), 0)
  weight = odds / jnp.where(scored, masking.group_mean(odds, group_ids, scored), 1)
  found = masking.sample_to_token(sg(weight), sample_ids, segment_ids)
  return jnp.where(action_mask, found, 0)


@declare()
def reward_aware_kl(
  full_forward_kl: Array, reward_weight: Array
) -> tuple[Array, dict[str, Array]]:
  """w·KL(π_ref ‖ π) over the whole vocabulary, w of the completion.

  The forward KL asks the policy to keep what the reference can do and leaves it free to do what the
  reference never does; the reverse one forbids that.

  Args:
    full_forward_kl: float [..., T], nats; differentiated.
    reward_weight: float [..., T], of `reward_softmax`. Constant.

  Returns:
    (loss [..., T], diagnostics: `kl_ref` the divergence without weights, nats).

  Examples:
    >>> print(regularizers.reward_aware_kl(jnp.array([[0.2, 0.2]]), jnp.array([[1.5, 0.5]]))[0])
    [[0.3 0.1]]

  Source: RAPO, Unlocking Reasoning Capabilities in LLMs via Reinforcement Learning Exploration
    (2025).
  Differs from the source: formula not confirmed against the paper; the divergence is summed over
    the vocabulary and not estimated from samples.
  Fidelity: recalled
  """
  kl = widen(full_forward_kl)
  return sg(widen(reward_weight)) * kl, {'kl_ref': sg(kl)}
