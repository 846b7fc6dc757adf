"""Losses with a clipped ratio: signs, golden values, edges, identities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches
from reference import policy_losses as reference

from rljax import losses, masking, weighting
from rljax.binding import signature

BATCH = {
  n: jnp.asarray(x, jnp.float32) if x.dtype == float else jnp.asarray(x)
  for n, x in batches.packed(3).items()
}
MASK = BATCH['action_mask']
# A constant advantage in each sample: that of its first slot.
FIRST = np.array(batches.packed(3)['advantages'])
for _, places in batches.samples(batches.packed(3)):
  for place in places:
    FIRST[place] = FIRST[places[0]]
BATCH['advantages'] = jnp.asarray(FIRST, jnp.float32)


def call(function, arrays, **hyper):
  return function(*(arrays[n] for n in signature(function).arrays), **hyper)


@functools.partial(jax.jit, static_argnums=0)
def compiled(function, arrays, weights, hyper):
  def total(logprobs):
    loss = call(function, arrays | {'logprobs': logprobs}, **hyper)[0]
    return jnp.sum(jnp.where(arrays['action_mask'], loss, 0) * weights), loss

  (_, loss), gradient = jax.value_and_grad(total, has_aux=True)(arrays['logprobs'])
  return loss, gradient


def value_and_gradient(function, arrays=BATCH, weights=1.0, **hyper):
  """(loss, ∂Σ weights·loss/∂ℓ), both as numpy."""
  return jax.tree.map(np.asarray, compiled(function, arrays, weights, hyper))


def single_tokens(log_ratio, advantages, old=None):
  """One token in each sample and row, drawn with probability .4 unless said."""
  log_ratio = jnp.asarray(log_ratio, jnp.float32)[:, None]
  anchor = jnp.full(log_ratio.shape, jnp.log(0.4)) if old is None else jnp.asarray(old)[:, None]
  return {
    'logprobs': anchor + log_ratio,
    'old_logprobs': anchor,
    'policy_logprobs': anchor,
    'advantages': jnp.broadcast_to(jnp.asarray(advantages, jnp.float32), log_ratio.shape),
    'action_mask': jnp.ones(log_ratio.shape, bool),
    'segment_ids': jnp.zeros(log_ratio.shape, jnp.int32),
    'sample_ids': jnp.arange(log_ratio.shape[0], dtype=jnp.int32)[:, None],
    'covariance_selected': jnp.zeros(log_ratio.shape),
    'ratio_low': jnp.full(log_ratio.shape, 0.8),
    'ratio_high': jnp.full(log_ratio.shape, 1.2),
    'policy_step': jnp.full(log_ratio.shape, 3, jnp.int32),
    'prox_step': jnp.int32(3),
    'step': jnp.int32(5),
  }


RATIOS = [0.4, 1.0, 2.0]  # below, in and above the band of each
CLIPPED = {-1.0: [0, 1, 1], 0.0: [0, 0, 0], 1.0: [1, 1, 0]}
KEPT = {-1.0: [1, 1, 1], 0.0: [0, 0, 0], 1.0: [1, 1, 1]}


@pytest.mark.parametrize(
  ('name', 'active'),
  [
    *((n, CLIPPED) for n in ('clipped_surrogate', 'gspo', 'gspo_token', 'sequence_clipped')),
    *((n, CLIPPED) for n in ('gmpo', 'dppo_tv', 'dppo_kl', 'aspo', 'dcpo', 'bapo')),
    ('approximate_prox_surrogate', CLIPPED),
    *((n, KEPT) for n in ('cispo', 'sapo', 'kl_cov', 'bounded_gradient_clip', 'reinforce')),
  ],
)
def test_signs_of_the_gradient(name, active):
  """A > 0 pushes up until the upper bound, A < 0 pushes down until the lower one."""
  for advantage, expected in active.items():
    arrays = single_tokens(np.log(RATIOS), advantage)
    _, gradient = value_and_gradient(getattr(losses, name), arrays)
    np.testing.assert_array_equal(np.sign(gradient[:, 0]), -advantage * np.array(expected))


@pytest.mark.parametrize('name', ['gspo', 'gspo_token', 'sequence_clipped', 'gmpo'])
def test_a_sample_of_one_token_is_ppo(name):
  rng = np.random.default_rng(0)
  arrays = single_tokens(rng.normal(size=40), rng.normal(size=(40, 1)))
  bounds = {'clip_low': 0.2, 'clip_high': 0.3}
  expected = value_and_gradient(losses.clipped_surrogate, arrays, **bounds)
  if name == 'gmpo':
    bounds = {'clip_low': -np.log(0.8), 'clip_high': np.log(1.3)}
  found = value_and_gradient(getattr(losses, name), arrays, **bounds)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_gspo_and_gspo_token_agree_where_a_sample_has_one_advantage():
  bounds = {'clip_low': 0.1, 'clip_high': 0.1}
  first = value_and_gradient(losses.gspo, **bounds)
  second = value_and_gradient(losses.gspo_token, **bounds)
  np.testing.assert_allclose(first[0][MASK], second[0][MASK], rtol=1e-6)
  np.testing.assert_allclose(first[1], second[1], atol=1e-6)
  clipped = np.asarray(first[1] == 0)[MASK]
  assert 0 < clipped.mean() < 1


def test_luspo_is_gspo_token_with_the_sum_over_tokens():
  names = ('action_mask', 'segment_ids', 'sample_ids')
  mean, total = (
    getattr(weighting, name)(*(BATCH[n] for n in names))
    for name in ('seq_mean_token_mean', 'seq_mean_token_sum')
  )
  lengths = jnp.where(MASK, total / jnp.where(mean > 0, mean, 1), 0)  # LUSPO's factor T_i
  bounds = {'clip_low': 0.1, 'clip_high': 0.1}
  luspo = value_and_gradient(losses.gspo, weights=lengths * mean, **bounds)[1]
  found = value_and_gradient(losses.gspo_token, weights=total, **bounds)[1]
  assert lengths.max() > 1
  np.testing.assert_allclose(found, luspo, atol=1e-7)


def test_gmpo_without_clipping_is_gspo_without_clipping():
  wide = {'clip_low': 1e3, 'clip_high': 1e3}
  found, expected = (value_and_gradient(f, **wide) for f in (losses.gmpo, losses.gspo))
  np.testing.assert_allclose(found[0][MASK], expected[0][MASK], rtol=1e-5)
  np.testing.assert_allclose(found[1], expected[1], atol=1e-6)


def test_the_two_sided_clip_is_the_dual_clip():
  """min(min(r, δ)·A, clip(r)·A), differentiated by cases, for δ ≥ 1 + ε."""
  log_ratio = np.linspace(-2.0, 2.5, 46) + 0.01  # no point on an edge
  for advantage in (-1.3, 0.0, 0.7):
    arrays = single_tokens(log_ratio, advantage)
    loss, gradient = value_and_gradient(losses.clipped_surrogate, arrays, dual_clip=4.0)
    ratio = np.exp(log_ratio.astype(np.float32))[:, None]
    capped, inside = np.minimum(ratio, 4.0), np.clip(ratio, 0.8, 1.2)
    expected = -np.minimum(capped * advantage, inside * advantage)
    live = np.where(capped * advantage <= inside * advantage, ratio < 4, ratio == inside)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, -advantage * ratio * live, rtol=1e-5)


def test_bounded_gradients_are_between_ppo_and_its_gradient_on_the_bound():
  plain = value_and_gradient(losses.clipped_surrogate)
  value, gradient = value_and_gradient(losses.bounded_gradient_clip)
  np.testing.assert_allclose(value[MASK], plain[0][MASK], rtol=1e-6)
  clipped = MASK & (np.asarray(plain[1]) == 0)
  assert clipped.any()
  # In the band ∂(−A·r) is the value itself, and on a bound too.
  np.testing.assert_allclose(gradient[MASK], plain[0][MASK], rtol=1e-5)
  off = value_and_gradient(losses.bounded_gradient_clip, beta_low=0.0, beta_high=0.0)[1]
  np.testing.assert_allclose(off, plain[1], rtol=1e-6)


def test_dppo_without_bounds_is_the_importance_weighted_loss_and_prime_rl_adds_a_square():
  wide = {'clip_low': 1e9, 'clip_high': 1e9}
  arrays = BATCH | {'old_logprobs': BATCH['policy_logprobs']}
  expected = value_and_gradient(losses.clipped_surrogate, arrays, **wide)
  for function in (losses.dppo_tv, losses.dppo_kl):
    found = value_and_gradient(function, **wide)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
  plain, pulled = value_and_gradient(losses.dppo_tv), value_and_gradient(losses.prime_rl)
  gap = np.where(MASK, BATCH['logprobs'] - BATCH['policy_logprobs'], 0)
  np.testing.assert_allclose((pulled[0] - plain[0])[MASK], 1e-3 * gap[MASK] ** 2, atol=1e-6)
  np.testing.assert_allclose(pulled[1] - plain[1], 2e-3 * gap, atol=1e-6)


def test_rare_tokens_may_move_by_large_ratios_in_dppo():
  arrays = single_tokens(np.log([5.0, 1.7]), 1.0, old=np.log([0.001, 0.5]))
  for function in (losses.dppo_tv, losses.dppo_kl):
    _, gradient = value_and_gradient(function, arrays)
    assert gradient[0, 0] != 0 and gradient[1, 0] == 0


def test_kl_cov_does_nothing_where_the_policies_agree():
  arrays = BATCH | {'old_logprobs': BATCH['logprobs'], 'covariance_selected': MASK}
  loss, gradient = value_and_gradient(losses.kl_cov, arrays, penalty=7.0)
  np.testing.assert_allclose(gradient, np.where(MASK, -BATCH['advantages'], 0), rtol=1e-6)
  np.testing.assert_allclose(loss[MASK], gradient[MASK], rtol=1e-6)


def test_aspo_weighs_what_is_reinforced_by_the_reciprocal_ratio():
  ratio = np.array([0.1, 0.5, 1.1])
  for advantage, weight in ((2.0, [3.0, 2.0, 1 / 1.1]), (-2.0, [0.0, 0.0, 1.1])):
    _, gradient = value_and_gradient(losses.aspo, single_tokens(np.log(ratio), advantage))
    np.testing.assert_allclose(gradient[:, 0], -advantage * np.array(weight), rtol=1e-5)
  _, gradient = value_and_gradient(losses.aspo, single_tokens([2.0], -1.0))
  assert gradient == pytest.approx(3.0)  # the dual clip keeps the gradient


def test_bounds_of_dcpo():
  probability = np.array([1.0, 0.5, 1e-3])
  for advantage, bound in ((1.0, [1.170820, 1.306226, 10.0]), (-1.0, [0.8, 0.5, 0.5])):
    for shift, active in ((1e-3, advantage < 0), (-1e-3, advantage > 0)):
      arrays = single_tokens(np.log(np.array(bound) + shift), advantage, np.log(probability))
      _, gradient = value_and_gradient(losses.dcpo, arrays)
      assert np.all((gradient != 0) == active)
  # The dual clip, at any probability.
  arrays = single_tokens(np.log([9.9, 10.1]), -1.0, np.log([1e-3, 1e-3]))
  loss, gradient = value_and_gradient(losses.dcpo, arrays)
  np.testing.assert_allclose(loss[:, 0], [9.9, 10.0], rtol=1e-5)
  np.testing.assert_array_equal(gradient[:, 0] > 0, [1, 0])


def test_the_interpolated_policy_is_exact_on_a_line():
  """Log-probs that move by the same amount each step: decoupled PPO with the policy itself."""
  steps = np.asarray(BATCH['policy_step'])
  speed = np.random.default_rng(1).normal(size=steps.shape).astype(np.float32) / 8
  old = BATCH['policy_logprobs'] + (4 - steps) * speed
  arrays = BATCH | {
    'old_logprobs': old,
    'logprobs': BATCH['policy_logprobs'] + (7 - steps) * speed,
  }
  weight = jnp.minimum(jnp.exp(old - arrays['policy_logprobs']), 1.2)
  expected = value_and_gradient(losses.clipped_surrogate, arrays, weights=weight)
  found = value_and_gradient(losses.approximate_prox_surrogate, arrays, max_weight=1.2)
  np.testing.assert_allclose(found[0][MASK], (weight * expected[0])[MASK], rtol=1e-4)
  np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-5)
  assert np.any(weight == 1.2) and np.any(found[1][MASK] == 0)


def test_at_the_first_step_the_proximal_policy_is_the_present_one():
  arrays = BATCH | {'step': jnp.int32(4), 'prox_step': jnp.int32(4)}
  _, gradient = value_and_gradient(losses.approximate_prox_surrogate, arrays)
  weight = jnp.minimum(jnp.exp(BATCH['logprobs'] - BATCH['policy_logprobs']), 5.0)
  expected = np.where(MASK, -weight * BATCH['advantages'], 0)
  np.testing.assert_allclose(gradient, expected, rtol=1e-5)


# The last pair, a middle one of the lower and of the upper bound, the first pair.
@pytest.mark.parametrize('shift', [0.0, 0.47, 0.55, 1.0])
def test_balanced_bounds_are_the_first_that_suffice(shift):
  batch = batches.packed(4)
  mask = batch['action_mask']
  moved = np.random.default_rng(5).normal(size=mask.shape)
  batch['policy_logprobs'] = batch['old_logprobs'] - moved
  batch['advantages'] = batch['advantages'] + shift
  names = signature(losses.balanced_bound).arrays
  with jax.enable_x64(True):
    arrays = {n: jnp.where(mask, batch[n], np.nan) for n in names} | {'action_mask': mask}
    low, high = (
      call(losses.balanced_bound, arrays, side=side, num_steps=6) for side in ('low', 'high')
    )
  ratios = np.exp(batch['old_logprobs'] - batch['policy_logprobs'])[mask]
  expected = reference.balanced_bounds(ratios, batch['advantages'][mask], steps=6)
  assert low.shape == high.shape == mask.shape
  np.testing.assert_allclose(np.unique(low), [expected[0]])
  np.testing.assert_allclose(np.unique(high), [expected[1]])


def test_the_dual_clip_takes_the_gradient_beyond_it():
  arrays = single_tokens(np.log([0.5, 0.8, 1.0, 1.2, 2.0, 4.0]), -1.0)
  hyper = {'clip_low': 0.2001, 'dual_clip': 3.0}  # 0.8 is inside
  _, gradient = value_and_gradient(losses.clipped_surrogate, arrays, **hyper)
  np.testing.assert_array_equal(gradient[:, 0] > 0, [0, 1, 1, 1, 1, 0])


def test_an_edge_of_the_band_has_the_full_gradient():
  def loss(l, clip):
    return jnp.sum(losses.clipped_surrogate(l, jnp.zeros(1), jnp.ones(1), clip_high=clip)[0])

  assert jax.grad(loss)(jnp.zeros(1), 0.0) == -1.0


def test_golden_values():
  # One token, band 0.2, dual clip 3, SAPO with 1 and 1.05; from an independent program.
  for log_ratio, advantage, plain, dual, smooth in (
    (0.5, -1.0, 1.648721, 1.648721, 2.529512),
    (1.5, -1.0, 4.481689, 3.0, 3.713560),
    (0.5, 1.0, -1.2, -1.2, -2.626889),
    (-0.5, -1.0, 0.8, 0.8, None),
    (-0.5, 1.0, -0.606531, -0.606531, None),
  ):
    arguments = (jnp.float32(log_ratio), jnp.float32(0), jnp.float32(advantage))
    assert losses.clipped_surrogate(*arguments)[0] == pytest.approx(plain, abs=1e-6)
    found, seen = losses.clipped_surrogate(*arguments, dual_clip=3.0)
    assert found == pytest.approx(dual, abs=1e-6)
    assert seen['ratio_max'] == pytest.approx(np.exp(log_ratio), rel=1e-6)
    if smooth is not None:
      assert losses.sapo(*arguments)[0] == pytest.approx(smooth, abs=2e-6)


def test_diagnostics():
  log_ratio = jnp.log(jnp.array([0.5, 1.0, 1.5, 4.0, 0.5, 1.5]))
  a = jnp.array([-1.0, -1.0, -1.0, -1.0, 1.0, 1.0])
  _, seen = losses.clipped_surrogate(log_ratio, jnp.zeros(6), a, dual_clip=3.0)
  np.testing.assert_array_equal(seen['clip_low'], [1, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(seen['clip_high'], [0, 0, 0, 1, 0, 1])
  assert np.all(np.asarray(seen['kl_old']) >= 0)
  _, seen = losses.cispo(log_ratio, jnp.zeros(6), a, clip_low=0.6, clip_high=2.0)
  np.testing.assert_array_equal(seen['clip_low'], [1, 0, 0, 0, 1, 0])
  np.testing.assert_array_equal(seen['clip_high'], [0, 0, 0, 1, 0, 0])


def test_unknown_choices_are_errors():
  with pytest.raises(ValueError, match="drop 'inward'"):
    losses.dppo_tv(jnp.zeros(1), jnp.zeros(1), jnp.zeros(1), drop='inward')
  with pytest.raises(ValueError, match="side 'upper'"):
    losses.balanced_bound(*jnp.zeros((4, 1)), side='upper')


@pytest.mark.thorough
def test_sspo_clips_the_ratio_of_a_step_in_a_band_that_follows_its_entropy():
  # Two steps of geometric means e^0.1 and e^0.3; tool output stands within the first.
  gaps = np.array([[0.3, 9.0, -0.1, 0.3, 0.3, 0.3]], np.float32)
  entropy = np.array([[0.1, 9.0, 0.1, 1.0, 1.0, 1.0]], np.float32)
  mask = np.array([[True, False, True, True, True, True]])
  steps = np.array([[0, 7, 0, 1, 1, 1]], np.int32)
  ones, zeros = np.ones((1, 6), np.float32), np.zeros((1, 6), np.int32)
  rest = (0 * ones, ones, entropy, mask, zeros, zeros[:, :1], steps)

  def gradient(**hyper):
    def total(x):
      return masking.weighted_sum(losses.sspo(x, *rest, **hyper)[0], mask.astype(np.float32))

    return np.asarray(jax.grad(total)(jnp.asarray(gaps)))[0]

  first = -np.exp(0.1) * np.array([1, 0, 1, 0, 0, 0])
  second = -np.exp(0.3) * np.array([0, 0, 0, 1, 1, 1])
  for hyper, expected in (
    ({'max_width': 1.0}, first),  # e^0.3 is above 1.25
    ({}, first + second),  # the second step may go to 1 + 0.25/0.64
    ({'max_width': 3.0}, second),  # and the first to 1 + 0.25/3 only
  ):
    found = gradient(clip_low=0.25, clip_high=0.25, **hyper)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
