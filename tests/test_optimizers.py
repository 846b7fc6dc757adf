"""AdamW: its step, its clip, its schedule; the learning rate is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rljax import binding
from rljax.optimizers import adamw

PARAMS = {'w': jnp.array([1.0, -2.0]), 'b': jnp.array(0.5)}


def grads(step):
  return jax.tree.map(lambda x: 0.1 * jnp.cos(x * step + 1), PARAMS)


def steps(transform, number, params=PARAMS):
  """Parameters after each step."""
  state, seen = transform.init(params), []
  for step in range(number):
    updates, state = transform.update(grads(step), state, params)
    params = optax.apply_updates(params, updates)
    seen.append(params)
  return seen


def test_the_plain_form_is_optax():
  mine = steps(adamw(learning_rate=0.01, weight_decay=0.1, clip_norm=1e9), 5)
  peer = steps(optax.adamw(0.01, b1=0.9, b2=0.95, eps=1e-8, weight_decay=0.1), 5)
  for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(peer)):
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_clip_is_of_the_global_norm():
  def moment(clip_norm):
    transform = adamw(clip_norm=clip_norm)
    _, state = transform.update(PARAMS, transform.init(PARAMS), PARAMS)
    return state[1].mu

  norm = float(optax.tree.norm(PARAMS))
  assert float(optax.tree.norm(moment(0.5))) == pytest.approx(0.1 * 0.5, rel=1e-5)
  assert float(optax.tree.norm(moment(9.0))) == pytest.approx(0.1 * norm, rel=1e-5)


@pytest.mark.parametrize(
  ('decay', 'expected'),
  [
    ('constant', [0.5, 1, 1, 1, 1, 1, 1]),
    ('linear', [0.5, 1, 1, 0.75, 0.5, 0.25, 0]),
    ('cosine', [0.5, 1, 1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0]),
  ],
)
def test_warm_up_and_decay(decay, expected):
  transform = adamw(learning_rate=1.0, warmup_steps=2, decay=decay, total_steps=6, eps=0.0)
  params, state = {'w': jnp.zeros(1)}, None
  state, seen = transform.init(params), []
  for _ in expected:
    updates, state = transform.update({'w': jnp.ones(1)}, state, params)
    seen.append(-float(updates['w'][0]))  # Adam's step on a constant gradient is 1
  np.testing.assert_allclose(seen, expected, atol=1e-4)


def test_unknown_decay_is_named():
  with pytest.raises(ValueError, match="decay is 'sqrt'; it is one of 'constant'"):
    adamw(decay='sqrt')


def test_the_learning_rate_is_data():
  bound = binding.bind(
    dict(
      name='optimizers.adamw',
      learning_rate=dict(schedule='linear', start=0.1, end=0.0, steps=4),
      warmup_steps=0,
    )
  )
  assert bound.hyper(2)['learning_rate'] == pytest.approx(0.05)
  assert 'warmup_steps' in bound.static and 'learning_rate' in bound.scheduled

  @jax.jit
  def step(hyper):
    transform = bound({}, hyper)
    return transform.update(grads(0), transform.init(PARAMS), PARAMS)[0]

  sizes = [float(optax.tree.norm(step(bound.hyper(i)))) for i in range(5)]
  np.testing.assert_allclose(np.array(sizes) / sizes[0], [1, 0.75, 0.5, 0.25, 0], atol=1e-6)
  assert step._cache_size() == 1
