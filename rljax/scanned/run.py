"""What a run's program is given, from a stage of the loop; and programs that are compiled once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import binding, evaluation
from rljax.curriculum.uniform import Uniform
from rljax.data.packing import pack
from rljax.prompts import Prompt, TokenTwin
from rljax.rollouts import single_turn
from rljax.sampling import sample
from rljax.scanned.program import Inputs, Outputs, make_program
from rljax.stages import Reinforcement, Stage
from rljax.structs import Batch, PyTree, Requests, Rollout, TrainState

CHANGING = ('prompts', 'prompt_length', 'prompt_ids', 'draw_ids', 'temperature')


@dataclasses.dataclass(frozen=True)
class ScannedRun:
  """A run that waits to be executed.

  Attributes:
    program: `program(inputs) -> Outputs`, pure.
    inputs: of this run.
    held_out: draw_ids and sample_index of the held-out samples, [calls, rows]; −1 where unused.
    samples: drawn samples of each held-out prompt.
  """

  program: Callable[[Inputs], Outputs]
  inputs: Inputs
  held_out: tuple[np.ndarray, np.ndarray]
  samples: int

  def evaluations(self, seen: dict[str, Any], ks: Sequence[int]) -> list[dict[str, float]]:
    """The metrics of each evaluation, as `evaluation.evaluate` names them."""
    prompt, index = self.held_out
    used = prompt >= 0
    prompt, index = prompt[used], index[used]
    drawn = index > 0 if self.samples else index == 0
    found = []
    for rewards, length, truncated in zip(seen['rewards'], seen['length'], seen['truncated']):
      right = np.zeros((prompt.max() + 1, self.samples + 1), bool)
      right[prompt, index] = rewards[used] >= 1
      metrics = evaluation.accuracy(right, ks)
      metrics['length_mean'] = float(np.mean(length[used][drawn]))
      metrics['truncated'] = float(np.mean(truncated[used][drawn]))
      found.append(metrics)
    return found


def why_not(stage: Stage) -> str | None:
  """Why a stage cannot be one program, or None."""
  world, name = stage.world, stage.name
  if type(stage) is not Reinforcement:
    return f'stage {name!r} is of kind {stage.node.kind}'
  if world.task.twin is None:
    return f'the task {world.task.name} has no twin on token arrays'
  if stage.node.max_staleness:
    return 'its rollouts wait in a queue (max_staleness)'
  if stage.node.replay_routing:
    return 'the choice of experts is packed on the host (replay_routing)'
  if stage.node.temperature_controller:
    return 'its temperature follows what it has drawn (temperature_controller)'
  if stage.resets.on_host:
    return 'its reference is renewed on the host (reference_trigger, reference_resets_optimizer)'
  if stage.generate.environment is not None:
    return 'an environment answers on the host'
  if world.scorer is not world.judge:
    return 'the config has a reward of its own (rewards.reward), which runs on the host'
  if stage.strategy.function is not single_turn:
    return f'the rollout strategy {stage.strategy.name} runs on the host'
  if type(stage.curriculum) is not Uniform:
    return f'the curriculum {type(stage.curriculum).__name__} may depend on rewards'
  if stage.layout.samples_per_row != 1:
    return f'rows hold several samples, which the host packs; {name}.packed=False holds one'
  if world.lora is not None:
    return 'its policy has adapters (config.lora)'
  if world.mesh.size != 1:
    return f'the mesh has {world.mesh.size} devices'
  if any(world.config.offload.values()):
    return 'states are kept on the host (offload)'
  return _why_no_twin(stage)


def _why_no_twin(stage: Stage) -> str | None:
  """Whether the twin sees a right completion as one (its ids may not be the tokenizer's)."""
  task, tokenizer = stage.world.task, stage.world.tokenizer
  if task.demonstrate is None:
    return f'the task {task.name} demonstrates nothing with which its twin could be checked'
  prompt = task.train[0]
  right = np.array(tokenizer.encode(task.demonstrate(prompt)), np.int32)[None]
  answer = jax.tree.map(lambda x: np.asarray(x)[None], task.twin.answer(prompt))
  found = task.twin.reward(right, np.array([right.shape[1]]), answer)
  found = found if isinstance(found, Mapping) else {'reward': found}
  if float(found['reward'][0]) != 1:
    return f'the token ids of the twin of {task.name} are not those of the tokenizer'
  missing = [name for name in stage.node.reward_components if name not in found]
  return f'the twin of {task.name} has no component {missing[0]!r}' if missing else None


def scanned_run(
  stage: Reinforcement,
  state: TrainState,
  frozen: dict[str, PyTree],
  *,
  held_out: Sequence[Prompt],
  samples: int,
  every: int = 0,
) -> ScannedRun:
  """The run of a stage, all its iterations.

  It gives what the loop gives: the prompts are those of the stage's curriculum, which is used up.

  Args:
    stage: after `init`; its generator says seed, shapes and temperatures of the samples.
    state: what `init` gave.
    frozen: as for the stage's update.
    held_out: tokenized prompts of the evaluations.
    samples: drawn completions of each of them, besides the greedy one.
    every: iterations between evaluations; the first is at the start, the last at the end.

  Raises:
    ValueError: the stage cannot be one program; says why.
  """
  if why := why_not(stage):
    raise ValueError(f'{stage.name} cannot be one program: {why}')
  twin, settings = stage.world.task.twin, stage.generate.settings
  every_reference = stage.node.reference_every if stage.needs_reference else 0
  average = binding.bind(stage.node.reference_update)

  def hyper(i):
    moving = {'reference': average.hyper(i + 1)} if every_reference else {}
    return {**stage.hyper(i), **moving}

  first, changing = _iterations(stage, twin)
  evaluator = stage.world.evaluator()
  requests, answer = _stack(
    [
      (requests, _answers(twin, some, evaluator.prompts))
      for some, requests in evaluation.requests(held_out, evaluator, samples)
    ]
  )
  used = requests.group_ids >= 0
  inputs = Inputs(
    state=state,
    frozen=frozen,
    seed=np.uint32(stage.generate.seed),
    requests=first,
    changing=changing,
    hyper=_stack([hyper(i) for i in range(stage.iterations)]),
    evaluation={'seed': np.uint32(evaluator.seed), 'requests': requests, 'answer': answer},
    ends=evaluation_points(stage.iterations, every),
  )
  program = make_program(
    # The step before it was jitted: the state of a run is part of the loop.
    update_step=stage.update.__wrapped__,
    draw=lambda params, requests, seed, settings: sample(
      stage.world.policies['policy'], params, requests, seed=seed, settings=settings
    ),
    settings=(settings, evaluator.settings),
    max_new_tokens=(stage.generate.max_new_tokens, evaluator.max_new_tokens),
    reward=twin.reward,
    template=_template(first, settings.length, stage),
    average=lambda given, rates: average(given, rates),
    every=every_reference,
  )
  which = tuple(
    np.where(used, x, -1) for x in (requests.draw_ids.astype(np.int64), requests.sample_index)
  )
  return ScannedRun(program, inputs, which, samples)


def evaluation_points(iterations: int, every: int) -> np.ndarray:
  """int32: iterations done before each evaluation: at the start, every so often, at the end.

  Examples:
    >>> print(scanned.evaluation_points(10, 4))
    [ 0  4  8 10]
  """
  between = range(every, iterations, every) if every else ()
  return np.array([0, *between, iterations], np.int32)


class Programs:
  """Compiled programs, found again by what they compute.

  Attributes:
    compiled: fingerprint -> executable.
  """

  def __init__(self) -> None:
    self.compiled: dict[str, Any] = {}

  def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
    """The executable of `function` for arguments such as `args`."""
    lowered = jax.jit(function).lower(*args)
    fingerprint = _fingerprint(lowered)
    if fingerprint not in self.compiled:
      self.compiled[fingerprint] = lowered.compile()
    return self.compiled[fingerprint]

  def fingerprint(self, function: Callable[..., Any], *args: Any) -> str:
    """Equal for functions that compute the same of arguments such as `args`."""
    return _fingerprint(jax.jit(function).lower(*args))

  def execute(self, runs: Sequence[ScannedRun], *, together: bool | None = None) -> list[Outputs]:
    """The outputs of runs, in numpy but for the state.

    Args:
      runs: that differ in their inputs only, as those of a config with several seeds do.
      together: all in one program by `vmap`, or one after the other; None: together unless on a
        CPU, where `vmap` is slower.
    """
    if together is None:
      together = jax.default_backend() != 'cpu'
    if together and len(runs) > 1:
      given = jax.tree.map(lambda *x: jnp.stack(x), *[run.inputs for run in runs])
      given = given._replace(ends=runs[0].inputs.ends)  # when to evaluate is one for all
      axes = Inputs(*[None if name == 'ends' else 0 for name in Inputs._fields])
      program = jax.vmap(runs[0].program, in_axes=(axes,))
      all_of_them = self(program, given)(given)
      outputs = [jax.tree.map(lambda x, i=i: x[i], all_of_them) for i in range(len(runs))]
    else:
      outputs = [self(run.program, run.inputs)(run.inputs) for run in runs]
    return [Outputs(o.state, *jax.device_get((o.metrics, o.seen))) for o in outputs]


def _fingerprint(lowered: Any) -> str:
  return hashlib.sha256(lowered.as_text().encode()).hexdigest()


def _iterations(stage: Reinforcement, twin: TokenTwin) -> tuple[Requests, dict[str, PyTree]]:
  """(requests of the first iteration, what changes from one to the next, stacked)."""
  lines, first = [], None
  for i in range(stage.iterations):
    prompts = stage.next_prompts(stage.node.prompts)
    temperature = binding.value_at(stage.node.temperature, i)
    generate = dataclasses.replace(stage.generate, temperature=temperature)
    requests = generate.requests(prompts, stage.draws + np.arange(len(prompts)))
    stage.draws += len(prompts)
    first = requests if first is None else first
    changing = {name: getattr(requests, name) for name in CHANGING}
    lines.append({**changing, 'answer': _answers(twin, prompts, len(prompts))})
  return first, _stack(lines)


def _answers(twin: TokenTwin, prompts: Sequence[Prompt], rows: int) -> PyTree:
  """The answers of prompts, filled up to `rows`."""
  answers = [twin.answer(prompt) for prompt in prompts]
  return _stack(answers + answers[:1] * (rows - len(answers)))


def _stack(trees: Sequence[PyTree]) -> PyTree:
  return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _template(requests: Requests, length: int, stage: Stage) -> Batch:
  """A batch in the layout of the stage, of samples that fill their rows."""
  samples, nothing = requests.group_ids.shape[0], np.zeros
  shape = (samples, length)
  rollout = Rollout(
    tokens=nothing(shape, np.int32),
    mask=np.ones(shape, bool),
    action_mask=nothing(shape, bool),
    behavior_logprobs=nothing(shape, np.float32),
    policy_logprobs=nothing(shape, np.float32),
    policy_step=nothing(shape, np.int32),
    group_ids=requests.group_ids,
    draw_ids=requests.draw_ids,
    prompt_ids=requests.prompt_ids,
    sample_index=requests.sample_index,
    prompt_length=nothing(samples, np.int32),
    num_tokens=np.full(samples, length, np.int32),
    temperature=requests.temperature,
    truncated=nothing(samples, bool),
    entropy=nothing(shape, np.float32) if stage.generate.capture else None,
  )
  rewards = nothing(samples, np.float32)
  components = dict.fromkeys(stage.node.reward_components, rewards)
  return pack(rollout, rewards, stage.layout, components=components)[0]
