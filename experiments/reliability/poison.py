"""Losses that are not finite at some steps, and batches: what `nonfinite.py` injects."""

import jax
import jax.numpy as jnp
import numpy as np

from rljax import losses
from rljax.stages.reinforcement import Reinforcement


def loss(
  logprobs, old_logprobs, advantages, step, *, at: float, until: float, scale: float = 0.0
):
  """`losses.clipped_surrogate`; scale·∞ from the step `at` to `until`. 0·∞ is NaN."""
  values, seen = losses.clipped_surrogate(logprobs, old_logprobs, advantages)
  return jnp.where((step >= at) & (step <= until), scale * jnp.inf, values), seen


def gradient(
  logprobs, old_logprobs, advantages, step, *, at: float, until: float, scale: float = 0.0
):
  """`losses.clipped_surrogate` and its value, with a gradient of scale·∞ from `at` to `until`."""
  values, seen = losses.clipped_surrogate(logprobs, old_logprobs, advantages)
  nothing = scale * (logprobs - jax.lax.stop_gradient(logprobs))
  root = jnp.sqrt(jnp.where((step >= at) & (step <= until), nothing, 1))
  return values + root - jax.lax.stop_gradient(root), seen


def batches(at):
  """For `trial.begin`: one log-prob of the draw in the batch of iteration `at` (from 0) is NaN.

  An infinite one has a bound, and a reward that is not finite is one that nobody could give.
  """

  def prepare():
    collect = Reinforcement.collect

    def infected(self, state, iteration):
      found = collect(self, state, iteration)
      if iteration != at:
        return found
      batch = found.batch
      place = tuple(np.argwhere(np.asarray(batch.action_mask))[0])
      changed = batch.policy_logprobs.at[place].set(np.nan)
      return found._replace(batch=batch.replace(policy_logprobs=changed))

    Reinforcement.collect = infected

  return prepare
