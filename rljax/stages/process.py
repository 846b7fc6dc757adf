"""Kind 'process_reward_model': every step of a completion is right or wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from rljax.assembly import World
from rljax.data.demonstrations import as_rollout
from rljax.data.packing import pack
from rljax.prompts import Prompt
from rljax.stages.ranked import Given
from rljax.structs import Batch, PyTree

NO_LABEL = -1


class ProcessRewardModel(Given):
  """Trains the role 'reward' to say at the end of each step whether the step is right."""

  role = 'reward'
  makes = ('step_labels',)

  def __init__(self, name: str, world: World, draws: int = 0):
    if world.task.steps is None:
      raise ValueError(f'stage {name!r} needs labelled steps, and task {world.task.name} has none')
    super().__init__(name, world, draws, group_size=1)

  def start_params(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
    return {'reward': self.world.reward_start(params)}

  def batch_of(self, prompts: list[Prompt], draws: list[int]) -> tuple[Batch, dict[str, Any]]:
    completions, labels = [], []
    for prompt, draw in zip(prompts, draws):
      tokens, label = [], []
      for step, is_right in self.world.task.steps(prompt, draw):
        ids = self.world.tokenizer.encode(step)
        tokens += ids
        label += [NO_LABEL] * (len(ids) - 1) + [int(is_right)]
      completions.append([*tokens, self.world.tokenizer.eos_ids[0]])
      labels.append([*label, NO_LABEL])
    rollout = as_rollout(
      [p.tokens for p in prompts],
      completions,
      length=self.node.max_length,
      prompt_ids=[p.prompt_id for p in prompts],
    )
    step_labels = np.full(rollout.tokens.shape, NO_LABEL, np.int32)
    for row, label in enumerate(labels):
      start = rollout.prompt_length[row]
      step_labels[row, start : start + len(label)] = label
    batch, capacity = pack(
      rollout.replace(action_mask=step_labels >= 0),  # means are over steps
      np.zeros(len(prompts), np.float32),
      self.layout,
      extras={'step_labels': step_labels},
    )
    return batch, {'rollout/capacity': capacity, 'rollout/tokens': int(rollout.num_tokens.sum())}
