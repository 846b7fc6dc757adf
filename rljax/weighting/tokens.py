"""Every token counts the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def token_mean(action_mask: Array) -> Array:
  """1/N on each of the N loss tokens of the minibatch.

  Long completions weigh more than short ones. Sums to 1, or to 0 without loss tokens.

  Args:
    action_mask: bool [..., T].

  Returns:
    float32 [..., T].

  Examples:
    >>> print(weighting.token_mean(jnp.array([[True, True, True], [True, False, False]])))
    [[0.25 0.25 0.25]
     [0.25 0.   0.  ]]

  Source: Yu et al. 2025, arXiv 2503.14476 (DAPO), as public implementations read it.
  Differs from the source: the paper's formula divides inside each group (`prompt_mean`).
  Fidelity: adapted
  """
  mask = action_mask.astype(jnp.float32)
  # Counted in integers: a float32 sum of ones is exact only up to 2^24.
  return mask / jnp.maximum(jnp.sum(action_mask.astype(jnp.int32)), 1)


def token_sum(action_mask: Array) -> Array:
  """1 on each loss token: a plain sum, so the step grows with the batch.

  Args:
    action_mask: bool [..., T].

  Returns:
    float32 [..., T].

  Examples:
    >>> print(weighting.token_sum(jnp.array([[True, True, True], [True, False, False]])))
    [[1. 1. 1.]
     [1. 0. 0.]]

  Source: the sum reduction of Tinker's losses.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return action_mask.astype(jnp.float32)
