"""What the functions of a stage ask for together, and what is refused before anything runs."""

import sys
import types
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from tiny_updates import GRPO, PPO, batches

from rljax import arrays, loss_pass, losses, objective, regularizers
from rljax.binding import BindingError, signature
from rljax.combinations import ObjectiveError

KL = {**GRPO, 'kl_coef': 0.1}
IN_REWARD = {
  **KL, 'advantage': dict(name='advantages.leave_one_out'), 'kl_placement': 'reward'
}  # fmt: skip
TIS = dict(correction=dict(name='corrections.token_truncate'))
REBEL = dict(
  loss=dict(name='losses.rebel'), weights=dict(name='weighting.group_mean'), advantage=None
)
BOUNDS = {
  f'ratio_{side}': dict(name='losses.balanced_bound', side=side) for side in ('low', 'high')
}


def named(name, **hyper):
  return dict(name=name, **hyper)


def with_loss(name, **changes):
  return {**GRPO, 'loss': named(f'losses.{name}'), **changes}


# -- what is asked for


@pytest.mark.parametrize(
  'stage, needs, statistics, roles',
  [
    (GRPO, set(), {'logprobs', 'entropy'}, set()),
    ({**GRPO, 'epochs': 2}, {'old_logprobs'}, {'logprobs', 'entropy'}, set()),
    ({**GRPO, 'epochs': 2, 'old_logprobs': 'sampler'}, set(), {'logprobs', 'entropy'}, set()),
    ({**GRPO, **TIS}, {'old_logprobs'}, {'logprobs', 'entropy'}, set()),
    (
      {**REBEL, 'loss': named('losses.dpo')},
      {'ref_logprobs'},
      {'logprobs', 'entropy'},
      {'reference'},
    ),
    (
      with_loss('nll', kl=named('regularizers.sampled_distillation'), kl_coef=1.0, epochs=2),
      {'old_logprobs', 'teacher_logprobs'},
      {'logprobs', 'entropy'},
      {'teacher'},
    ),
    (with_loss('generalized_jsd'), set(), {'logprobs', 'entropy', 'teacher_jsd'}, {'teacher'}),
    (
      {**KL, 'kl': named('regularizers.full_reverse_kl')},
      set(),
      {'logprobs', 'entropy', 'full_kl'},
      {'reference'},
    ),
    (
      {**REBEL, 'loss': named('losses.tdpo')},
      {'ref_logprobs'},
      {'logprobs', 'entropy', 'full_forward_kl'},
      {'reference'},
    ),
    (
      {**GRPO, 'selections': dict(few=named('selection.high_entropy'))},
      {'old_entropy'},
      {'logprobs', 'entropy'},
      set(),
    ),
    (
      {**GRPO, 'advantage': named('advantages.optimal_token_baseline')},
      {'old_sum_squares'},
      {'logprobs', 'entropy'},
      set(),
    ),
    (
      {**GRPO, 'reward_shaping': dict(own=named('shaping.self_certainty_reward'))},
      {'old_self_certainty'},
      {'logprobs', 'entropy'},
      set(),
    ),
    (
      {**IN_REWARD, 'kl': named('regularizers.kl_reward'), 'epochs': 2},
      {'old_logprobs', 'ref_logprobs'},
      {'logprobs', 'entropy'},
      {'reference'},
    ),
    ({**REBEL, 'loss': named('losses.bradley_terry')}, set(), set(), set()),
  ],
)
def test_passes_statistics_and_roles(stage, needs, statistics, roles):
  terms = objective.build(stage)
  assert terms.needs == needs
  assert set(terms.statistics) == statistics
  assert terms.frozen_roles == roles


@pytest.mark.parametrize('coefficient, gradient', [(0.0, False), (0.1, True)])
def test_entropy_is_always_known_and_differentiated_where_it_is_asked_for(
  monkeypatch, coefficient, gradient
):
  seen = []

  def forward(policy, params, rows, temperature, *, statistics, constant, **options):
    seen.append((statistics, constant))
    return {name: jnp.zeros(rows['tokens'].shape) for name in statistics}

  monkeypatch.setattr('rljax.loss_pass.forward', forward)
  terms = objective.build({**PPO, 'value': None, **GRPO, 'entropy_coef': coefficient, 'kl': None})
  batch = batches(0)
  batch = batch.replace(
    weights={name: jnp.zeros(batch.tokens.shape) for name in ('policy', 'full')},
    advantages=jnp.zeros(batch.tokens.shape),
  )
  rows = jax.tree.map(lambda x: x[0, 0], arrays.token_arrays(batch))
  samples = arrays.sample_arrays(batch)
  _, found = loss_pass.micro_loss(
    {'policy': None},
    rows,
    samples,
    terms.hyper(0),
    objective=terms,
    policies={'policy': SimpleNamespace(beside=())},
    chunk_size=8,
  )
  assert 'policy/entropy' in found['mean']
  assert seen == [(('logprobs', 'entropy'), () if gradient else ('entropy',))]


def test_a_length_is_made_for_those_who_can_do_without():
  """dpo with length_normalize takes it; nothing has to be computed for it but a sum."""
  terms = objective.build({**REBEL, 'loss': named('losses.dpo', length_normalize=True)})
  assert 'completion_length' in terms.late
  assert 'ref_logprobs' not in objective.build(GRPO).late


# -- a ratio is corrected once


def anchored():
  """Losses that have the ratio to the sampler in them."""
  return [n for n in losses.__all__ if 'policy_logprobs' in signature(getattr(losses, n)).arrays]


def test_all_losses_that_hold_the_ratio_to_the_sampler_are_known():
  """A new one joins by the name of its argument; these are those of the papers."""
  assert {*anchored()} >= {
    'approximate_prox_surrogate', 'bapo', 'calibrated_importance', 'dppo_kl', 'dppo_tv',
    'importance_sampling', 'prime_rl', 'topr', 'truncated_reinforce', 'vespo',
  }  # fmt: skip


@pytest.mark.parametrize('name', [n for n in anchored() if n != 'balanced_bound'])
def test_the_ratio_to_the_sampler_is_not_corrected_twice(name):
  stage = with_loss(name, derived=BOUNDS if name == 'bapo' else {}, epochs=2)
  objective.build(stage)
  with pytest.raises(ObjectiveError, match=f'{name} has the ratio to the sampler itself'):
    objective.build({**stage, **TIS})


def test_a_kl_with_the_mismatch_in_it_is_no_second_correction():
  kl = named('regularizers.reverse_kl', mismatch_correction=True)
  terms = objective.build({**KL, 'kl': kl, 'epochs': 2, **TIS})
  assert terms.needs == {'old_logprobs', 'ref_logprobs'}


# -- where the KL stands


IN_LOSS = [
  name
  for name in regularizers.__all__
  if {'logprobs', 'ref_logprobs'} <= {*signature(getattr(regularizers, name)).arrays}
]


@pytest.mark.parametrize('name', [*IN_LOSS, 'full_reverse_kl', 'kl_reward', 'k3_reward'])
def test_every_estimator_may_stand_where_it_is_meant_to_and_nowhere_else(name):
  """Naming k1_in_loss, absolute_in_loss or k3_reward is asking for them."""
  kl, meant = named(f'regularizers.{name}'), 'reward' if name.endswith('_reward') else 'loss'
  for placement in ('loss', 'reward'):
    stage = {**IN_REWARD, 'kl': kl, 'kl_placement': placement}
    if placement == meant:
      assert objective.build(stage).kl_in_reward == (meant == 'reward')
    else:
      with pytest.raises(ObjectiveError, match=f'{name}: its gradient would not be that of the KL'):
        objective.build(stage)


# -- what is refused


@pytest.fixture
def paper(monkeypatch):
  """Stage functions of a user."""
  module = types.ModuleType('my_paper')

  def drawing_correction(action_mask, *, key):
    return action_mask, action_mask

  def plain_controller(measured, num_samples, *, coefficient: float):
    return coefficient

  for function in (drawing_correction, plain_controller):
    function.__module__ = 'my_paper'
    setattr(module, function.__name__, function)
  monkeypatch.setitem(sys.modules, 'my_paper', module)


ADAPTIVE = named('regularizers.adaptive_kl')
SCHEDULE = dict(schedule='linear', start=0.1, end=0.0, steps=4)
DPO_TERM = dict(auxiliary=named('losses.dpo'), auxiliary_coef=1.0)


@pytest.mark.parametrize(
  'stage, words',
  [
    ({**GRPO, **TIS, 'old_logprobs': 'sampler'}, 'it would count twice'),
    ({**GRPO, **REBEL, **TIS}, 'rebel is a loss of whole samples; token_truncate weighs tokens'),
    ({**GRPO, 'correction': named('my_paper.drawing_correction')}, "takes 'key', which it cannot"),
    ({**GRPO, 'old_logprobs': 'both'}, "'recompute', 'sampler'"),
    ({**GRPO, 'loss': named('losses.rebel')}, 'token_mean has no weights of samples; set weights'),
    ({**GRPO, 'weights': named('weighting.group_mean')}, 'loss of tokens, and group_mean'),
    ({**GRPO, **DPO_TERM}, 'auxiliary is dpo, which compares whole samples'),
    ({**GRPO, **DPO_TERM, 'auxiliary': named('losses.nft')}, 'auxiliary is nft, which compares'),
    (
      {**IN_REWARD, **REBEL, 'kl': named('regularizers.kl_reward')},
      'the stage has no advantage: rebel sees',
    ),
    ({**KL, 'kl': None, 'kl_controller': ADAPTIVE}, 'but the stage has no kl term'),
    (
      {**KL, 'kl': named('regularizers.reverse_kl'), 'kl_coef': 0.0, 'kl_controller': ADAPTIVE},
      '0 stays 0',
    ),
    (
      {**KL, 'kl': named('regularizers.reverse_kl'), 'kl_coef': SCHEDULE,
       'kl_controller': ADAPTIVE},
      'kl_coef, which must be a number',
    ),
    (
      {**KL, 'kl': named('regularizers.reverse_kl'), 'kl_controller': {**ADAPTIVE,
       'coefficient': 0.2}},
      'and coefficient the same or left out',
    ),
    (
      {**KL, 'kl': named('regularizers.reverse_kl'),
       'kl_controller': named('my_paper.plain_controller')},
      'plain_controller must take state',
    ),
    ({**GRPO, 'derived': dict(rewards=named('selection.covariance_top'))}, 'of this name already'),
  ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(paper, stage, words):
  with pytest.raises(ObjectiveError, match=words):
    objective.build(stage)


def test_what_needs_advantages_is_refused_without_them():
  stage = {**REBEL, 'selections': dict(x=named('selection.opsm'))}
  with pytest.raises(BindingError, match="takes the array 'advantages', which does not exist here"):
    objective.build(stage)


def test_an_entropy_controller_may_begin_with_nothing():
  stage = {
    **GRPO,
    'entropy': named('regularizers.entropy_bonus'),
    'entropy_coef': 0.0,
    'entropy_controller': named('regularizers.adaptive_entropy', target=0.5),
  }
  terms = objective.build(stage)
  assert terms.entropy is not None
  assert float(terms.first_state()['entropy_controller']['coefficient']) == 0
