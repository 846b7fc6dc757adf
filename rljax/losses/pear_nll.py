"""PEAR: likelihood of demonstrations by how likely the policy, not their author, would say them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.losses.ratios import constant, difference
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array

LEVELS = ('token', 'block', 'sequence')


@declare(couples='sequence')
def pear_nll(
  logprobs: Array,
  ref_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  positions: Array,
  prompt_length: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  level: str = 'sequence',
  block_size: int = 8,
  low: float = 0.1,
  high: float = 10.0,
) -> tuple[Array, dict[str, Array]]:
  """−sg(clip(Π_{u ~ t} π_u/μ_u, low, high))·ℓ_t, u the tokens of the token, block or sequence of t.

  What the policy will hardly sample in RL is learnt less. Blocks of `block_size` tokens are counted
  from the start of the completion.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    ref_logprobs: float [..., T], nats, of the policy at the start of the stage: μ where nobody has
      recorded it. Constant.
    policy_logprobs: float [..., T], nats, of who wrote the data: μ of the samples where any of them
      is not 0. Constant.
    action_mask: bool [..., T].
    positions: int32 [..., T], in the sample.
    prompt_length: int32 [N], tokens.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    level: 'token', 'block' or 'sequence': over which ratios are multiplied.
    block_size: tokens.
    low: least weight.
    high: largest weight.

  Returns:
    (loss [..., T], diagnostics: `token_weight`).

  Raises:
    ValueError: an unknown level, or blocks without a token.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> place = dict(positions=jnp.array([[0, 1, 2]]), prompt_length=jnp.array([0]))
    >>> args = new, old, jnp.zeros((1, 3)), row[0], *place.values(), *row[1:]
    >>> print(losses.pear_nll(*args)[1]['token_weight'])  # Π π/π^ref
    [[0.36 0.36 0.36]]
    >>> print(losses.pear_nll(*args, level='token')[1]['token_weight'])
    [[1.8 1.  0.2]]

  Source: PEAR, "Good SFT Optimizes for SFT, Better SFT Prepares for Reinforcement Learning".
  Differs from the source: formula not confirmed against the paper; bounds are guesses; without
    recorded log-probs the start policy stands for who wrote the data.
  Fidelity: recalled
  """
  if level not in LEVELS or block_size < 1:
    raise ValueError(
      f'level={level!r} is not one of {", ".join(LEVELS)}, or block_size={block_size} is below 1'
    )
  told = (widen(policy_logprobs) != 0) & action_mask
  is_told = masking.segment_sum(told, segment_ids, sample_ids.shape[-1]) > 0
  is_told = masking.segment_to_token(is_told, segment_ids)
  author = jnp.where(is_told, widen(policy_logprobs), widen(ref_logprobs))
  log_ratio = masking.zero_where_not(constant(difference(logprobs, author)), action_mask)
  size = {'token': 1, 'block': block_size, 'sequence': logprobs.shape[-1]}[level]
  place = positions - masking.sample_to_token(prompt_length, sample_ids, segment_ids)
  total = _run_sum(log_ratio, segment_ids, place // size)
  weight = jnp.clip(clamped_exp(total), low, high)
  return -weight * widen(logprobs), {'token_weight': weight}


def _run_sum(x: Array, segment_ids: Array, blocks: Array) -> Array:
  """[..., T]: Σ x over the neighbours of the same segment and block."""
  runs = jnp.where(segment_ids >= 0, segment_ids * (2 * x.shape[-1]) + blocks, -1)

  def from_here(x, runs):
    return masking.reverse_segment_scan(jnp.ones_like(x), x, runs)

  return from_here(x, runs) + from_here(x[..., ::-1], runs[..., ::-1])[..., ::-1] - x
