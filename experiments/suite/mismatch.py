"""A sampler that is not quite the policy: regime X."""

import dataclasses

import jax
import jax.numpy as jnp

from rljax.rollouts import single_turn
from rljax.rollouts.programs import SamplerProgram


def perturbed(params, prompts, draw_ids, generate, score, policy_step=0, *, sigma):
  """`rollouts.single_turn` with a sampler whose logits are off by N(0, σ²), each by its own draw.

  As kernels of another library or another precision would be, only stronger. The log-probs that
  the sampler reports are those of what it draws from.

  Args:
    params, prompts, draw_ids, generate, score, policy_step: as in `single_turn`.
    sigma: logits; 0 = none.
  """
  program = generate.program
  if sigma:
    program = _perturbed_program(program, float(sigma))
  generate = dataclasses.replace(generate, program=program)
  return single_turn(params, prompts, draw_ids, generate, score, policy_step)


_made = {}  # id of a program and σ -> (the program, which keeps its id, that with noisy logits)


def _perturbed_program(program, sigma):
  """The program of the same policy with noisy logits: one for all iterations, compiled once."""
  place = (id(program), sigma)
  if place not in _made:
    unembed = program.policy.unembed

    def noisy(head, hidden):
      logits = unembed(head, hidden)
      return logits + sigma * noise(hidden, logits.shape[-1])

    _made.clear()
    _made[place] = program, SamplerProgram(program.policy._replace(unembed=noisy), program.mesh)
  return _made[place][1]


def noise(hidden, size):
  """N(0, 1) [..., size] that depends on the bits of hidden [..., D] alone, as rounding does."""
  bits = jax.lax.bitcast_convert_type(hidden.astype(jnp.float32), jnp.uint32)
  odd = 2 * jnp.arange(1, hidden.shape[-1] + 1, dtype=jnp.uint32) + 1
  seeds = jnp.sum(bits * odd, axis=-1, dtype=jnp.uint32)
  keys = jax.vmap(jax.random.key)(seeds.ravel())
  draws = jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)
  return draws.reshape(*seeds.shape, size)
