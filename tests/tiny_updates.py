"""Updates that take seconds: the smallest model on random rollouts, in float64 or float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import random_rollout

from rljax import arrays, binding, loss_pass, objective, sharding, update
from rljax.data.packing import make_layout, pack
from rljax.models import decoder

GRPO = dict(
  loss=dict(name='losses.clipped_surrogate'),
  weights=dict(name='weighting.token_mean'),
  advantage=dict(name='advantages.group_normalize'),
)
PPO = dict(
  loss=dict(name='losses.clipped_surrogate'),
  weights=dict(name='weighting.token_mean'),
  advantage=dict(name='advantages.gae'),
  value=dict(name='losses.clipped_value'),
  value_coef=0.5,
  kl=dict(name='regularizers.reverse_kl'),
  kl_coef=0.1,
  entropy=dict(name='regularizers.entropy_bonus'),
  entropy_coef=0.01,
)


CONTROLLED = 0.1  # a coefficient that begins at 0, once its controller has moved it
PAST = 12  # updates of other rewards before the one that is looked at, for what remembers
compiled = {}  # by stage: several tests use one program


def model(dtype='float64', value_head=True):
  return decoder(
    vocab_size=13, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32,
    value_head=value_head, compute_dtype=dtype, param_dtype=dtype,
  )


def programs(stage, *, dtype='float64'):
  """(jitted prepare, jitted gradient of the first minibatch, params) of a stage.

  Apart, so that another aggregation compiles `prepare` alone: weights are data of the gradient.
  """
  if (str(stage), dtype) in compiled:
    return compiled[str(stage), dtype]
  policy = model(dtype, objective.value_outputs(stage) if stage.get('value') else True)
  params = {'policy': policy.init(jax.random.key(0))}
  frozen = {'reference': policy.init(jax.random.key(1))}
  policies = {'policy': policy, 'reference': policy}
  terms = objective.build(stage)
  static = dict(objective=terms, policies=policies, chunk_size=512)
  hyper, memory = terms.hyper(0), terms.first_state()
  for name in terms.controllers:
    hyper['coefficients'][name] = hyper['coefficients'][name] or CONTROLLED

  def prepared(params, batch):
    def earlier(i, state):
      other = jnp.arange(batch.rewards.shape[0]) % (i + 2)
      before = batch.replace(rewards=batch.rewards * other)
      return update.prepare(before, params, frozen, hyper, method_state=state, **static)[2]

    later = jax.lax.fori_loop(0, PAST if terms.remembering else 0, earlier, memory)
    return update.prepare(batch, params, frozen, hyper, method_state=later, **static)[0]

  def gradient(params, batch):
    rows = jax.tree.map(lambda x: x[0], arrays.token_arrays(batch))
    loss = functools.partial(loss_pass.micro_loss, frozen=frozen, **static)
    samples = arrays.sample_arrays(batch)
    return update.accumulate(loss, params, rows, samples, hyper, batch.num_micro[0])

  compiled[str(stage), dtype] = jax.jit(prepared), jax.jit(gradient), params
  return compiled[str(stage), dtype]


def packed_batch(
  rollout,
  rewards,
  *,
  extras=None,
  components=None,
  mesh=None,
  dtype='float64',
  group_size=1,
  **sizes,
):
  """A batch of one minibatch in the layout of `sizes`, with room for more samples."""
  layout = make_layout(
    samples=len(rewards) + 3 * group_size, group_size=group_size, max_length=20, **sizes
  )
  batch, _ = pack(rollout, rewards, layout, extras=extras, components=components)
  batch = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == np.float32 else x, batch)
  return batch if mesh is None else jax.device_put(batch, sharding.batch_shardings(batch, mesh))


def moved(params):
  """Other parameters: those of a later step of the iteration."""
  return {'policy': model(str(params['policy']['embedding'].dtype)).init(jax.random.key(7))}


def evaluate(prepared, gradient, params, batch, later=None):
  """(loss, [(path, gradient)]) at the parameters before the update, or at later ones."""
  grads, seen = gradient(later or params, prepared(params, batch))
  return float(seen['policy/loss']), jax.tree.leaves_with_path(grads['policy'])


def assert_equal_gradients(one, other, tolerance):
  assert one[0] == pytest.approx(other[0], rel=tolerance, abs=tolerance)
  for (path, a), (_, b) in zip(one[1], other[1]):
    norm = max(float(jnp.linalg.norm(a.ravel())), 1e-12)
    assert float(jnp.linalg.norm((a - b).ravel())) <= tolerance * norm, path


LAYOUTS = [
  dict(packed=False, rows=27, row_length=20),
  dict(packed=False, rows=7, row_length=20),
  dict(packed=True, rows=2, row_length=64),
]


def make(stage, *, epochs=1, learning_rate=1e-2):
  """(jitted update, fresh state, hyper(iteration), frozen roles)."""
  policy = model('float32')
  terms = objective.build(stage)
  optimizers = {'policy': binding.bind(dict(name='optimizers.adamw', learning_rate=learning_rate))}
  if str(stage) not in compiled:
    policies = {'policy': policy, 'reference': policy}
    step = update.make_update_step(terms, policies, optimizers, epochs=epochs)
    compiled[str(stage)] = jax.jit(step, donate_argnums=0)
  params = {'policy': policy.init(jax.random.key(0))}
  state = update.init_train_state(params, optimizers, jax.random.key(1), terms.first_state())

  def hyper(iteration=0):
    rates = {'policy': optimizers['policy'].hyper(iteration)}
    return {**terms.hyper(iteration), 'optimizer': rates}

  return compiled[str(stage)], state, hyper, {'reference': policy.init(jax.random.key(2))}


def batches(seed, **arguments):
  rollout, rewards = random_rollout(seed)
  layout = make_layout(
    **{**dict(samples=24, group_size=4, max_length=20, rows=2, row_length=40), **arguments}
  )
  return pack(rollout, rewards, layout)[0]
