"""Likelihood of the policy's own good completions, as an auxiliary term."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array

OPTIONS = ('rewards', 'advantages')


@declare(couples='sequence')
def positive_nll(
  logprobs: Array,
  rewards: Array,
  group_ids: Array,
  segment_ids: Array,
  sample_ids: Array,
  advantages: Array | None = None,
  *,
  threshold: float = 0.0,
  of: str = 'rewards',
) -> tuple[Array, dict[str, Array]]:
  """−ℓ on the tokens of samples with R > threshold (or tokens with A > threshold), else 0.

  Self-imitation beside a policy loss; the coefficient of the term is VAPO's μ (the paper: 0.1).
  Averaged over all tokens, not over those of good samples.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    advantages: float [..., T], where `of` is 'advantages'. Constant.
    threshold: units of the reward, or of the advantage.
    of: 'rewards' or 'advantages': what has to be above it.

  Returns:
    (loss [..., T], diagnostics: `positive` 1 on the tokens that count).

  Raises:
    ValueError: an unknown `of`, or no advantages.

  Examples:
    >>> logprobs = jnp.log(jnp.full((2, 1), 0.5))
    >>> rewards, groups, places = jnp.array([1.0, 0.0]), jnp.array([0, 0]), jnp.array([[0], [1]])
    >>> print(losses.positive_nll(logprobs, rewards, groups, jnp.zeros((2, 1), int), places)[0])
    [[0.6931]
     [0.    ]]

  Source: Yue et al. 2025, arXiv 2504.05118 (VAPO).
  Differs from the source: the denominator is that of the term's weights, where the paper divides by
    the tokens of right answers.
  Fidelity: adapted
  """
  if of not in OPTIONS or (of == 'advantages' and advantages is None):
    raise ValueError(f'of={of!r} is not one of {", ".join(OPTIONS)}, or there are no advantages')
  scored = jnp.isfinite(rewards) & (group_ids >= 0)
  positive = scored & (widen(rewards) > threshold if of == 'rewards' else True)
  positive = masking.sample_to_token(positive, sample_ids, segment_ids)
  if of == 'advantages':
    positive = positive & (widen(advantages) > threshold)
  loss = jnp.where(positive, -widen(logprobs), 0)
  return loss, {'positive': positive.astype(loss.dtype)}
