"""The programs of a stage for devices that need not be there: lowered from shapes alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax

from rljax import binding, models, sharding
from rljax.assembly import World, assemble
from rljax.rollouts.programs import SamplerProgram
from rljax.stages import Stage, make_stage
from rljax.stages import outlines as stage_outlines
from rljax.structs import PyTree, TrainState

TOKENIZER = dict(name='tokenization.byte_level')
TASK = dict(name='tasks.countdown')  # has demonstrations too
MODELS = ('model', 'draft')  # nodes at the top of a config; those of a stage are found in it


@dataclasses.dataclass
class Abstract:
  """A stage whose arrays are shapes on the mesh of its devices.

  Attributes:
    world: with parameters that are shapes.
    stage: of the config.
    state, frozen, batch: what the update takes; requests: what the sampler takes, None where the
      stage does not sample, or in turns.
    notes: what stands in for files that are not needed.
  """

  world: World
  stage: Stage
  state: TrainState
  frozen: dict[str, PyTree]
  batch: PyTree
  requests: PyTree | None
  notes: list[str]

  @property
  def node(self) -> Any:
    return self.stage.node

  def lower_update(self) -> jax.stages.Lowered:
    """The update of the stage."""
    shardings = jax.tree.map(lambda x: x.sharding, self.state)
    program = self.stage.program(shardings)
    return program.lower(self.state, self.frozen, self.batch, self.stage.hyper(0))

  def lower_sampler(self) -> jax.stages.Lowered:
    """The sampler of the stage's rollouts, whole."""
    generate = self.stage.generate
    program: SamplerProgram = generate.program
    given = program.outline(self.state.params['policy'])
    return program.whole.lower(given, self.requests, np.uint32(0), generate.settings)


def abstract(config: Any, stage: str, devices: Sequence[Any]) -> Abstract:
  """A stage of a resolved config on devices, with nothing allocated on them.

  Args:
    config: resolved.
    stage: one of `config.stages`.
    devices: of the mesh: those of a topology, or local ones.

  Raises:
    ValueError: what a run would refuse too; a model whose shape is in files that are not there.
  """
  config, notes = _without_files(config, devices[0].platform)
  world = assemble(config, devices=devices, make=outlines)
  try:
    made = make_stage(stage, world)
    state = _state(made)
    requests, rollout = stage_outlines.rollout(made, state.params.get('policy'))
    if requests is not None and world.environment is not None:
      requests = None
      notes.append('the turns of an environment are several programs: the rollout is not planned')
    if requests is not None:
      mesh = made.generate.program.mesh
      requests = _outlines(requests, sharding.request_shardings(requests, mesh))
      if samples_apart(made):
        count = f'{mesh.size} sample: their memory is the line rollout; {world.mesh.size} train'
        notes.append(f'of the chips {count}')
    batch = stage_outlines.batch(made, rollout)
    batch = _outlines(batch, sharding.batch_shardings(batch, world.mesh))
    frozen = stage_outlines.frozen(made)
    return Abstract(world, made, state, frozen, batch, requests, notes)
  finally:
    world.close()


def outlines(function: Callable[..., PyTree], shardings: PyTree, *arguments: Any) -> PyTree:
  """What `layouts.computed` would make, as shapes."""
  return jax.tree.map(_outline, jax.eval_shape(function, *arguments), shardings)


def _outline(x: Any, where: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=where)


def _outlines(tree: PyTree, shardings: PyTree) -> PyTree:
  return jax.tree.map(lambda x, where: _outline(np.asarray(x), where), tree, shardings)


def _without_files(config: Any, platform: str) -> tuple[Any, list[str]]:
  """The config with stand-ins for files that hold no shapes, and what they are."""
  config, notes = config.copy_and_resolve_references(), []
  with config.unlocked():
    nodes = [config[name] for name in MODELS]
    nodes += [config[s][k] for s in config.stages for k in ('teacher', 'critic', 'reward_model')
              if config[s].get(k)]  # fmt: skip
    for node in nodes:
      _give_shape(node)
      if platform == 'tpu' and node['name'] == 'models.decoder':
        node['unroll_decode'] = False  # what it means on a TPU is decided where the run is
    for name, stand_in in (('tokenizer', TOKENIZER), ('task', TASK)):
      try:
        binding.bind(config[name])({})
      except (ValueError, OSError, TypeError):  # of a hyper-parameter that says where files are
        notes.append(
          f'{stand_in["name"]} stands in for {config[name]["name"]}, whose files are not here'
        )
        config[name] = stand_in
  return config, notes


def _give_shape(node: Any) -> None:
  """Puts the shape of a model from its files into its node, where the node does not say it."""
  path = node.get('path', '')
  node['path'] = ''
  if not path or 'd_model' in node:
    return
  if path.startswith('hf://'):
    raise ValueError(
      f'plan: {path} is not downloaded to see its shape; give a directory with its config.json, '
      f'or the fields of models.decoder, as configs/scale does'
    )
  found = {'name': node['name'], **dataclasses.asdict(models.read_config(path))}
  node.update({**found, **{k: x for k, x in node.items() if k != 'path'}})


def samples_apart(stage: Stage) -> bool:
  """Whether a stage samples on other devices than those that train."""
  move = stage.generate.program.move
  return move is not None and move.elsewhere


# -- what the programs take


def _state(stage: Stage) -> TrainState:
  """The train state with which the stage begins, as shapes."""
  mesh, params = stage.world.mesh, stage.start_params(stage.world.params)
  state = stage_outlines.state(stage, params)
  whole = sharding.replicated(mesh)
  moments = {
    role: optax.tree.map_params(
      stage.optimizers[role]({}),
      lambda x, param: _outline(x, param.sharding),
      state.opt_state[role],
      params[role],
      transform_non_params=lambda x: _outline(x, whole),
    )
    for role in params
  }
  rest = state.replace(params={}, opt_state={})
  rest = jax.tree.map(lambda x: _outline(x, whole), rest)
  return rest.replace(params=params, opt_state=moments)
