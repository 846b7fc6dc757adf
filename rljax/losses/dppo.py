"""Trust regions on probabilities instead of ratios: DPPO, and a public system's default."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array

TINY = 1e-8  # of the probability that another token is drawn
DROPS = ('outward', 'both')


def _surrogate(logprobs, policy_logprobs, advantages, dropped_low, dropped_high):
  """−A·ρ where nothing is dropped, else 0, with its diagnostics."""
  log_ratio = clamp(ratios.difference(logprobs, policy_logprobs))
  ratio = jnp.exp(log_ratio)
  loss = jnp.where(dropped_low | dropped_high, 0, -advantages * ratio)
  return loss, ratios.diagnostics(ratio, log_ratio, dropped_low, dropped_high)


@declare(traits=('on_policy_is_reinforce',))
def dppo_tv(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  drop: str = 'outward',
) -> tuple[Array, dict[str, Array]]:
  """−A·ρ, 0 where A > 0 and p − q > clip_high or A < 0 and q − p > clip_low; ρ = p/q.

  Of the choice between this token (p = exp(ℓ), q = exp(ℓ^μ)) and any other the total variation is
  |p − q|: rare tokens may move by large ratios, common ones may not. With drop = 'both' a token is
  dropped where p − q > clip_high or q − p > clip_low, whatever its advantage.

  Args:
    logprobs: float [..., T], nats, ℓ = log p; differentiated.
    policy_logprobs: float [..., T], nats, ℓ^μ = log q, of the sampler. Constant.
    advantages: float [..., T]. Constant.
    clip_low: how far the probability may fall.
    clip_high: how far the probability may rise.
    drop: 'outward' = only where the loss pushes further out; 'both' = wherever outside.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` ρ, `clip_low` and `clip_high` 1 where the
    token was dropped, `kl_old` the k3 estimate of KL(μ ‖ π), nats).

  Raises:
    ValueError: an unknown drop.

  Examples:
    >>> old = jnp.log(jnp.array([[0.5, 0.01, 0.5]]))
    >>> new = jnp.log(jnp.array([[0.9, 0.1, 0.1]]))
    >>> loss, seen = losses.dppo_tv(new, old, jnp.ones((1, 3)))
    >>> print(loss)  # 0.5 to 0.9 is too far, 0.01 to 0.1 is not, though its ratio is 10
    [[  0.  -10.   -0.2]]

  Source: Qi et al. 2026, arXiv 2602.04879 (binary total variation).
  Differs from the source: log-ratios are clamped to ±20; a probability exactly on a bound counts as
    inside. Public implementations also have −A·sg(min(ρ, 20))·ℓ, with the same gradient below 20.
  Fidelity: faithful
  """
  if drop not in DROPS:
    raise ValueError(f'dppo_tv: drop {drop!r} is not one of {", ".join(DROPS)}')
  advantages = ratios.constant(advantages)
  moved = jnp.exp(ratios.constant(logprobs)) - jnp.exp(ratios.constant(policy_logprobs))
  low, high = moved < -clip_low, moved > clip_high
  if drop == 'outward':
    low, high = low & (advantages < 0), high & (advantages > 0)
  return _surrogate(logprobs, policy_logprobs, advantages, low, high)


@declare(traits=('on_policy_is_reinforce',))
def dppo_kl(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.05,
  clip_high: float = 0.05,
) -> tuple[Array, dict[str, Array]]:
  """−A·ρ, 0 where KL_2(q ‖ p) > clip_high and A > 0, p > q, or > clip_low and A < 0, p < q.

  KL_2(q ‖ p) = q·log(q/p) + (1−q)·log((1−q)/(1−p)) is the divergence of the choice between this
  token (p = exp(ℓ), q = exp(ℓ^μ)) and any other; ρ = p/q.

  Args:
    logprobs: float [..., T], nats, ℓ = log p; differentiated.
    policy_logprobs: float [..., T], nats, ℓ^μ = log q, of the sampler. Constant.
    advantages: float [..., T]. Constant.
    clip_low: largest divergence of a probability that falls, nats.
    clip_high: largest divergence of a probability that rises, nats.

  Returns:
    (loss [..., T], diagnostics of [..., T] as those of `dppo_tv`).

  Examples:
    >>> old = jnp.log(jnp.array([[0.5, 0.01, 0.5]]))
    >>> new = jnp.log(jnp.array([[0.9, 0.02, 0.1]]))
    >>> loss, seen = losses.dppo_kl(new, old, jnp.ones((1, 3)))
    >>> print(loss)  # the first diverges by more than 0.05 nats upwards
    [[ 0.  -2.  -0.2]]

  Source: Qi et al. 2026, arXiv 2602.04879 (binary KL).
  Differs from the source: 1e-8 is added to both probabilities of another token, as in public
    implementations; log-ratios are clamped to ±20.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  new, old = ratios.constant(logprobs), ratios.constant(policy_logprobs)
  other_new, other_old = (jnp.maximum(-jnp.expm1(x), 0) for x in (new, old))
  divergence = jnp.exp(old) * (old - new)
  divergence += other_old * (jnp.log(other_old + TINY) - jnp.log(other_new + TINY))
  low = (divergence > clip_low) & (advantages < 0) & (new < old)
  high = (divergence > clip_high) & (advantages > 0) & (new > old)
  return _surrogate(logprobs, policy_logprobs, advantages, low, high)


@declare(traits=('on_policy_is_reinforce',))
def prime_rl(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  penalty: float = 1e-3,
  drop: str = 'outward',
) -> tuple[Array, dict[str, Array]]:
  """`dppo_tv` + penalty·(ℓ − ℓ^μ)²: dropped tokens are pulled back.

  Its variant "ipo" is clip_low = clip_high = .1 with drop = 'both'. The system's weights are those
  of a token mean.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    policy_logprobs: float [..., T], nats, ℓ^μ, of the sampler. Constant.
    advantages: float [..., T]. Constant.
    clip_low: how far the probability may fall.
    clip_high: how far the probability may rise.
    penalty: κ, of a squared nat; on all tokens, also on dropped ones.
    drop: 'outward' = only where the loss pushes further out; 'both' = wherever outside.

  Returns:
    (loss [..., T], diagnostics of [..., T] as those of `dppo_tv`).

  Raises:
    ValueError: an unknown drop.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss, seen = losses.prime_rl(new, old, jnp.ones((1, 3)), penalty=0.1)
    >>> print(loss)  # the first is dropped: what is left is 0.1·(log 1.8)²
    [[ 0.0345 -1.      0.059 ]]

  Source: public implementations: prime-rl.
  Differs from the source: log-ratios are clamped to ±20 in the ratio; its factor of the advantages
    (1 by default) is left to the advantages.
  Fidelity: faithful
  """
  loss, found = dppo_tv(
    logprobs, policy_logprobs, advantages, clip_low=clip_low, clip_high=clip_high, drop=drop
  )
  return loss + penalty * jnp.square(ratios.difference(logprobs, policy_logprobs)), found
