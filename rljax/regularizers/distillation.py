"""Distillation on sampled tokens, where the teacher's log-prob of the token is all there is."""

from __future__ import annotations

import jax

from rljax.regularizers.kl import reverse_kl
from rljax.traits import declare

Array = jax.Array


@declare()
def sampled_distillation(
  logprobs: Array,
  teacher_logprobs: Array,
  old_logprobs: Array,
  *,
  max_ratio: float = 10.0,
  max_value: float = 10.0,
) -> tuple[Array, dict[str, Array]]:
  """Token-local KL(π ‖ π^T): value sg(k3), gradient sg(min(ρ, max_ratio)·d)·∇ℓ, d = ℓ − ℓ^T.

  `reverse_kl` with the teacher for the reference, as the loss of a stage on the policy's samples.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    teacher_logprobs: float [..., T], nats. Constant.
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.
    max_ratio: bound of ρ in the gradient.
    max_value: bound of k3 in the value only, nats.

  Returns:
    (loss [..., T], diagnostics: `kl_teacher`, the value before the bound, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss = lambda logprobs: regularizers.sampled_distillation(logprobs, old, new)[0].sum()
    >>> print(jax.grad(loss)(new))  # d = ℓ − ℓ^T: down where the teacher finds it less likely
    [[ 0.5878  0.     -1.6094]]

  Source: on-policy distillation: Agarwal et al. 2023, arXiv 2306.13649, with the estimator of
    `reverse_kl`.
  Differs from the source: public implementations put k3 itself in the loss, whose gradient is that
    of the forward KL.
  Fidelity: adapted
  """
  loss, seen = reverse_kl(
    logprobs, teacher_logprobs, old_logprobs, max_ratio=max_ratio, max_value=max_value
  )
  return loss, {'kl_teacher': seen['kl_ref']}
