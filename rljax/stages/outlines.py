"""What the update of a stage is given, by shape alone: nothing is drawn, and no data is read."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from rljax import update
from rljax.data.packing import pack
from rljax.stages.stage import Stage
from rljax.structs import Batch, PyTree, Rollout, TrainState

_OF_SAMPLES = (
  'group_ids', 'draw_ids', 'prompt_ids', 'sample_index', 'prompt_length', 'num_tokens',
  'temperature', 'truncated',
)  # fmt: skip


def state(stage: Stage, params: dict[str, PyTree]) -> TrainState:
  """The train state with which a stage begins at these parameters."""
  first = stage.objective.first_state()
  return jax.eval_shape(
    lambda p: update.init_train_state(p, stage.optimizers, jax.random.key(0), first), params
  )


def frozen(stage: Stage) -> dict[str, PyTree]:
  """The roles that a stage looks at and does not train, as the run begins with them."""
  world = stage.world
  kept = {'reference': world.params['policy']} if stage.needs_reference else {}
  if 'reward' in stage.objective.frozen_roles:
    kept['reward'] = world.params['reward']
  return {**world.frozen, **world.base, **kept}


def rollout(stage: Stage, params: PyTree) -> tuple[Any, Rollout]:
  """(requests of the stage's sampler, None where it has none; an empty rollout of its shapes)."""
  if not stage.samples:
    tokens = jax.ShapeDtypeStruct((stage.layout.samples, stage.layout.row_length), np.int32)
    wanted = [f.name for f in dataclasses.fields(Rollout) if f.default is dataclasses.MISSING]
    row = jax.ShapeDtypeStruct((stage.layout.samples,), np.int32)
    return None, _empty(Rollout(**{n: row if n in _OF_SAMPLES else tokens for n in wanted}))
  generate = stage.generate
  placeholder = dataclasses.replace(next(iter(stage.world.task.train)), tokens=(0,))
  requests = generate.requests([placeholder], [0])
  shapes = jax.eval_shape(
    generate.program.whole, generate.program.outline(params), requests, np.uint32(0),
    generate.settings.replace(turns=False),
  )  # fmt: skip
  return requests, _empty(shapes)


def _empty(shapes: Rollout) -> Rollout:
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return zeros.replace(group_ids=np.full(shapes.group_ids.shape, -1, np.int32))


def batch(stage: Stage, rollout: Rollout) -> Batch:
  """The batch that a stage makes of an empty rollout.

  Raises:
    ValueError: the stage asks for arrays that only its rollout strategy knows.
  """
  if lacking := sorted(stage.node.get('extras', ())):
    raise ValueError(
      f'{stage.name}: the shapes of {", ".join(lacking)} are known only in a run: '
      f'{stage.node.rollout["name"]} makes them'
    )
  count = len(rollout.group_ids)
  components = {name: np.zeros(count) for name in stage.node.get('reward_components', ())}
  return pack(rollout, np.zeros(count), stage.layout, components=components)[0]
