"""Experts in the update: what the sampler asked is asked again, metrics, the loss of their load."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.load_balance import CASES
from tiny_runs import MODEL, small_machine, tiny_config
from tiny_updates import GRPO

from rljax import assembly, config, metrics, objective
from rljax.scanned.run import why_not
from rljax.stages import make_stage

EXPERTS = dict(num_experts=4, experts_per_token=1, d_expert=8)


@pytest.fixture(scope='module')
def stage(tmp_path_factory):
  """(a stage that replays, with a load loss; its first state)."""
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    balance = dict(name='regularizers.load_balance')
    rl = dict(replay_routing=True, auxiliary=balance, auxiliary_coef=0.0, share_prompts=True)
    settings = tiny_config(stages=('rl',), model={**MODEL, **EXPERTS}, rl=rl)
    settings['rl']['auxiliary_coef'] = 0.01
    world = assembly.assemble(config.resolve(settings))
    stage = make_stage('rl', world)
    yield stage, stage.init({'policy': world.params['policy']}, jax.random.key(0))


def updated(stage, state, batch, scale=0.0):
  """Metrics of an update of a policy whose router is another one."""
  params = jax.tree.map(jnp.copy, state.params)
  router = params['policy']['layers']['router']
  noise = jax.random.normal(jax.random.key(1), router.shape)
  params['policy']['layers']['router'] = router + scale * noise
  state = jax.tree.map(jnp.copy, state.replace(params=params))
  return jax.device_get(stage.update(state, {}, batch, stage.hyper(0))[1])


@pytest.mark.thorough
def test_the_update_follows_the_sampler(stage):
  """With one expert a token the choice is all that a router does: the same log-probs or others."""
  stage, state = stage
  batch = stage.collect(state, 0).batch
  routing = np.asarray(batch.extras['routing'])
  used = np.asarray(batch.segment_ids) >= 0
  assert routing.shape == (*used.shape, 1, 1) and routing.dtype == np.int16
  assert np.all(routing[~used] == -1) and np.mean(routing[used] >= 0) > 0.5

  same = updated(stage, state, batch)
  assert same['rollout/mismatch_max'] < 1e-5 and same['router/replaced'] == 0
  followed = updated(stage, state, batch, scale=2.0)
  assert followed['rollout/mismatch_max'] < 1e-5 and followed['router/replaced'] > 0.1
  unknown = {**batch.extras, 'routing': jnp.full_like(batch.extras['routing'], -1)}
  alone = updated(stage, state, batch.replace(extras=unknown), scale=2.0)
  assert alone['rollout/mismatch_max'] > 1e-4 and alone['router/replayed'] == 0

  sampled, samples = np.asarray(batch.action_mask).sum(), (batch.group_ids >= 0).sum()
  np.testing.assert_allclose(same['router/replayed'], 1 - samples / sampled, rtol=1e-5)
  assert 0 <= same['router/load_min'] <= 1 <= same['router/load_max'] <= 4
  assert 0 < same['router/entropy'] <= np.log(4) + 1e-6 and 0.5 < same['router/balance'] < 4
  assert 0 < same['method/load_balance/balance'] < 4
  for name in same:
    metrics.check_name(name)


def test_what_is_refused(stage):
  stage, _ = stage
  assert 'replay_routing' in why_not(stage)
  rl = dict(replay_routing=True)
  world = assembly.assemble(config.resolve(tiny_config(stages=('rl',), rl=rl)))
  with pytest.raises(ValueError, match='replay_routing is True, and the policy has no experts'):
    make_stage('rl', world)


def test_the_load_loss_is_that_of_loops():
  case = CASES['load_balance']
  random = np.random.default_rng(0)
  segments = np.array([[0, 0, 0, 1, 1, -1], [0, 1, 1, 1, 2, 2]])
  mask = (segments >= 0) & (random.random(segments.shape) < 0.8)
  samples = np.zeros((2, 3), np.int32)
  probs = random.dirichlet(np.ones(4), (2, 6, 3))
  choices = np.argsort(probs, axis=-1)[..., :2].astype(np.int32)
  values, slopes = case.reference(probs, choices, mask, segments)

  def total(probs):
    loss, said = case.function(probs, choices, mask, segments, samples)
    return jnp.sum(loss), (loss, said)

  with jax.enable_x64(True):
    found, (loss, said) = jax.grad(total, has_aux=True)(probs)
    dirty = jax.grad(total, has_aux=True)(np.where(mask[..., None, None], probs, np.nan))
  np.testing.assert_allclose(loss, values, atol=1e-12)
  np.testing.assert_allclose(found, slopes, atol=1e-12)
  np.testing.assert_array_equal(said['balance'], loss)
  np.testing.assert_array_equal(dirty[0], found)
  np.testing.assert_array_equal(dirty[1][0], loss)
  even = np.full_like(probs, 0.25)
  np.testing.assert_allclose(case.function(even, choices, mask, segments, samples)[0][mask], 1)


def test_the_load_loss_is_an_auxiliary_term():
  stage = {**GRPO, 'auxiliary': dict(name='regularizers.load_balance'), 'auxiliary_coef': 0.01}
  assert {'router_probs', 'router_choices'} <= objective.build(stage).late
