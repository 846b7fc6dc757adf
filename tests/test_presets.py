"""Every config: each of its stages is built and its update traced, nothing is compiled."""

import functools

import jax
import numpy as np
import pytest

from rljax import assembly, binding, build_model, config, sharding, update
from rljax.data.packing import pack
from rljax.stages import KINDS, make_stage
from rljax.structs import Rollout

# What of a stage no compiled update knows: two stages that differ in nothing else are one program.
OF_THE_HOST = (
  'iterations', 'rollout', 'prompts', 'samples', 'temperature', 'max_prompt', 'max_new_tokens',
  'curriculum', 'top_k', 'top_p', 'min_p', 'max_staleness', 'rows', 'row_length',
)  # fmt: skip
TRACED = set()
TINY = dict(num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32)


def outline(node, tokenizer, mesh, key, *, value_head, rules, make=None):
  """A model in which no parameter exists: their shapes alone."""
  node = {**{k: v for k, v in node.items() if k != 'path'}, **TINY, 'value_head': value_head}
  node.setdefault('vocab_size', tokenizer.vocab_size)
  policy = sharding.on_mesh(binding.bind(node)({}), mesh)
  return build_model.Model(policy, jax.eval_shape(policy.init, key), node)


def rollout_of(stage):
  """Random samples in the shapes of a stage."""
  rng, generate = np.random.default_rng(0), stage.generate
  n, length = stage.node.prompts * stage.node.samples, generate.max_length
  shape = (n, length)
  prompt_length = rng.integers(1, generate.max_prompt + 1, n).astype(np.int32)
  num_tokens = prompt_length + rng.integers(1, generate.max_new_tokens + 1, n).astype(np.int32)
  slots = np.arange(length)[None, :]
  mask = slots < num_tokens[:, None]
  zero = np.zeros(shape, np.float32)
  group_ids = np.repeat(np.arange(stage.node.prompts, dtype=np.int32), stage.node.samples)
  return Rollout(
    tokens=np.ones(shape, np.int32),
    mask=mask,
    action_mask=mask & (slots >= prompt_length[:, None]),
    behavior_logprobs=zero,
    policy_logprobs=zero,
    policy_step=np.zeros(shape, np.int32),
    group_ids=group_ids,
    draw_ids=group_ids.astype(np.uint32),
    prompt_ids=group_ids,
    sample_index=np.zeros(n, np.int32),
    prompt_length=prompt_length,
    num_tokens=num_tokens,
    temperature=np.ones(n, np.float32),
    truncated=np.zeros(n, bool),
    entropy=zero if 'entropy' in generate.capture else None,
  )


def batch_of(stage):
  if stage.samples:
    rollout = rollout_of(stage)
    nothing = np.zeros(len(rollout.group_ids), np.float32)
    numbers, amounts = np.zeros_like(rollout.tokens), np.zeros_like(rollout.policy_logprobs)
    of_tokens = {'turn_ids': numbers, 'step_ids': numbers, 'reference_mask': rollout.mask}
    of_tokens |= {'potential_gains': amounts, 'idle_steps': amounts}
    of_tokens['feedback_mask'] = rollout.mask
    of_tokens |= {'stored_ids': numbers[..., None], 'stored_logprobs': amounts[..., None]}
    extras = {name: of_tokens.get(name, nothing) for name in stage.node.extras}
    components = {name: nothing for name in stage.node.reward_components}
    return pack(rollout, nothing, stage.layout, components=components, extras=extras)[0]
  if hasattr(stage, 'batch_of'):
    prompts = stage.next_prompts(stage.node.prompts)
    return stage.batch_of(prompts, list(range(len(prompts))))[0]
  return stage.collect(None, 0).batch


@pytest.mark.parametrize('name', sorted(config.listing()))
def test_every_stage_of_every_config_is_traced(name, monkeypatch):
  settings = config.load(str(config.find(name)))
  if name == 'gsm8k' or name.startswith('scale/'):
    pytest.skip('needs GSM8K; its pipeline is tested in test_end_to_end.py')
  settings.rewards.workers = 0
  monkeypatch.setattr(assembly, 'build_model', outline)
  monkeypatch.setattr(sharding, 'shard_batch', lambda batch, mesh: batch)
  for stage in settings.stages:
    if settings[stage].kind == 'distill':
      settings[stage].teacher.path = 'some/run'
  world = assembly.assemble(config.resolve(settings))
  key = jax.random.key(0)
  for index, stage_name in enumerate(settings.stages):
    stage = make_stage(stage_name, world)
    if KINDS[stage.node.kind].role == 'policy' and index < len(settings.stages) - 1:
      continue  # SFT is the same in all of them; it is the last stage of its own presets
    program = {k: v for k, v in stage.node.items() if k not in OF_THE_HOST}
    if (program := repr((sorted(program.items()), world.config.model))) in TRACED:
      continue
    TRACED.add(program)
    known = {'mask': world.params['policy'], **world.params}
    params = {role: known[role] for role in stage.optimizers}
    start = functools.partial(
      update.init_train_state,
      optimizers=stage.optimizers,
      method_state=stage.objective.first_state(),
    )
    state = jax.eval_shape(lambda params, start=start: start(params, key=key), params)
    frozen = {role: jax.eval_shape(world.policies[role].init, key)
              for role in stage.objective.frozen_roles}  # fmt: skip
    step = update.make_update_step(
      stage.objective, stage.world.policies, stage.optimizers, epochs=stage.node.get('epochs', 1)
    )
    after, metrics = jax.eval_shape(step, state, frozen, batch_of(stage), stage.hyper(0))
    # What comes out goes in again: shapes, dtypes and weak types, or the next update is recompiled.
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
      lambda x: (x.shape, x.dtype), state
    )
    assert 'update/grad_norm' in metrics and 'policy/loss' in metrics
