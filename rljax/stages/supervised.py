"""Kind 'sft': demonstrations of the task in place of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rljax.assembly import World
from rljax.data.demonstrations import as_rollout
from rljax.data.packing import pack
from rljax.stages.stage import Collected, Stage, make_stage_layout
from rljax.structs import TrainState

DEV_PROMPTS = 256  # held-out prompts behind those of the evaluation, for an early stop of SFT
DEV_SAMPLES = 3


class Supervised(Stage):
  """Kind 'sft': demonstrations of the task in place of samples.

  Where it is known what log-probs whoever wrote a demonstration gave its tokens, they stand in the
  prompt's metadata as 'completion_logprobs'.
  """

  def __init__(self, name: str, world: World, draws: int = 0):
    node = world.config[name]
    if world.task.demonstrate is None:
      raise ValueError(f'stage {name!r} needs demonstrations, and task {world.task.name} has none')
    layout = make_stage_layout(
      node,
      samples=node.prompts,
      group_size=1,
      max_length=node.max_length,
      shares=world.shares,
    )
    super().__init__(name, world, layout=layout, draws=draws)
    if self.node.stop_accuracy:
      world.held_out(world.config.evaluation.num_prompts, 1)  # raises if there is none

  def is_good_enough(self, state: TrainState, done: int) -> bool:
    """True once `stop_accuracy` is reached: pass@1 (temperature 1) on held-out prompts."""
    if not self.node.stop_accuracy or done % self.node.stop_every:
      return False
    first = self.world.config.evaluation.num_prompts
    seen = self.world.evaluate(
      state.params['policy'], first, DEV_PROMPTS, samples=DEV_SAMPLES
    )
    accuracy, count = seen[f'avg@{DEV_SAMPLES}'], len(self.world.held_out(first, DEV_PROMPTS))
    if accuracy < self.node.stop_accuracy:
      return False
    print(
      f'{self.name} ends at {done}: pass@1 is {accuracy:.0%} on {count} held-out prompts behind '
      f'those of the evaluation, stop_accuracy is {self.node.stop_accuracy:.0%}',
      flush=True,
    )
    return True

  def collect(self, state: TrainState, iteration: int) -> Collected:
    prompts = self.next_prompts(self.node.prompts)
    shown = [self.demonstration(self.world.task.demonstrate(p)) for p in prompts]
    rollout = as_rollout(
      [p.tokens for p in prompts],
      [tokens for tokens, _ in shown],
      length=self.node.max_length,
      prompt_ids=[p.prompt_id for p in prompts],
      said=[said for _, said in shown],
      logprobs=[p.metadata.get('completion_logprobs') for p in prompts],
    )
    batch, capacity = pack(rollout, np.zeros(len(prompts), np.float32), self.layout)
    metrics = {'rollout/capacity': capacity, 'rollout/tokens': int(rollout.num_tokens.sum())}
    return Collected(self.place(batch), metrics, [])

  def demonstration(
    self, parts: str | Sequence[tuple[str | None, bool]]
  ) -> tuple[list[int], list[bool]]:
    """The ids of a demonstration with the stop token, and which of them the policy says.

    Its parts are tokenized one by one, as they are where an environment answers.
    """
    parts, tokenizer = [(parts, True)] if isinstance(parts, str) else parts, self.world.tokenizer
    stop = [tokenizer.eos_ids[0]]
    pieces = [(stop if text is None else tokenizer.encode(text), said) for text, said in parts]
    pieces.append((stop, True))
    return [t for ids, _ in pieces for t in ids], [said for ids, said in pieces for _ in ids]

  def rename(self, metrics: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in metrics.items() if not k.startswith(('policy/', 'rollout/mismatch'))}
    return {f'{self.name}/loss': metrics['policy/loss'], **kept}
