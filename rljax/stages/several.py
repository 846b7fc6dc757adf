"""What a stage can do where several hosts share its samples."""

from __future__ import annotations

import numpy as np

from rljax import hosts
from rljax.data import bins
from rljax.data.packing import Layout
from rljax.rollouts import crowd, dynamic_sampling, greedy_baseline, single_turn
from rljax.rollouts.level import level, move
from rljax.sharding import sample_shards
from rljax.stages.stage import Stage
from rljax.structs import Rollout

# Strategies that decide by rewards and lengths, which every host knows, and never by tokens; kinds
# of stages likewise.
STRATEGIES = (single_turn, dynamic_sampling, greedy_baseline, crowd)
KINDS = ('rl', 'distill', 'interleaved', 'masked_rl')


def check_hosts(stage: Stage) -> None:
  """Refuses a stage that needs the tokens of all samples on one host, where there are several.

  Raises:
    ValueError: says what is for one process, or which numbers do not fit.
  """
  if hosts.count() == 1:
    return
  node, world, name = stage.node, stage.world, stage.name
  reasons = {
    f'kind={node.kind!r}': (node.kind not in KINDS, f'one of the kinds {", ".join(KINDS)}'),
    f'rollout={stage.strategy.name!r}': (
      stage.strategy.function not in STRATEGIES,
      ', '.join(f'rollouts.{function.__name__}' for function in STRATEGIES),
    ),
  }
  for what, (is_so, instead) in reasons.items():
    if is_so:
      raise ValueError(
        f'{name}: {what} is for one process, and there are {hosts.count()}; run it on the devices '
        f'of one host, or take {instead}'
      )
  shares, shards = len(world.shares), sample_shards(world.mesh)
  if node.prompts % shares or node.prompts * node.samples % shards:
    raise ValueError(
      f'{name}: prompts={node.prompts} must be a multiple of the {shares} hosts, and '
      f'prompts × samples = {node.prompts * node.samples} of data × fsdp = {shards}'
    )


def dealt(
  rollout: Rollout, extras: dict[str, np.ndarray], layout: Layout
) -> tuple[Rollout, dict[str, np.ndarray], np.ndarray | None]:
  """(the rollout, its extras, the share that holds each sample): a strategy may have left one too
  many groups.

  Without shares of several hosts as they are, and None.
  """
  if hosts.count() == 1:
    return rollout, extras, None
  drawn = layout.shares.of_draws(rollout.draw_ids)
  minibatch = bins.minibatch_of_group(rollout.group_ids, layout.minibatches)
  owners = level(drawn, rollout.group_ids, minibatch, len(layout.shares))
  return *move((rollout, extras), drawn, owners, layout.shares), owners
