"""The update: invariant to micro-batches, packing, padding, order and devices; each term acts."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import random_rollout
from tiny_updates import (
  GRPO,
  LAYOUTS,
  PPO,
  assert_equal_gradients,
  batches,
  evaluate,
  make,
  model,
  packed_batch,
  programs,
)

from rljax import forward, objective, sharding
from rljax.data.packing import make_layout, pack

AGGREGATIONS = [
  dict(name='weighting.token_mean'),
  dict(name='weighting.token_sum'),
  dict(name='weighting.seq_mean_token_mean'),
  dict(name='weighting.seq_mean_token_sum'),
  dict(name='weighting.fixed_length', max_completion_length=20),
  dict(name='weighting.prompt_mean'),
]


def test_micro_batches_and_packing_add_up_in_each_aggregation():
  rollout, rewards = random_rollout(1)
  with jax.enable_x64(True):
    found = [{} for _ in AGGREGATIONS]
    gradient = None
    for weights, results in zip(AGGREGATIONS, found):
      prepared, first, params = programs({**GRPO, 'weights': weights})
      gradient = gradient or first
      for number, layout in enumerate(LAYOUTS):
        batch = packed_batch(rollout, rewards, **layout)
        results[number] = evaluate(prepared, gradient, params, batch)
    for results in found:
      assert any(float(jnp.abs(g).max()) > 0 for _, g in results[0][1])
      for other in (results[1], results[2]):
        assert_equal_gradients(results[0], other, 1e-10)
  losses = {round(results[0][0], 8) for results in found}
  assert len(losses) == len(AGGREGATIONS)  # they are different objectives


def test_all_terms_add_up_on_one_and_on_eight_devices():
  rollout, rewards = random_rollout(2)
  mesh = sharding.make_mesh(data=2, fsdp=4)
  with jax.enable_x64(True):
    three = programs({**PPO, 'epochs': 2})
    base = evaluate(*three, packed_batch(rollout, rewards, **LAYOUTS[0]))
    for layout in (LAYOUTS[2], dict(packed=True, rows=8, row_length=40, mesh=mesh)):
      other = evaluate(*three, packed_batch(rollout, rewards, **layout))
      assert_equal_gradients(base, other, 1e-10)


@pytest.mark.thorough
def test_float32_is_close_and_unscorable_samples_have_no_influence():
  rollout, rewards = random_rollout(1)
  poisoned = rollout.replace(
    tokens=np.where(np.isnan(rewards)[:, None] & rollout.action_mask, 5, rollout.tokens)
  )
  three = programs(GRPO, dtype='float32')
  one, two, other = (
    evaluate(*three, packed_batch(samples, rewards, **layout, dtype='float32'))
    for samples, layout in ((rollout, LAYOUTS[0]), (rollout, LAYOUTS[2]), (poisoned, LAYOUTS[2]))
  )
  assert_equal_gradients(one, two, 1e-5)
  assert_equal_gradients(two, other, 1e-6)


def test_one_program_for_all_batches_and_schedules():
  rate = dict(schedule='linear', start=0.3, end=0.1, steps=4)
  stage = {**PPO, 'epochs': 2, 'minibatches': 2}
  stage['loss'] = dict(name='losses.clipped_surrogate', clip_low=rate)
  step, state, hyper, frozen = make(stage, epochs=2)
  for iteration in range(4):
    state, metrics = step(state, frozen, batches(iteration, minibatches=2), hyper(iteration))
    assert all(np.isfinite(v) for v in jax.tree.leaves(metrics)), metrics
  assert step._cache_size() == 1
  assert int(state.step) == 16
  for name in ('policy/kl_ref', 'value/loss', 'policy/entropy', 'update/grad_norm'):
    assert name in metrics


def test_on_policy_has_no_second_forward_and_ratio_one():
  terms = objective.build(GRPO)
  assert terms.on_policy and not terms.needs
  step, state, hyper, _ = make(GRPO)
  _, metrics = step(state, {}, batches(0), hyper())
  assert float(metrics['policy/ratio_max']) == 1.0
  assert objective.build({**GRPO, 'epochs': 2}).needs == {'old_logprobs'}
  assert objective.build({**GRPO, 'minibatches': 4}).needs == {'old_logprobs'}


def test_terms_without_coefficient_leave_the_program():
  stage = {**GRPO, 'kl': dict(name='regularizers.reverse_kl'), 'kl_coef': 0.0}
  assert 'ref_logprobs' not in objective.build(stage).needs
  assert objective.build({**stage, 'kl_coef': 0.1}).needs == {'ref_logprobs'}


def test_learning_rate_zero_changes_nothing():
  step, state, hyper, _ = make(GRPO, learning_rate=0.0)
  before = jax.tree.map(np.array, state.params)
  state, _ = step(state, {}, batches(0), hyper())
  for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state.params)):
    np.testing.assert_array_equal(a, b)


def test_a_step_raises_the_logprob_of_what_was_rewarded():
  rollout, _ = random_rollout(0)
  rewards = np.where(np.arange(24) % 4 == 0, 1.0, 0.0)
  layout = make_layout(samples=24, group_size=4, max_length=20, rows=2, row_length=40)
  batch, _ = pack(rollout, rewards, layout)
  step, state, hyper, _ = make(GRPO)
  policy = model('float32')

  def rewarded(params):
    rows = {name: jnp.asarray(rollout.tokens) for name in ('tokens',)}
    rows['segment_ids'] = jnp.where(rollout.mask, 0, -1)
    rows['positions'] = jnp.broadcast_to(jnp.arange(20)[None, :], rollout.tokens.shape)
    out = forward.forward(
      policy, params, rows, jnp.ones(rollout.tokens.shape), statistics=('logprobs',)
    )
    total = jnp.sum(jnp.where(rollout.action_mask, out['logprobs'], 0), axis=1)
    return float(jnp.sum(total * (rewards - 0.25)))

  before = rewarded(state.params['policy'])
  state, _ = step(state, {}, batch, hyper())
  assert rewarded(state.params['policy']) > before


def test_a_gradient_that_is_not_finite_changes_nothing():
  step, state, hyper, _ = make(GRPO)
  params = jax.tree.map(lambda x: x, state.params)
  params['policy']['final_norm'] = params['policy']['final_norm'].at[0].set(jnp.inf)
  state = state.replace(params=params)
  before = jax.tree.map(np.array, state.params)
  state, metrics = step(state, {}, batches(0), hyper())
  assert float(metrics['update/skipped']) == 1.0
  for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state.params)):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (dict(loss=dict(name='losses.clipped_surrogate', clip_hgih=0.3)), 'unknown hyper-parameter'),
    (dict(advantage=None), 'takes advantages'),
    (
      dict(kl=dict(name='regularizers.kl_reward'), kl_coef=0.1, kl_placement='reward'),
      'rescales the KL',
    ),
    (dict(kl=dict(name='regularizers.kl_reward'), kl_coef=0.1), 'would not be that of the KL'),
    (dict(value=dict(name='losses.clipped_value')), 'makes no use of values'),
    (dict(kl_placement='both', kl_coef=0.1), "one of 'loss', 'reward'"),
  ],
)
def test_wrong_combinations_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    objective.build({**GRPO, **change})


def test_kl_in_the_reward_of_a_sequence_is_its_sum():
  stage = {
    **GRPO,
    'advantage': dict(name='advantages.leave_one_out'),
    'kl': dict(name='regularizers.kl_reward'),
    'kl_coef': 0.1,
    'kl_placement': 'reward',
  }
  step, state, hyper, frozen = make(stage)
  _, metrics = step(state, frozen, batches(0), hyper())
  assert np.isfinite(float(metrics['policy/kl_ref']))


def test_no_scatter_add_in_the_update_but_the_embedding():
  step, state, hyper, frozen = make({**PPO, 'epochs': 2})
  text = step.lower(state, frozen, batches(0), hyper()).as_text()
  added = re.findall(r'stablehlo\.scatter"(?:.*\n)(?:.*\n)?.*stablehlo\.add.*tensor<f', text)
  assert len(added) == 1, added  # of the embedding's gradient
