"""SPO, single-stream: a running success rate for each prompt, no groups."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array

PRIOR_COUNT = 8.0  # 1 / (1 − 0.875): what the tracker remembers where it forgets fastest


def single_stream_init(*, num_prompts: int) -> dict[str, Array]:
  """The counts of right and wrong answers of each prompt, float32 [num_prompts]: ½ of 8 each.

  Examples:
    >>> print(advantages.single_stream_init(num_prompts=2))
    {'right': Array([4., 4.], dtype=float32), 'wrong': Array([4., 4.], dtype=float32)}
  """
  half = jnp.full(num_prompts, PRIOR_COUNT / 2, jnp.float32)
  return {'right': half, 'wrong': half}


@declare(denominator='samples', couples='batch')
def single_stream(
  rewards: Array,
  group_ids: Array,
  prompt_ids: Array,
  *,
  state: dict[str, Array],
  num_prompts: int,
  rho: float = 0.9,
  normalize: bool = True,
  epsilon: float = 1e-6,
) -> tuple[Array, dict[str, Array]]:
  """A = whiten(R − v̂), v̂ = α/(α + β);  then α ← ρ·α + R, β ← ρ·β + 1 − R of the prompt.

  A Beta tracker for each prompt that forgets: v̂ is the success rate before this iteration, so it
  does not depend on the sample. Takes groups of one; several samples of a prompt forget once and
  are all counted.

  Args:
    rewards: float [N] in [0, 1]; not finite = unscorable, gets 0 and is not counted. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    prompt_ids: int32 [N], 0 … num_prompts − 1, the same for a prompt whenever it is drawn; others
      get 0.
    state: α as 'right' and β as 'wrong', float32 [num_prompts]; `single_stream_init`.
    num_prompts: of the data set.
    rho: what is kept of the counts when a prompt comes back, fraction.
    normalize: to mean 0 and unbiased variance 1 over the iteration.
    epsilon: added to σ, in units of the reward.

  Returns:
    (at least float32 [N], the next counts).

  Examples:
    >>> state, prompts = advantages.single_stream_init(num_prompts=2), jnp.array([0, 1])
    >>> call = lambda state: advantages.single_stream(
    ...   jnp.array([1.0, 0.0]), prompts, prompts, state=state, num_prompts=2, normalize=False
    ... )
    >>> found, state = call(state)
    >>> print(found, call(state)[0])  # what was expected is worth less
    [ 0.5 -0.5] [ 0.439 -0.439]

  Source: Xu and Ding 2025, arXiv 2509.13232.
  Differs from the source: ρ is given and not 2^(−D / D_half), clipped to [0.875, 0.96], of the
    divergence D since the prompt was last drawn; the first counts are ½ of 8 each and not from
    completions drawn before the training; rewards outside [0, 1] are counted as the nearer end.
  Fidelity: adapted
  """
  rewards, counted = scored(rewards, group_ids)
  counted = counted & (prompt_ids >= 0) & (prompt_ids < num_prompts)
  prompts = jnp.where(counted, prompt_ids, -1)
  place = jnp.maximum(prompts, 0)
  right, wrong = state['right'][place], state['wrong'][place]
  result = masking.zero_where_not(rewards - right / (right + wrong), counted)
  if normalize:
    keep = counted & ~masking.is_constant(result, counted)
    deviation = jnp.sqrt(masking.masked_var(result, counted, ddof=1))
    result = (result - masking.masked_mean(result, counted)) / (deviation + epsilon)
    result = jnp.where(keep, result, 0)
  # The last sample of each prompt holds the prompt's sum: gathered, as floats are never scattered.
  share = jnp.clip(rewards, 0, 1)
  gained = masking.group_sum(share, prompts, counted)
  lost = masking.group_sum(1 - share, prompts, counted)
  index = jnp.arange(prompts.shape[0], dtype=jnp.int32)
  sample = jnp.full(num_prompts, -1, jnp.int32)
  sample = sample.at[jnp.where(counted, prompts, num_prompts)].max(index, mode='drop')
  seen, sample = sample >= 0, jnp.maximum(sample, 0)

  def moved(count, more):
    return jnp.where(seen, rho * count + more[sample], count)

  return result, {'right': moved(state['right'], gained), 'wrong': moved(state['wrong'], lost)}
