"""SPAE: a step is worth what it adds to the chance of a right answer."""

from __future__ import annotations

import jax

from rljax import masking
from rljax.traits import declare

Array = jax.Array


@declare()
def step_potential(
  advantages: Array,
  action_mask: Array,
  potential_gains: Array,
  idle_steps: Array,
  *,
  alpha: float = 1.0,
  beta: float = 0.1,
) -> Array:
  """A + α·(Φ_k − Φ_{k−1}) − β·1[step k is idle], for the tokens of step k.

  Steps that bring the answer nearer gain, those that lose it pay, and so do those that go on once
  it is sure. The gains of a completion add up to its reward less the potential of its prompt.

  Args:
    advantages: float [..., T].
    action_mask: bool [..., T]; the other tokens get 0.
    potential_gains: float [..., T], of the step of the token, as `rollouts.probed` makes them.
    idle_steps: float [..., T], 1 in steps after the answer was sure, else 0.
    alpha: advantage per unit of potential.
    beta: advantage that an idle step costs.

  Returns:
    at least float32 [..., T]. Constant.

  Examples:
    >>> found, mask = jnp.ones((1, 3)), jnp.ones((1, 3), bool)
    >>> gains, idle = jnp.array([[0.4, -0.2, 0.0]]), jnp.array([[0.0, 0.0, 1.0]])
    >>> print(advantages.step_potential(found, mask, gains, idle))
    [[1.4 0.8 0.9]]

  Source: SPAE, Step Potential Advantage Estimation (2026).
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  advantages, gains, idle = (
    masking.zero_where_not(jax.lax.stop_gradient(x), action_mask)
    for x in (advantages, potential_gains, idle_steps)
  )
  return advantages + alpha * gains - beta * idle
