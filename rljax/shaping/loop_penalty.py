"""A price on completions that fall into a loop: the higher, the earlier they do."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def loop_penalty(
  rewards: Array,
  tokens: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  *,
  coefficient: float = 0.5,
  max_period: int = 32,
  repeats: int = 3,
  min_length: int = 16,
) -> Array:
  """R' = R − coefficient·(share of the completion that follows once it is in a loop).

  A completion is in a loop at the first token that ends `repeats` times the same 1 … max_period
  tokens in a row, `min_length` tokens at least; from there on all its tokens count. One that stays
  clear of loops pays nothing, one that loops from the start nearly the coefficient.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    tokens: int32 [..., T].
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].
    coefficient: in units of the reward.
    max_period: longest loop, tokens.
    repeats: times that it is said, ≥ 2.
    min_length: tokens that all repetitions together have at least.

  Returns:
    at least float32 [N].

  Raises:
    ValueError: max_period < 1 or repeats < 2.

  Examples:
    >>> tokens, mask = jnp.array([[1, 2, 7, 7, 7, 7]]), jnp.ones((1, 6), bool)
    >>> where = mask, jnp.zeros((1, 6), int), jnp.array([[0]]), jnp.array([0])
    >>> # Two of six tokens loop
    >>> print(shaping.loop_penalty(jnp.ones(1), tokens, *where, min_length=3))
    [0.8333]

  Source: MiroMind-M1, Context-Aware Multi-Stage Policy Optimization (2025).
  Differs from the source: formula not confirmed against the paper; what counts as a loop is a
    guess.
  Fidelity: recalled
  """
  if max_period < 1 or repeats < 2:
    raise ValueError(
      f'loop_penalty: max_period={max_period}, repeats={repeats}; needs max_period ≥ 1 and '
      f'repeats ≥ 2'
    )
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  axis, num_segments = tokens.ndim - 1, sample_ids.shape[-1]
  actions = action_mask & (segment_ids >= 0)
  slots = jax.lax.broadcasted_iota(jnp.int32, tokens.shape, axis)
  owner = jnp.where(actions, segment_ids, -1)

  def in_loop(period, found):
    same = actions & (slots >= period) & (owner == jnp.roll(owner, period, axis))
    same = same & (tokens == jnp.roll(tokens, period, axis))
    run = slots - jax.lax.cummax(jnp.where(same, -1, slots), axis=axis)
    needed = jnp.maximum(repeats * period, min_length)
    return found | (same & (run + period >= needed))

  nowhere = jnp.zeros(tokens.shape, bool)
  loops = jax.lax.fori_loop(1, max_period + 1, in_loop, nowhere).astype(jnp.int32)
  seen = jnp.cumsum(loops, axis=axis)
  before = jax.lax.cummax(jnp.where(masking.starts(segment_ids), seen - loops, 0), axis=axis)
  places = (segment_ids, sample_slots, num_segments)
  looping = masking.token_to_sample_sum((seen > before).astype(rewards.dtype), actions, *places)
  length = masking.token_to_sample_sum(actions.astype(rewards.dtype), actions, *places)
  penalty = coefficient * looping / jnp.maximum(length, 1)
  return jnp.where(jnp.isfinite(rewards), rewards - penalty, rewards)
