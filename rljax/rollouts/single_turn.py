"""The default strategy: every prompt is sampled once for each member of its group, then scored.

With an environment a sample is an episode of several turns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rljax import hosts
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.structs import PyTree, Rollout


@dataclasses.dataclass(frozen=True)
class Experience:
  """What a strategy hands to the update.

  Attributes:
    rollout: numpy arrays; rows with group −1 are unused.
    completions: of the used rows, in their order.
    scores: of the used rows, in their order.
    extras: arrays of a method's own by name, [N] or [N, T] as the rollout's.
    metrics: what the strategy counted, by metric name; they replace those of the used rows.
    further_means: (prompt_id, mean reward) of groups that were sampled and are not handed on, for
      the curriculum; NaN where nothing was scored.
    means: the same of what is handed on, where it is not the mean of the rows; None: it is.
  """

  rollout: Rollout
  completions: list[Completion]
  scores: Scores
  extras: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
  further_means: list[tuple[int, float]] = dataclasses.field(default_factory=list)
  means: list[tuple[int, float]] | None = None

  @property
  def is_own(self) -> np.ndarray:
    """bool, of the used rows: those that the policy drew."""
    used = self.rollout.group_ids >= 0
    return ~self.extras.get('is_external', np.zeros(len(used), bool))[used]

  @property
  def is_here(self) -> np.ndarray:
    """bool, of the used rows: those of which this process knows the tokens and answers for."""
    if hosts.count() == 1:
      return np.ones(int(np.sum(self.rollout.group_ids >= 0)), bool)
    return np.array([completion.is_here for completion in self.completions], bool)

  def to_rows(self, values: np.ndarray) -> np.ndarray:
    """Values of the used rows → float32 [N]; unused rows get 0."""
    out = np.zeros(len(self.rollout.group_ids), np.float32)
    out[self.rollout.group_ids >= 0] = values
    return out


def single_turn(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
) -> Experience:
  """Samples `generate.samples` completions of each prompt and scores them.

  Args:
    params: of the policy, on the device; may be futures of an update in flight.
    prompts: at most `generate.prompts`, tokenized.
    draw_ids: run-wide number of the draw of each prompt.
    generate: the sampler.
    score: completions → scores.
    policy_step: optimizer step of `params`.

  Returns:
    The samples with their scores; one group a prompt.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.single_turn')
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    name = 'rollouts.single_turn'
  """
  requests = generate.requests(prompts, draw_ids, policy_step=policy_step)
  rollout, completions, extras, metrics = generate.sample(params, requests, prompts)
  return Experience(rollout, completions, score(completions), extras, metrics)
