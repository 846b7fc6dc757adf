"""The collectives of the update, the sampler and the reshard between them, compiled for TPUs.

Run as a program, so that the compiler for TPUs, whose logs are long, has a process of its own:
`python tests/tpu_programs.py <out.json>`.
"""

import json
import os
import pathlib
import sys

LAYERS, VOCAB, WIDTH, MLP = 4, 8192, 512, 1536
ROWS, SLOTS, CHUNK, SAMPLES = 16, 256, 32, 64
VISITS = LAYERS * SAMPLES // ROWS  # of a layer's weights by an update
EXPERTS = dict(num_experts=8, experts_per_token=2, d_expert=384)
LAYOUTS = {
  'fsdp': dict(fsdp=16),
  'fsdp_tp': dict(fsdp=4, tensor=4),
  'ep': dict(fsdp=4, expert=4),  # of a model with experts
}


def main(out):
  import jax
  from jax.experimental import topologies

  from rljax import rules, sharding
  from rljax.plan.collectives import collectives
  from rljax.plan.hlo import Program

  devices = topologies.get_topology_desc('v5e:4x4', platform='tpu').devices
  found = {}
  for name, sizes in LAYOUTS.items():
    mesh = sharding.make_mesh(**sizes, devices=devices)
    makers = {'update': update_of, 'reshard': reshard_of, 'sampler': sampler_of}
    for kind, make in makers.items():
      if name == 'fsdp' and kind == 'sampler':
        continue  # without a tensor axis nothing travels in it
      compiled = make(mesh, getattr(rules, name)())
      program = Program(compiled.as_text())
      found[f'{kind} {name}'] = [c._asdict() for c in collectives(program, mesh.shape)]
      jax.clear_caches()
  pathlib.Path(out).write_text(json.dumps(found))


def policy_on(mesh, rules):
  """(policy, its parameters as shapes in their layout)."""
  import jax

  from rljax import models, sharding

  policy = models.decoder(
    vocab_size=VOCAB, num_layers=LAYERS, d_model=WIDTH, num_heads=8, num_kv_heads=4, head_dim=128,
    d_ff=MLP, compute_dtype='bfloat16', tie_embeddings=False, remat='full',
    **(EXPERTS if mesh.shape['expert'] > 1 else {}),
  )  # fmt: skip
  policy = sharding.on_mesh(policy, mesh)
  shapes = jax.eval_shape(policy.init, jax.random.key(0))
  return policy, placed(shapes, sharding.policy_shardings(policy, mesh, rules))


def placed(tree, shardings):
  import jax
  import numpy as np

  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=s), tree, shardings
  )


def update_of(mesh, rules):
  import jax
  from rollouts import random_rollout
  from tiny_updates import GRPO

  from rljax import binding, layouts, objective, sharding, update
  from rljax.data.packing import make_layout, pack

  policy, params = policy_on(mesh, rules)
  stage = {**GRPO, 'kl': dict(name='regularizers.reverse_kl'), 'kl_coef': 0.1}
  terms = objective.build(stage)
  optimizers = {'policy': binding.bind(dict(name='optimizers.adamw'))}
  rollout, rewards = random_rollout(prompts=SAMPLES // 2, group=2, length=SLOTS, vocab=VOCAB)
  layout = make_layout(
    samples=SAMPLES, group_size=2, max_length=SLOTS, rows=ROWS, row_length=SLOTS, packed=False,
  )  # fmt: skip
  batch = pack(rollout, rewards, layout)[0]
  batch = placed(batch, sharding.batch_shardings(batch, mesh))
  state = jax.eval_shape(
    lambda p: update.init_train_state(
      {'policy': p}, optimizers, jax.random.key(0), terms.first_state()
    ),
    params,
  )
  whole = jax.tree.map(lambda _: sharding.replicated(mesh), state)
  moments = {'policy': layouts.moment_shardings(state.opt_state['policy'], params, mesh)}
  own = {'policy': jax.tree.map(lambda x: x.sharding, params)}
  shardings = whole.replace(params=own, opt_state=moments)
  step = update.make_update_step(
    terms, {'policy': policy, 'reference': policy}, optimizers, chunk_size=CHUNK
  )
  hyper = {**terms.hyper(0), 'optimizer': {'policy': optimizers['policy'].hyper(0)}}
  jitted = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
  return jitted.lower(placed(state, shardings), {'reference': params}, batch, hyper).compile()


def reshard_of(mesh, rules):
  import jax

  from rljax import layouts, sharding

  policy, params = policy_on(mesh, rules)
  before = jax.tree.map(lambda x: x.sharding, params)
  after = sharding.policy_shardings(policy, mesh, layouts.without_rows(rules))
  return layouts.mover(before, after, policy.cast).program.lower(params).compile()


def sampler_of(mesh, rules):
  import jax
  import jax.numpy as jnp
  import numpy as np

  from rljax import layouts, sharding
  from rljax.sampling import make_requests, sample
  from rljax.structs import SamplerSettings

  policy, params = policy_on(mesh, layouts.without_rows(rules))
  params = jax.eval_shape(policy.cast, params)
  params = placed(params, sharding.policy_shardings(policy, mesh, layouts.without_rows(rules)))
  requests = make_requests(
    [[1] * 64] * 16, samples_per_prompt=4, draw_ids=range(16), max_prompt=64, max_new_tokens=192,
    temperature=1.0, stop_ids=[0],
  )  # fmt: skip
  requests = jax.tree.map(jnp.asarray, requests)
  requests = placed(requests, sharding.request_shardings(requests, mesh))
  window = jax.ShapeDtypeStruct((), jnp.int32, sharding=sharding.replicated(mesh))
  settings = SamplerSettings(length=SLOTS, max_new_tokens=192, slots=32, window=window)

  def draw(params, requests, settings):
    return sample(policy, params, requests, seed=np.uint32(0), settings=settings, mesh=mesh)

  return jax.jit(draw).lower(params, requests, settings).compile()


if __name__ == '__main__':
  # The compiler only: no chip is looked for, and several processes may load it.
  os.environ |= {
    'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'TF_CPP_MIN_LOG_LEVEL': '2',
  }  # fmt: skip
  main(sys.argv[1])
