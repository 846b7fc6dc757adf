"""One policy as several: the samples of a prompt are drawn in different ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.single_turn import Experience
from rljax.structs import PyTree


def crowd(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
  *,
  temperatures: tuple[float, ...] = (0.7, 1.0, 1.3),
) -> Experience:
  """`single_turn` by members with temperatures of their own, who take turns at a prompt's samples.

  Sample i of a prompt is of member i mod M. Log-probs of the update are taken at the temperature
  of each sample, so nothing is off-policy.

  Args:
    params, prompts, draw_ids, generate, score, policy_step: as in `single_turn`.
    temperatures: of the M members, as multiples of the stage's.

  Returns:
    The samples with their scores; extras: `member_ids` int32 [N], 0 … M − 1.

  Raises:
    ValueError: no temperatures, one that is not above 0, or fewer samples than members.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.crowd', temperatures=(0.8, 1.2))
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    name = 'rollouts.crowd'
    temperatures = (0.8, 1.2)

  Source: Wisdom of the Crowd: Reinforcement Learning from Coevolutionary Collective Feedback
    (2025).
  Differs from the source: its members are models that are trained together.
  Fidelity: adapted
  """
  if not temperatures or min(temperatures) <= 0 or len(temperatures) > generate.samples:
    raise ValueError(
      f'crowd: temperatures={temperatures} for {generate.samples} samples of a prompt; needs one '
      'at least, all above 0, and a sample for each'
    )
  members = np.arange(generate.samples) % len(temperatures)
  factors = np.tile(np.asarray(temperatures)[members], len(prompts))
  requests = generate.requests(
    prompts, draw_ids, policy_step=policy_step, temperature=generate.temperature * factors
  )
  rollout, completions, extras, metrics = generate.sample(params, requests, prompts)
  used = rollout.group_ids >= 0
  whose = np.where(used, rollout.sample_index % len(temperatures), 0).astype(np.int32)
  extras = {**extras, 'member_ids': whose}
  return Experience(rollout, completions, score(completions), extras, metrics)
