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

# Strategies that decide by rewards and lengths, which every host knows, and never by tokens.
STRATEGIES = (single_turn, dynamic_sampling, greedy_baseline, crowd)
KINDS = ('rl', 'distill')


def check_hosts(stage: Stage) -> None:
  """Refuses a stage that needs the tokens of all samples on one host, where there are several.

  Raises:
    ValueError: says what is for one process, or which numbers do not fit.
  """
  if hosts.count() == 1:
    return
  node, world, name = stage.node, stage.world, stage.name
  reasons = {
    f'kind={node.kind!r}': node.kind not in KINDS,
    f'rollout={stage.strategy.name!r}': stage.strategy.function not in STRATEGIES,
    'environment': world.environment is not None,
    f'max_staleness={node.max_staleness}': node.max_staleness > 0,
  }
  for what, is_so in reasons.items():
    if is_so:
      raise ValueError(f'{name}: {what} is for one process, and there are {hosts.count()}')
  shares, shards = len(world.shares), sample_shards(world.mesh)
  if node.prompts % shares or node.prompts * node.samples % shards:
    raise ValueError(
      f'{name}: prompts={node.prompts} must be a multiple of the {shares} hosts, and '
      f'prompts × samples = {node.prompts * node.samples} of data × fsdp = {shards}'
    )


def dealt(rollout: Rollout, layout: Layout) -> tuple[Rollout, np.ndarray | None]:
  """(the rollout, the share that holds each sample): a strategy may have left one too many groups.

  Without shares of several hosts as it is, and None.
  """
  if hosts.count() == 1:
    return rollout, None
  drawn = layout.shares.of_draws(rollout.draw_ids)
  minibatch = bins.minibatch_of_group(rollout.group_ids, layout.minibatches)
  owners = level(drawn, rollout.group_ids, minibatch, len(layout.shares))
  return move(rollout, drawn, owners, layout.shares), owners
