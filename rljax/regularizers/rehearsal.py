"""DPH-RL: divergences that cover the start, from completions that the start had drawn."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamp
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array

KINDS = ('forward_kl', 'jensen_shannon', 'alpha')


@declare()
def rehearsal(
  logprobs: Array,
  policy_logprobs: Array,
  is_external: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  kind: str = 'forward_kl',
  alpha: float = 0.5,
) -> tuple[Array, dict[str, Array]]:
  """f(u) on tokens of external samples, else 0; u = π/π_0, π_0 the policy that drew them.

  Its mean over samples of π_0 is the divergence D_f(π ‖ π_0), with the gradient E[u·f'(u)·∇ℓ]: what
  π_0 could do is to stay likely, and no model besides the policy is needed, since the log-probs
  were stored. A stage averages it over all tokens: the coefficient is times their external share.

  kind, f and u·f':
  - 'forward_kl' KL(π_0 ‖ π): −log u, −1: the likelihood of what the start said.
  - 'jensen_shannon' ½KL(π ‖ m) + ½KL(π_0 ‖ m), m = (π + π_0)/2: ½(u·log(2u/(1 + u)) +
    log(2/(1 + u))), ½u·log(2u/(1 + u)): nothing where the policies agree.
  - 'alpha': (u^α − αu − 1 + α)/(α(α − 1)), (u^α − u)/(α − 1); 0 < α < 1.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    policy_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.
    is_external: bool [N].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    kind: the divergence.
    alpha: of kind 'alpha'.

  Returns:
    (loss [..., T], diagnostics: `external` 1 on the tokens that count).

  Raises:
    ValueError: an unknown kind.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(regularizers.rehearsal(new, old, jnp.array([True]), *row[1:])[0])  # −log u
    [[-0.5878 -0.      1.6094]]
    >>> print(regularizers.rehearsal(new, old, jnp.array([False]), *row[1:])[0])
    [[0. 0. 0.]]

  Source: DPH-RL, The Choice of Divergence (2025).
  Differs from the source: formula not confirmed against the paper; per token; the log-ratio is
    clamped to ±20, but not that of the likelihood; Jensen-Shannon with the factor ½.
  Fidelity: recalled
  """
  if kind not in KINDS:
    raise ValueError(f'rehearsal: kind {kind!r} is not one of {", ".join(KINDS)}')
  d = widen(logprobs) - jax.lax.stop_gradient(widen(policy_logprobs))
  if kind == 'forward_kl':
    value = -d
  else:
    d = clamp(d)
    ratio = jnp.exp(d)
    if kind == 'jensen_shannon':
      above, below = (math.log(2) - jax.nn.softplus(x) for x in (-d, d))
      value = 0.5 * (ratio * above + below)
    else:
      value = (jnp.exp(alpha * d) - alpha * ratio - 1 + alpha) / (alpha * (alpha - 1))
  external = masking.sample_to_token(is_external, sample_ids, segment_ids)
  return jnp.where(external, value, 0), {'external': external.astype(value.dtype)}
