"""Value losses beyond what the suite of losses holds them to: histograms, edges, limits."""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import values as reference
from rollouts import random_rollout
from tiny_runs import tiny_config
from tiny_updates import packed_batch

from rljax import arrays, assembly, config, loss_pass, losses, objective, update
from rljax.models import decoder
from rljax.traits import declare

RANGE = {'low': -1.0, 'high': 2.0}
HISTOGRAM = {**RANGE, 'num_bins': 7, 'sigma': 0.75}
RETURNS = np.array([[-1.0, -0.3, 0.0, 0.5, 1.99, 2.0, 3.5, -9.0]])  # also off the range
LOGITS = np.random.default_rng(0).normal(size=(1, 8, 7))
MASK = np.array([[True, True, False, True, True, True, True, True]])


def hl_gauss(logits, returns=RETURNS, mask=MASK, **hyper):
  loss, seen = losses.hl_gauss_value(
    logits, jnp.asarray(returns), jnp.asarray(mask), **(HISTOGRAM | hyper)
  )
  assert not seen
  return loss


def test_the_histogram_loss_is_that_of_the_formula():
  with jax.enable_x64(True):
    logits = jnp.asarray(LOGITS)
    loss = hl_gauss(logits)
    gradient = jax.grad(lambda z: jnp.sum(jnp.where(MASK, hl_gauss(z), 0)))(logits)
  assert loss.shape == RETURNS.shape and loss.dtype == jnp.float64
  for t in range(RETURNS.shape[1]):
    if not MASK[0, t]:
      assert not np.any(gradient[0, t])
      continue
    value, slope = reference.hl_gauss_value(LOGITS[0, t], RETURNS[0, t], **HISTOGRAM)
    np.testing.assert_allclose(loss[0, t], value, rtol=1e-12)
    np.testing.assert_allclose(gradient[0, t], slope, atol=1e-12)


def test_what_is_masked_has_no_influence_on_the_histogram_loss():
  def total(logits, returns):
    return jnp.sum(jnp.where(MASK, hl_gauss(logits, returns), 0))

  step = jax.jit(jax.value_and_grad(total))
  expected = step(jnp.asarray(LOGITS, jnp.float32), jnp.asarray(RETURNS, jnp.float32))
  for filler in (np.nan, np.inf, 1e30):
    dirty = (np.where(MASK[..., None], LOGITS, filler), np.where(MASK, RETURNS, filler))
    found = step(*(jnp.asarray(x, jnp.float32) for x in dirty))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_best_histogram_has_the_return_as_its_mean():
  returns = np.linspace(-0.2, 1.2, 15)  # more than 2.5 sigma from the ends
  share = [reference.gaussian_histogram(y, **(HISTOGRAM | {'num_bins': 21})) for y in returns]
  found = losses.hl_gauss_mean(jnp.log(jnp.array(share)), **RANGE)
  np.testing.assert_allclose(found, returns, atol=2e-3)
  # Gradient descent on the loss finds it.
  step = jax.jit(
    lambda z: z - jax.grad(lambda x: jnp.sum(hl_gauss(x, np.array([[0.3]]), np.array([[True]]))))(z)
  )
  logits = jnp.zeros((1, 1, 7))
  for _ in range(200):
    logits = step(logits)
  assert losses.hl_gauss_mean(logits, **RANGE)[0, 0] == pytest.approx(0.3, abs=0.01)


def test_hyper_parameters_of_the_histogram_are_traced():
  logits = jnp.asarray(LOGITS, jnp.float32)

  @jax.jit
  @jax.vmap
  def run(hyper):
    return hl_gauss(logits, **hyper), losses.hl_gauss_mean(
      logits, low=hyper['low'], high=hyper['high']
    )

  two = {'low': [-1.0, 0.0], 'high': [2.0, 1.0], 'sigma': [0.75, 0.5]}
  loss, mean = run({n: jnp.array(x) for n, x in two.items()})
  for i in range(2):
    hyper = {n: x[i] for n, x in two.items()}
    np.testing.assert_allclose(loss[i], hl_gauss(logits, **hyper), rtol=1e-5)
    own = losses.hl_gauss_mean(logits, low=hyper['low'], high=hyper['high'])
    np.testing.assert_allclose(mean[i], own, rtol=1e-5)


def test_histograms_are_computed_in_float32():
  narrow = jnp.asarray(LOGITS, jnp.bfloat16)
  for run in (hl_gauss, functools.partial(losses.hl_gauss_mean, **RANGE)):
    found = run(narrow)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, run(narrow.astype(jnp.float32)))


def test_a_head_of_another_size_is_an_error():
  with pytest.raises(ValueError, match='num_bins is 51, but the head has 7 outputs'):
    hl_gauss(jnp.asarray(LOGITS), num_bins=51)


def test_a_wide_huber_error_is_the_squared_one():
  rng = np.random.default_rng(1)
  arrays = [jnp.asarray(x) for x in rng.normal(size=(3, 50))]
  found = losses.huber_value(*arrays, delta=100.0)[0]
  np.testing.assert_allclose(found, losses.clipped_value(*arrays)[0], rtol=1e-6)


def test_the_force_of_a_huber_error_is_bounded():
  errors = jnp.array([-50.0, -0.5, -0.2, 0.0, 0.7, 50.0])  # 0.5: where it becomes linear

  def total(values, clip):
    return jnp.sum(losses.huber_value(values, values, jnp.zeros(6), delta=0.5, clip=clip)[0])

  for clip in (None, 0.2):
    force = jax.grad(total)(errors, clip)
    np.testing.assert_allclose(force, [-0.5, -0.5, -0.2, 0, 0.5, 0.5], rtol=1e-6)


def test_the_clip_takes_the_gradient_of_a_value_that_has_moved_far():
  # G = 0, V° = 1, band ±0.2: V below 0.8 has the larger clipped error, V above 1.2 its own.
  values, old = jnp.array([0.5, 0.8, 1.0, 1.2, 1.5]), jnp.ones(5)
  for loss in (losses.clipped_value, losses.huber_value):
    force = jax.grad(lambda v, loss=loss: jnp.sum(loss(v, old, jnp.zeros(5), clip=0.2001)[0]))
    np.testing.assert_array_equal(np.sign(force(values)), [0, 1, 1, 1, 1])


# -- a histogram as a critic

CRITIC = dict(
  loss=dict(name='losses.clipped_surrogate'),
  weights=dict(name='weighting.token_mean'),
  advantage=dict(name='advantages.gae', gae_lambda=0.9, whiten=False),
  value=dict(name='losses.hl_gauss_value', **HISTOGRAM),
  value_coef=0.5,
  epochs=2,
)


def small(**head):
  return decoder(
    vocab_size=13, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32,
    compute_dtype='float64', param_dtype='float64', **head,
  )  # fmt: skip


def said_before(policy, params, rows):
  """(hidden states from which each token is drawn [r, T, D], logits of the histogram [r, T, bins]).

  Of the slot before: only action tokens count, and none is the first of its sample.
  """
  hidden, _ = policy.hidden(
    params, rows['tokens'], segment_ids=rows['segment_ids'], positions=rows['positions']
  )
  hidden = np.roll(np.asarray(hidden), 1, axis=1)
  return hidden, hidden @ np.asarray(params['value_head'])


@pytest.mark.parametrize('shared', [False, True], ids=['critic', 'one trunk'])
def test_the_value_of_a_histogram_and_the_gradient_of_its_head_are_those_of_the_formula(shared):
  rollout, rewards = random_rollout(4)
  with jax.enable_x64(True):
    critic = small(value_head=7)
    policies = {'policy': critic if shared else small()}
    policies |= {} if shared else {'value': critic}
    params = {role: policy.init(jax.random.key(i)) for i, (role, policy) in
              enumerate(policies.items())}  # fmt: skip
    role = 'policy' if shared else 'value'
    params[role]['value_head'] = jax.random.normal(jax.random.key(5), (16, 7))
    batch = packed_batch(rollout, rewards, packed=True, rows=27, row_length=40)
    terms = objective.build(CRITIC)
    hyper, static = terms.hyper(0), dict(objective=terms, policies=policies, chunk_size=512)
    prepare = jax.jit(lambda batch, p: update.prepare(batch, p, {}, hyper, **static)[0])
    prepared = prepare(batch, params)
    assert int(prepared.num_micro[0]) == 1
    rows = jax.tree.map(lambda x: x[0, 0], arrays.token_arrays(prepared))
    gradient = jax.jit(
      jax.grad(
        lambda p: loss_pass.micro_loss(p, rows, arrays.sample_arrays(prepared), hyper, **static)[0]
      )
    )(params)
    hidden, logits = said_before(critic, params[role], rows)
    rows, gradient = jax.tree.map(np.asarray, (rows, gradient))
  edges = np.linspace(RANGE['low'], RANGE['high'], 8)
  expected = np.zeros((16, 7))
  places = np.argwhere(rows['action_mask'] & (rows['weights']['full'] > 0))
  assert len(places) > 50
  for r, t in places:
    share = np.exp(logits[r, t]) / np.exp(logits[r, t]).sum()
    value = np.sum(share * (edges[1:] + edges[:-1]) / 2)
    assert rows['values'][r, t] == pytest.approx(value, abs=1e-12)
    _, slope = reference.hl_gauss_value(logits[r, t], rows['returns'][r, t], **HISTOGRAM)
    weight = 0.5 * rows['weights']['full'][r, t]
    expected += weight * np.outer(hidden[r, t], slope)
  np.testing.assert_allclose(gradient[role]['value_head'], expected, atol=1e-12)
  assert np.abs(expected).max() > 1e-3
  assert np.any(gradient[role]['embedding'])  # and the trunk learns


@pytest.mark.parametrize('shared', [False, True], ids=['critic', 'one trunk'])
def test_the_head_has_as_many_outputs_as_its_loss_has_bins(shared):
  value = dict(name='losses.hl_gauss_value', low=0.0, high=1.0, num_bins=9)
  rl = dict(value=value, value_coef=1.0, advantage=dict(name='advantages.gae'))
  if not shared:
    rl['critic'] = dict(name='models.decoder', num_layers=1, d_model=16, num_heads=2,
                        num_kv_heads=1)  # fmt: skip
  world = assembly.assemble(config.resolve(tiny_config(stages=('rl',), rl=rl)))
  world.close()
  heads = {role: p['value_head'].shape for role, p in world.params.items() if 'value_head' in p}
  assert heads == {'policy' if shared else 'value': (16, 9)}


def test_stages_that_need_different_heads_are_refused():
  rl = dict(value_coef=1.0, advantage=dict(name='advantages.gae'))
  setup = tiny_config(stages=('rl', 'more'), rl={**rl, 'value': dict(name='losses.clipped_value')})
  more = dict(name='losses.hl_gauss_value', low=0.0, high=1.0)
  setup['more'] = {**setup['rl'], 'kind': 'rl', 'value': more}
  with pytest.raises(ValueError, match='stages with values need heads of different sizes'):
    assembly.assemble(config.resolve(setup))


def test_a_loss_of_logits_says_how_they_are_a_value(monkeypatch):
  def own_value(value_logits, returns, *, num_bins: int = 3):
    return jnp.sum(value_logits, axis=-1) - returns, {}

  module = types.ModuleType('my_values')
  own_value.__module__ = 'my_values'
  module.own_value = own_value
  monkeypatch.setitem(sys.modules, 'my_values', module)
  stage = {**CRITIC, 'value': dict(name='my_values.own_value')}
  assert objective.value_outputs(stage) == 3
  with pytest.raises(objective.ObjectiveError, match='own_value takes value_logits, and does not'):
    objective.build(stage)
  module.own_value = declare(values=lambda logits: logits[..., 0])(own_value)
  terms = objective.build(stage)
  said = jnp.arange(6.0).reshape(2, 3)
  np.testing.assert_array_equal(terms.values_of(said, terms.hyper(0)), [0.0, 3.0])
