"""The objective of a stage: what it asks for, and what is refused before anything runs."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import random_rollout

from rljax import binding, loss_pass, objective, update
from rljax.data.packing import make_layout, pack
from rljax.models import decoder

GRPO = dict(
  loss=dict(name='losses.clipped_surrogate'),
  weights=dict(name='weighting.token_mean'),
  advantage=dict(name='advantages.group_normalize'),
)
GAE = dict(advantage=dict(name='advantages.gae'))


@pytest.fixture
def paper(monkeypatch):
  """Stage functions of a user."""
  module = types.ModuleType('my_paper')

  def near_old(action_mask, old_logprobs):
    return action_mask * (old_logprobs > -5)

  def sure_tokens(action_mask, entropy):
    return action_mask * (entropy < 1)

  def own_kl(old_logprobs, ref_logprobs):
    return old_logprobs - ref_logprobs, {}

  def noisy_loss(logprobs, *, key):
    return logprobs, {}

  def remembering_weights(action_mask, *, state):
    return action_mask * state, state

  def remembering_weights_init():
    return 1.0

  module.remembering_weights_init = remembering_weights_init
  for function in (near_old, sure_tokens, own_kl, noisy_loss, remembering_weights):
    function.__module__ = 'my_paper'
    setattr(module, function.__name__, function)
  monkeypatch.setitem(sys.modules, 'my_paper', module)


def test_weights_get_the_forward_pass_that_they_ask_for(paper):
  stage = {**GRPO, 'weights': dict(name='my_paper.near_old'), 'loss': dict(name='losses.reinforce')}
  assert objective.build({**stage, 'epochs': 2}).needs == {'old_logprobs'}
  assert not objective.build(stage).needs  # exactly on-policy the sampler's are there


def test_a_group_of_one_is_refused_where_groups_are_compared():
  with pytest.raises(ValueError, match='every advantage would be 0'):
    objective.build({**GRPO, 'samples': 1})
  with pytest.raises(ValueError, match='every advantage would be 0'):
    objective.build({**GRPO, 'samples': 1, 'advantage': dict(name='advantages.leave_one_out')})
  batch = dict(name='advantages.group_normalize', center='batch', scale='batch')
  objective.build({**GRPO, 'samples': 1, 'advantage': batch})
  value = dict(value=dict(name='losses.clipped_value'))
  objective.build({**GRPO, **GAE, **value, 'samples': 1})


def test_values_that_nothing_learns_are_refused():
  with pytest.raises(ValueError, match='nothing learns them'):
    objective.build({**GRPO, **GAE})
  with pytest.raises(ValueError, match='nothing learns them'):
    objective.build({**GRPO, **GAE, 'value': dict(name='losses.clipped_value'), 'value_coef': 0.0})


def test_a_divergence_of_the_user_may_stand_in_the_reward(paper):
  stage = {**GRPO, 'advantage': dict(name='advantages.leave_one_out'), 'kl_coef': 0.1}
  own = objective.build({**stage, 'kl': dict(name='my_paper.own_kl'), 'kl_placement': 'reward'})
  assert own.needs == {'ref_logprobs'}
  with pytest.raises(ValueError, match='would not be that of the KL'):
    objective.build({**stage, 'kl': dict(name='regularizers.reverse_kl'), 'kl_placement': 'reward'})


OWN_KL = dict(kl=dict(name='regularizers.kl_reward'), kl_coef=0.1, kl_placement='reward')


@pytest.mark.parametrize('advantage', ['gigpo', 'step_reinforce', 'max_rl', 'quantile_baseline'])
def test_a_divergence_in_a_reward_that_the_group_rescales_is_refused(advantage):
  stage = {**GRPO, 'extras': ('turn_ids', 'state_ids')}
  stage['advantage'] = dict(name=f'advantages.{advantage}')
  objective.build(stage)
  with pytest.raises(ValueError, match='rescales the KL'):
    objective.build({**stage, **OWN_KL})


@pytest.mark.parametrize(
  'advantage',
  [
    dict(name='advantages.gigpo', no_std=True),
    dict(name='advantages.step_reinforce', scope='batch'),
    dict(name='advantages.quantile_baseline', scale='none'),
    dict(name='advantages.reinforce_pp'),
    dict(name='advantages.reinforce_pp_baseline'),
  ],
)
def test_a_divergence_in_a_reward_of_one_scale_is_accepted(advantage):
  stage = {**GRPO, **OWN_KL, 'extras': ('turn_ids', 'state_ids'), 'advantage': advantage}
  assert objective.build(stage).kl_in_reward


def test_what_is_added_to_a_reward_that_nobody_reads_is_refused():
  stage = {**GRPO, 'advantage': dict(name='advantages.multi_reward')}
  objective.build(stage)
  with pytest.raises(ValueError, match="so kl_placement 'reward' would have no part"):
    objective.build({**stage, **OWN_KL})
  shaping = dict(overlong=dict(name='shaping.overlong_penalty'))
  with pytest.raises(ValueError, match='overlong would have no part'):
    objective.build({**stage, 'reward_shaping': shaping})


@pytest.mark.parametrize('coefficient', [1, 0.2])
def test_a_controller_has_one_first_coefficient(coefficient):
  stage = {**GRPO, 'kl': dict(name='regularizers.reverse_kl'), 'kl_coef': 0.1}
  controller = dict(name='regularizers.adaptive_kl')
  memory = objective.build({**stage, 'kl_controller': controller}).first_state()['kl_controller']
  assert float(memory['coefficient']) == float(memory['state']) == pytest.approx(0.1)
  with pytest.raises(ValueError, match='begins with kl_coef'):
    objective.build({**stage, 'kl_controller': {**controller, 'coefficient': coefficient}})


@pytest.mark.parametrize(
  'change, words',
  [
    (dict(loss=dict(name='my_paper.noisy_loss')), "noisy_loss takes 'key', which it cannot have"),
    (dict(weights=dict(name='my_paper.remembering_weights')), "takes 'state'"),
  ],
)
def test_reserved_names_are_refused_where_nothing_gives_them(paper, change, words):
  with pytest.raises(ValueError, match=words):
    objective.build({**GRPO, **change})


@pytest.fixture
def remembering(monkeypatch):
  """An advantage that draws, and that remembers the mean reward and its last draw."""
  module = types.ModuleType('my_memory')

  def advantage(rewards, *, decay=0.5, key, state):
    mean = jnp.nanmean(rewards)
    draw = jax.random.normal(key, rewards.shape)
    baseline = decay * state['baseline'] + (1 - decay) * mean
    advantages = jnp.nan_to_num(rewards - state['baseline']) + draw
    return advantages, {'baseline': baseline, 'draw': draw[0], 'calls': state['calls'] + 1}

  def advantage_init(*, decay):
    return {'baseline': 10 * decay, 'draw': 0.0, 'calls': 0}

  def weights(action_mask, *, key):
    return action_mask * jax.random.uniform(key, ())

  for function in (advantage, advantage_init, weights):
    function.__module__ = 'my_memory'
    setattr(module, function.__name__, function)
  monkeypatch.setitem(sys.modules, 'my_memory', module)
  return module


def test_an_advantage_draws_and_remembers_in_the_train_state(remembering):
  policy = decoder(vocab_size=13, num_layers=1, d_model=8, num_heads=1, num_kv_heads=1, d_ff=8)
  stage = {
    **GRPO,
    'minibatches': 2,
    'advantage': dict(name='my_memory.advantage'),
    'weights': dict(name='my_memory.weights'),
  }
  terms = objective.build(stage)
  optimizers = {'policy': binding.bind(dict(name='optimizers.adamw'))}
  step = jax.jit(update.make_update_step(terms, {'policy': policy}, optimizers))
  state = update.init_train_state(
    {'policy': policy.init(jax.random.key(0))}, optimizers, jax.random.key(1), terms.first_state()
  )
  assert float(state.method_state['advantage']['baseline']) == 5.0
  rollout, rewards = random_rollout(0)
  layout = make_layout(
    samples=24, group_size=4, max_length=20, rows=4, row_length=40, minibatches=2
  )
  batch, _ = pack(rollout, rewards, layout)
  hyper = {**terms.hyper(0), 'optimizer': {'policy': optimizers['policy'].hyper(0)}}
  draws, losses, baseline = [], [], 5.0
  for _ in range(3):
    state, metrics = step(state, {}, batch, hyper)
    memory = state.method_state['advantage']
    baseline = 0.5 * baseline + 0.5 * np.nanmean(rewards)
    assert float(memory['baseline']) == pytest.approx(baseline, rel=1e-6)
    draws.append(float(memory['draw']))
    losses.append(float(metrics['policy/loss']))
  assert int(memory['calls']) == 3
  assert len(set(draws)) == len(set(losses)) == 3
  assert step._cache_size() == 1


def test_what_remembers_needs_a_beginning(remembering):
  del remembering.advantage_init
  with pytest.raises(binding.BindingError, match='advantage_init must stand beside it'):
    binding.bind(dict(name='my_memory.advantage'))


@pytest.mark.parametrize(
  ('returned', 'kind'), [(lambda x: x, 'a '), (lambda x: (x, x, {}), 'a tuple of 3')]
)
def test_a_loss_that_returns_something_else_is_named(monkeypatch, returned, kind):
  def soft_clip(logprobs):
    return returned(logprobs)

  soft_clip.__module__ = 'my_loss'
  module = types.ModuleType('my_loss')
  module.soft_clip = soft_clip
  monkeypatch.setitem(sys.modules, 'my_loss', module)
  bound = binding.bind(dict(name='my_loss.soft_clip'))
  with pytest.raises(ValueError, match=f'soft_clip is named as a loss and returns {kind}'):
    loss_pass._of_term(bound, {'logprobs': jnp.zeros(2)}, {}, jnp.ones(2))
