"""Selections, corrections, derived arrays, shaping, controllers: what reaches which term, and when.

Everything that spans samples is made before a minibatch is cut, so micro-batches, packing and
devices change neither loss nor gradient.
"""

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
  moved,
  packed_batch,
  programs,
)

from rljax import checkpoint, masking, sharding

OFF_POLICY = {**GRPO, 'epochs': 2}  # the old log-probs come from a forward pass


def selected(name, **hyper):
  return {'selections': {'mine': dict(name=f'selection.{name}', **hyper)}}


def corrected(name, **hyper):
  return {'correction': dict(name=f'corrections.{name}', **hyper)}


TOKEN_WEIGHTS = {
  'clip-cov': selected('covariance_subset', fraction=0.1, low=0.5, high=1.0, bounds='quantile'),
  'm2po': selected('m2po', threshold=0.3),
  'high_entropy': selected('high_entropy', fraction=0.3),
  'zero_variance': selected('zero_variance'),
  'overlong_filter': selected('overlong_filter'),
  'token_truncate': corrected('token_truncate'),
  'sequence_mask': corrected('sequence_mask'),
  'all at once': {
    'selections': {
      **selected('m2po', threshold=1.0)['selections'],
      'long': dict(name='selection.overlong_filter', denominator='all'),
      'some': dict(name='selection.random_tokens', fraction=0.7),
    },
    **corrected('token_mask', denominator='kept'),
  },
}
GROUPS = dict(group_size=4, whole_groups=True)


def sampled_groups(seed):
  """A rollout with a group of equal rewards and one unscorable sample."""
  rollout, rewards = random_rollout(seed)
  rewards[4:8] = 1
  return rollout, rewards


def layouts(**sizes):
  """All samples in one micro-batch; several micro-batches of packed rows; packed on 8 devices."""
  mesh = sharding.make_mesh(data=2, fsdp=4)
  on_mesh = dict(packed=True, rows=8, row_length=40, mesh=mesh)
  return [{**layout, **sizes} for layout in (LAYOUTS[0], LAYOUTS[2], on_mesh)]


@pytest.mark.slow
def test_what_spans_samples_is_the_same_in_each_layout():
  """For every selection and correction: one program makes the weights of all of them."""
  rollout, rewards = sampled_groups(1)
  with jax.enable_x64(True):
    made = {name: programs({**OFF_POLICY, **change}) for name, change in TOKEN_WEIGHTS.items()}
    made['none'] = programs(OFF_POLICY)
    prepared = jax.jit(lambda p, b: {n: made[n][0].__wrapped__(p, b) for n in made})
    _, gradient, params = made['none']
    later, found = moved(params), {name: [] for name in made}
    for layout in layouts():
      for name, batch in prepared(params, packed_batch(rollout, rewards, **layout)).items():
        found[name].append(evaluate(lambda _, batch: batch, gradient, params, batch, later))
    for first, *others in found.values():
      assert any(float(jnp.abs(g).max()) > 0 for _, g in first[1])
      for other in others:
        assert_equal_gradients(first, other, 1e-10)
  assert len({round(results[0][0], 8) for results in found.values()}) == len(found)


OWN_LOSSES = {
  'kl_cov': dict(
    loss=dict(name='losses.kl_cov'),
    derived=dict(covariance_selected=dict(name='selection.covariance_top', fraction=0.2)),
  ),
  'gspo': dict(
    loss=dict(name='losses.gspo', clip_low=0.3, clip_high=0.3),
    weights=dict(name='weighting.seq_mean_token_mean'),
  ),
  'rebel': dict(
    loss=dict(name='losses.rebel'), weights=dict(name='weighting.group_mean'), advantage=None
  ),
  'dpo': dict(
    loss=dict(name='losses.dpo'), weights=dict(name='weighting.group_mean'), advantage=None
  ),
  'tdpo': dict(  # with the KL over the vocabulary, summed over each sample
    loss=dict(name='losses.tdpo'), weights=dict(name='weighting.group_mean'), advantage=None
  ),
}


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[] if name == 'kl_cov' else pytest.mark.thorough)
    for name in OWN_LOSSES
  ],
)
def test_losses_of_tokens_samples_groups_and_pairs_are_the_same_in_each_layout(name):
  rollout, rewards = sampled_groups(2)
  sizes = GROUPS if OWN_LOSSES[name].get('advantage', True) is None else {}
  with jax.enable_x64(True):
    prepared, gradient, params = programs({**OFF_POLICY, **OWN_LOSSES[name]})
    first, *others = (
      evaluate(prepared, gradient, params, packed_batch(rollout, rewards, **layout), moved(params))
      for layout in layouts(**sizes)
    )
    assert all(float(jnp.abs(g).max()) > 0 for path, g in first[1] if 'value' not in str(path))
    for other in others:
      assert_equal_gradients(first, other, 1e-10)


@pytest.mark.parametrize(
  'change, same',
  [
    # As if they had never been drawn: the loss of a group may stand on any of its samples.
    (selected('overlong_filter'), lambda rewards, lost: np.where(lost, np.nan, rewards)),
    (
      dict(reward_shaping=dict(mine=dict(name='shaping.scale_reward', scale=2.0, bias=0.5))),
      lambda rewards, lost: 2 * (rewards + 0.5),
    ),
  ],
  ids=['selected', 'shaped'],
)
def test_a_loss_of_groups_sees_what_is_kept_and_shaped(change, same):
  rollout, rewards = sampled_groups(2)
  stage, layout = {**OFF_POLICY, **OWN_LOSSES['rebel']}, layouts(**GROUPS)[1]
  with jax.enable_x64(True):
    plain, gradient, params = programs(stage)
    prepared = programs({**stage, **change})[0]
    given = same(rewards, rollout.truncated)
    assert np.isfinite(given).sum() >= 8
    found = evaluate(prepared, gradient, params, packed_batch(rollout, rewards, **layout))
    expected = evaluate(plain, gradient, params, packed_batch(rollout, given, **layout))
    assert_equal_gradients(found, expected, 1e-10)


# -- which tokens each term counts


ALL_TERMS = {**PPO, 'epochs': 2}


def prepared_weights(change, seed=1):
  """(weights by term, tokens of scored samples, truncated, batch) in numpy."""
  rollout, rewards = sampled_groups(seed)
  prepared, _, params = programs({**ALL_TERMS, **change}, dtype='float32')
  batch = packed_batch(rollout, rewards, **LAYOUTS[2], dtype='float32')
  out = jax.device_get(prepared(params, batch))
  places = (jnp.asarray(batch.sample_ids), jnp.asarray(batch.segment_ids))

  def on_tokens(x):
    padded = np.zeros(len(batch.group_ids), x.dtype)
    padded[: len(x)] = x
    return np.asarray(masking.sample_to_token(jnp.asarray(padded), *places))

  scored = batch.action_mask & on_tokens(np.isfinite(rewards))
  return out.weights, scored, on_tokens, (rollout, rewards)


@pytest.mark.parametrize('denominator', ['all', 'kept'])
def test_a_selection_leaves_kl_entropy_and_values_alone(denominator):
  change = selected('overlong_filter', denominator=denominator)
  weights, scored, on_tokens, (rollout, _) = prepared_weights(change)
  kept = scored & ~on_tokens(rollout.truncated)
  assert 0 < kept.sum() < scored.sum()
  for term in ('full', 'value'):
    np.testing.assert_allclose(weights[term], scored / scored.sum(), rtol=1e-6)
  count = {'all': scored, 'kept': kept}[denominator].sum()
  np.testing.assert_allclose(weights['policy'], kept / count, rtol=1e-6)


@pytest.mark.parametrize('denominator', ['all', 'kept'])
def test_a_correction_leaves_kl_entropy_and_values_alone(denominator):
  change = corrected('token_mask', min_weight=0.6, max_weight=3.0, denominator=denominator)
  weights, scored, _, _ = prepared_weights(change)
  for term in ('full', 'value'):
    np.testing.assert_allclose(weights[term], scored / scored.sum(), rtol=1e-6)
  kept = weights['policy'] > 0
  assert 0 < kept.sum() < scored.sum() and not np.any(kept & ~scored)
  ratio = weights['policy'][kept] * {'all': scored, 'kept': kept}[denominator].sum()
  assert 0.6 <= ratio.min() < 1 < ratio.max() <= 3 * (1 + 1e-6)


def test_shaping_by_nan_takes_a_sample_out_of_policy_and_value_only():
  """A sample without a reward has no advantage and no return to learn; its tokens are sampled."""
  change = dict(
    reward_shaping=dict(few=dict(name='selection.downsampled_rewards', count=2)),
  )
  weights, scored, on_tokens, (rollout, rewards) = prepared_weights(change)
  length = rollout.num_tokens - rollout.prompt_length
  shortest = np.zeros(24, bool)
  for group in range(6):
    members = [i for i in range(4 * group, 4 * group + 4) if np.isfinite(rewards[i])]
    shortest[sorted(members, key=lambda i: length[i])[:2]] = True
  kept = scored & on_tokens(shortest)
  np.testing.assert_allclose(weights['full'], scored / scored.sum(), rtol=1e-6)
  for term in ('policy', 'value'):
    np.testing.assert_allclose(weights[term], kept / kept.sum(), rtol=1e-6)


# -- over iterations


TARGET, HORIZON = 0.05, 200.0
STEERED = {
  **GRPO,
  'loss': dict(
    name='losses.clipped_surrogate',
    clip_high=dict(schedule='linear', start=0.3, end=0.1, steps=3),
  ),
  'reward_shaping': dict(
    scale=dict(name='shaping.running_normalize'), again=dict(name='shaping.running_normalize')
  ),
  'kl': dict(name='regularizers.reverse_kl'),
  'kl_coef': 0.4,
  'kl_controller': dict(name='regularizers.adaptive_kl', target=TARGET, horizon=HORIZON),
}


@pytest.mark.thorough
def test_a_controller_moves_its_coefficient_and_is_in_the_checkpoint(tmp_path):
  step, state, hyper, frozen = make(STEERED)
  plain = {k: v for k, v in STEERED.items() if k != 'kl_controller'}
  alone, other, plain_hyper, _ = make(plain)
  expected, seen = 0.4, []
  for iteration in range(3):
    batch = batches(iteration)
    if iteration == 2:
      with checkpoint.Checkpointer(tmp_path) as saver:
        saver.save(1, state, {})
        state, _ = saver.restore(jax.tree.map(lambda x: x, state))
    state, metrics = step(state, frozen, batch, hyper(iteration))
    given = plain_hyper(iteration)
    given['coefficients']['kl'] = expected
    other, _ = alone(other, frozen, batch, given)  # the same, told its coefficient
    for a, b in zip(*(jax.tree.leaves(s.params) for s in (state, other))):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert float(metrics['method/adaptive_kl/kl_coef']) == pytest.approx(expected, rel=1e-6)
    seen.append(float(metrics['policy/kl_ref']))
    expected *= 1 + np.clip(seen[-1] / TARGET - 1, -0.2, 0.2) * 24 / HORIZON
    memory = state.method_state
    assert float(memory['kl_controller']['state']) == pytest.approx(expected, rel=1e-6)
  assert step._cache_size() == 1
  assert len(set(seen)) == 3 and expected != 0.4
  # Two of one function remember apart: the second one sees what the first has made.
  scale, again = (memory[f'reward_shaping.{name}'] for name in ('scale', 'again'))
  assert int(scale['count']) == int(again['count']) == 3 * 23
  assert float(scale['squares']) != pytest.approx(float(again['squares']), rel=1e-3)


def test_the_samplers_log_probs_serve_as_the_old_ones(monkeypatch):
  """No pass is made for them; a selection and the loss see the sampler's."""
  rollout, rewards = sampled_groups(1)
  stage = {**OFF_POLICY, **selected('m2po', threshold=0.1), 'old_logprobs': 'sampler'}
  monkeypatch.setattr('rljax.prepare.forward', None)
  prepared, _, params = programs(stage, dtype='float32')
  batch = packed_batch(rollout, rewards, **LAYOUTS[2], dtype='float32')
  out = prepared(params, batch)
  np.testing.assert_array_equal(out.old_logprobs, batch.policy_logprobs)
  kept = np.asarray(out.weights['policy']) != 0
  np.testing.assert_array_equal(kept, np.asarray(out.weights['full']) != 0)  # no gap, no outlier


@pytest.mark.thorough
def test_a_correction_wants_the_trainers_log_probs_of_a_single_step_too():
  """And the loss the present ones: its ratio is 1."""
  rollout, rewards = sampled_groups(1)
  prepared, gradient, params = programs(
    {**GRPO, **corrected('token_truncate', max_weight=1e9)}, dtype='float32'
  )
  batch = prepared(params, packed_batch(rollout, rewards, **LAYOUTS[2], dtype='float32'))
  weights = {name: np.asarray(x) for name, x in batch.weights.items()}
  there = weights['full'] != 0
  ratio = np.exp(np.asarray(batch.old_logprobs - batch.policy_logprobs))[there]
  np.testing.assert_allclose((weights['policy'] / weights['full'].max())[there], ratio, rtol=1e-5)
  assert ratio.std() > 0.1
  assert float(gradient(moved(params), batch)[1]['policy/ratio_max']) == 1.0
