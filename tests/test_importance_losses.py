"""Importance-weighted, off-policy and hybrid losses: exact expectations, identities, edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches, tree

from rljax import advantages, losses, masking, regularizers

BATCH = batches.packed(3)
MASK = BATCH['action_mask']
ARRAYS = {name: jnp.asarray(x) for name, x in BATCH.items()}
WHERE = tuple(ARRAYS[n] for n in ('action_mask', 'segment_ids', 'sample_ids'))
ROWS = (tree.MASK, tree.SEGMENTS, tree.PLACES)
PLACES = (ARRAYS['segment_ids'], ARRAYS['sample_ids'])


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def slope(loss, logprobs, weights=MASK):
  """∇ Σ weights·loss with respect to ℓ."""
  weights = jnp.asarray(weights)
  return jax.jit(jax.grad(lambda l: masking.weighted_sum(loss(l)[0], weights)))(logprobs)


# -- expectations


def weighted(level, rewards):
  """The unbounded importance-weighted gradient on samples of the sampler, as a function of θ."""

  def loss(theta):
    l, old = tree.logprobs(theta), tree.logprobs(tree.SAMPLER)
    bounds = {'min_ratio': 0.0, 'max_ratio': 1e9, 'level': level}
    return losses.truncated_reinforce(l, old, tree.to_tokens(rewards), *ROWS, **bounds)[0]

  return tree.expected(loss, tree.SAMPLER)


@pytest.mark.parametrize('rewards', [tree.BINARY, tree.GRADED], ids=['binary', 'graded'])
def test_ratios_of_completions_give_the_gradient_of_the_reward_and_ratios_of_tokens_do_not(
  float64, rewards
):
  found = tree.gradients(
    {
      'exact': tree.minus_reward(rewards),
      'sequence': weighted('sequence', rewards),
      'token': weighted('token', rewards),
    }
  )
  assert tree.close(found['sequence'], found['exact'])
  assert tree.far(found['token'], found['exact'])


def test_importance_sampling_is_exact_for_completions_of_one_token(float64):
  rng = np.random.default_rng(0)
  theta, sampler, rewards = (jnp.asarray(rng.normal(size=6)) for _ in range(3))
  old = jax.nn.log_softmax(sampler)

  def surrogate(x):
    loss, _ = losses.importance_sampling(jax.nn.log_softmax(x), old, rewards)
    return jnp.sum(jnp.exp(old) * loss)

  exact = jax.grad(lambda x: -jnp.sum(jax.nn.softmax(x) * rewards))(theta)
  np.testing.assert_allclose(jax.grad(surrogate)(theta), exact, atol=1e-12)


def kl(l, ref):
  return jnp.exp(l) * (l - ref)


def test_every_weight_of_the_regularized_policy_gradient_gives_its_divergence(float64):
  def only_kl(divergence):
    def loss(theta):
      arrays = [tree.logprobs(x) for x in (theta, tree.OLD, tree.REFERENCE)]
      return losses.regularized_policy_gradient(
        *arrays, jnp.zeros(tree.MASK.shape), divergence=divergence, kl_coef=1.0, max_ratio=1e6
      )[0]

    return tree.expected(loss, tree.OLD)

  found = tree.gradients(
    {
      'forward': tree.local(lambda l, ref: kl(ref, l), tree.OLD),
      'reverse': tree.local(kl, tree.OLD),
    }
    | {
      f'{unnormalized}{direction} weights': only_kl(unnormalized + direction)
      for unnormalized in ('', 'unnormalized_')
      for direction in ('forward', 'reverse')
    }
  )
  for name in ('forward', 'reverse'):
    assert tree.close(found[f'{name} weights'], found[name])
    assert tree.close(found[f'unnormalized_{name} weights'], found[name])
  assert tree.far(found['forward'], found['reverse'])


# -- identities


def test_unnormalized_divergences_are_those_of_the_regularizers_on_policy():
  l, ref = ARRAYS['logprobs'], ARRAYS['ref_logprobs']

  def of(divergence):
    def loss(x):
      return losses.regularized_policy_gradient(
        x, l, ref, jnp.zeros_like(l), divergence=divergence, kl_coef=1.0
      )

    return slope(loss, l)

  expected = slope(lambda x: regularizers.reverse_kl(x, ref, l), l)
  np.testing.assert_allclose(of('unnormalized_reverse'), expected, atol=1e-6)
  expected = slope(lambda x: regularizers.forward_k3(x, ref), l)
  np.testing.assert_allclose(of('unnormalized_forward'), expected, atol=1e-6)


def test_unnormalized_divergences_are_silent_at_the_reference():
  l, old = ARRAYS['logprobs'], ARRAYS['old_logprobs']
  for divergence in ('forward', 'reverse', 'unnormalized_forward', 'unnormalized_reverse'):
    _, seen = losses.regularized_policy_gradient(
      l, old, l, jnp.zeros_like(l), divergence=divergence
    )
    silent = not np.any(np.abs(seen['kl_weight']) > 1e-6)
    assert silent == divergence.startswith('unnormalized')


def in_samples(x):
  """[N] -> tokens."""
  return masking.sample_to_token(jnp.asarray(x), ARRAYS['sample_ids'], ARRAYS['segment_ids'])


def test_a_lol_learns_the_completions_that_the_reference_would_not_better():
  # Two tokens of three completions; the ratios of the whole ones are e, e^0.2 and e.
  gaps = np.array([[0.5, 0.5], [0.4, -0.2], [0.5, 0.5]], np.float32)
  own = np.array([[2.0], [1.0], [-3.0]], np.float32) * np.ones((1, 2), np.float32)
  zeros, index = np.zeros((3, 2), np.int32), np.arange(3, dtype=np.int32)[:, None]
  rest = (np.full((3, 2), -2, np.float32), own, np.ones((3, 2), bool), zeros, index)

  def gradient(**hyper):
    return jax.grad(lambda x: jnp.sum(losses.a_lol(x, *rest, **hyper)[0]))(jnp.asarray(gaps - 2))

  found = gradient(clip=0.9)
  np.testing.assert_allclose(found, [[-3.8] * 2, [-np.exp(0.2)] * 2, [0, 0]], rtol=1e-6)
  expected = -np.exp(gaps) * own * (own > 0)
  np.testing.assert_allclose(gradient(clip=0.9, ratio='token'), expected, rtol=1e-6)


def test_eksft_leaves_out_forks_and_what_has_left_the_start():
  entropy, kl = jnp.array([0.2, 1.2, 0.2, 1.2]), jnp.array([0.1, 0.1, 0.8, 0.8])

  def gradient(**hyper):
    total = jax.grad(lambda x: jnp.sum(losses.selective_nll(x, entropy, kl, **hyper)[0]))
    return total(jnp.full(4, -2.0))

  np.testing.assert_array_equal(gradient(), [-1, 0, 0, 0])
  np.testing.assert_array_equal(gradient(max_entropy=2.0), [-1, -1, 0, 0])
  np.testing.assert_array_equal(gradient(max_kl=2.0), [-1, 0, -1, 0])


def test_opmd_is_a_regression_of_the_log_ratio_onto_the_advantage(float64):
  arrays = {name: jnp.asarray(x) for name, x in BATCH.items()}
  a, tau = BATCH['rewards'], 0.3
  used = BATCH['sample_slots'] >= 0
  sums = (arrays['action_mask'], arrays['segment_ids'], arrays['sample_slots'], batches.S)

  def regression(l):
    d = masking.token_to_sample_sum(l - arrays['old_logprobs'], *sums)
    return jnp.sum(jnp.where(used, (a - tau * d) ** 2 / (2 * tau), 0))

  lengths = masking.token_to_sample_sum(arrays['action_mask'], *sums)
  share = jnp.where(MASK, 1 / in_samples(jnp.maximum(lengths, 1)), 0)

  def loss(l):
    return losses.opmd(l, arrays['old_logprobs'], in_samples(a), *WHERE, tau=tau)

  expected = jax.jit(jax.grad(regression))(arrays['logprobs'])
  np.testing.assert_allclose(slope(loss, arrays['logprobs'], share), expected, atol=1e-12)


@pytest.mark.parametrize('level', ['sequence', 'token'])
def test_topr_of_good_completions_is_reinforce_and_of_bad_ones_is_bounded(level):
  l, old, size = (ARRAYS[n] for n in ('logprobs', 'policy_logprobs', 'advantages'))
  size = jnp.abs(size)
  good = slope(lambda x: losses.topr(x, old, size, *WHERE, level=level), l)
  expected = slope(lambda x: losses.reinforce(x, size), l)
  np.testing.assert_array_equal(good, expected)
  bad = slope(lambda x: losses.topr(x, old, -size, *WHERE, level=level), l)
  truncated = slope(
    lambda x: losses.truncated_reinforce(x, old, -size, *WHERE, level=level, max_ratio=1.0), l
  )
  np.testing.assert_array_equal(bad, truncated)
  assert np.all(np.abs(bad) <= np.abs(expected)) and np.any(np.abs(bad) < 0.9 * np.abs(expected))


def test_the_baseline_of_topr_moves_the_split():
  l, old, a = (ARRAYS[n] for n in ('logprobs', 'policy_logprobs', 'advantages'))
  found = losses.topr(l, old, a, *WHERE, baseline=0.4)[0]
  np.testing.assert_array_equal(found, losses.topr(l, old, a - 0.4, *WHERE)[0])


def kernel(log_weights, a, **hyper):
  """φ of completions of one token."""
  log_weights = jnp.asarray(log_weights)[:, None]
  rows = (jnp.ones(log_weights.shape, bool), *(jnp.zeros(log_weights.shape, jnp.int32),) * 2)
  old = jnp.zeros_like(log_weights)
  return losses.vespo(log_weights, old, a + old, *rows, **hyper)[1]['kernel'][:, 0]


@pytest.mark.parametrize('sign, top', [(1.0, 2 / 3), (-1.0, 3 / 2)])
def test_the_kernel_of_vespo_is_one_on_policy_and_falls_off_on_both_sides_of_its_top(sign, top):
  assert kernel([0.0], sign) == 1.0
  weights = np.log(top) + np.linspace(-3, 3, 13)
  found = np.asarray(kernel(weights, sign))
  assert np.argmax(found) == 6
  assert np.all(np.diff(found)[:6] > 0) and np.all(np.diff(found)[6:] < 0)
  # W²·e^{3(1 − W)} at ½; W³·e^{2(1 − W)} at 2.
  assert kernel([np.log(0.5)], 1.0)[0] == pytest.approx(0.25 * np.exp(1.5), rel=1e-6)
  assert kernel([np.log(2.0)], -1.0)[0] == pytest.approx(8 * np.exp(-2), rel=1e-6)


BINARY = np.where(BATCH['rewards'] > 0, 1.0, 0.0)


def nft(logprobs, rewards=BINARY, **hyper):
  arrays = (ARRAYS['logprobs'], jnp.asarray(rewards), ARRAYS['group_ids'], *PLACES)
  return losses.nft(logprobs, *arrays, **hyper)


@pytest.mark.parametrize('prompt_weight, scale', [('dr_grpo', 'none'), ('grpo', 'group')])
def test_nft_is_grpo_on_policy(prompt_weight, scale):
  a = advantages.group_normalize(
    jnp.asarray(BINARY), ARRAYS['group_ids'], scale=scale, ddof=0, epsilon=0.0
  )
  found = slope(lambda l: nft(l, prompt_weight=prompt_weight), ARRAYS['logprobs'])
  np.testing.assert_allclose(found, jnp.where(MASK, -in_samples(a), 0), atol=1e-6)
  assert np.any(found)


def test_the_floor_of_nft_bounds_the_value_and_keeps_the_gradient():
  l = ARRAYS['logprobs'] + 2.0  # far above the old policy: 1 − q·r is negative
  loss, seen = nft(l)
  wrong = MASK & (np.asarray(seen['floored']) == 1)
  assert np.any(wrong) and not np.any(np.asarray(loss)[wrong])
  assert np.all(np.asarray(slope(nft, l))[wrong] > 0)


def test_groups_that_are_all_right_or_all_wrong_give_nothing_to_nft():
  for value in (0.0, 1.0):
    loss, _ = nft(ARRAYS['logprobs'] + 0.3, np.full(batches.N, value))
    assert not np.any(loss)


def test_unscorable_samples_leave_the_group_and_get_nothing():
  mixed = next(
    i for i, _ in batches.samples(BATCH) if 0 < np.mean(BINARY[of_group(i)]) < 1 and BINARY[i]
  )
  rewards = np.where(np.arange(batches.N) == mixed, np.nan, BINARY)
  own = BATCH['sample_ids'][..., None] == mixed
  tokens = np.asarray(in_samples(np.arange(batches.N) == mixed))
  assert np.any(own)
  loss = np.asarray(nft(ARRAYS['logprobs'] + 0.3, rewards)[0])
  assert np.all(np.isfinite(loss)) and not np.any(loss[tokens])
  rest = np.where(np.arange(batches.N) == mixed, -1, BATCH['group_ids'])
  without = losses.nft(
    ARRAYS['logprobs'] + 0.3,
    ARRAYS['logprobs'],
    jnp.asarray(BINARY),
    jnp.asarray(rest),
    *PLACES,
  )[0]
  np.testing.assert_array_equal(loss, without)
  arrays = (ARRAYS['logprobs'], jnp.asarray(rewards), ARRAYS['group_ids'], *PLACES)
  assert not np.any(np.asarray(losses.positive_nll(*arrays)[0])[tokens])


def of_group(i):
  return (BATCH['group_ids'] == BATCH['group_ids'][i]) & (BATCH['sample_slots'] >= 0)


def test_luffy_learns_most_where_the_probability_is_gamma_and_asks_no_old_log_probs():
  p = np.linspace(0.01, 0.99, 99)
  row = jnp.zeros(99, jnp.int32)
  found = slope(
    lambda l: losses.luffy(
      l, jnp.full(99, jnp.nan), jnp.ones(99), jnp.ones(1, bool), row, row[:1], gamma=0.2
    ),
    jnp.log(jnp.asarray(p)),
    np.ones(99),
  )
  assert p[np.argmin(found)] == pytest.approx(0.2) and np.all(np.asarray(found) < 0)


def test_rl_plus_a_second_sampler_bounds_the_ratio_of_external_tokens():
  log_p, row = jnp.log(jnp.array([0.001, 0.5])), jnp.zeros(2, jnp.int32)

  def loss(old, exploration):
    arrays = (log_p, jnp.full(2, old), jnp.ones(2), jnp.ones(1, bool), row, row[:1])
    return losses.multiple_importance(*arrays, uniform=0.01, exploration=exploration)[0]

  # π/(¾π° + ¼u): with π° = 0 the uniform policy is left, with π° = π it is nearly 4/3.
  np.testing.assert_allclose(loss(-1e4, 0.0), [-0.4, -200], rtol=1e-5)
  assert loss(np.log(0.5), 0.0)[1] == pytest.approx(-4 / 3, rel=1e-2)
  rare, likely = loss(-1e4, 2.0) / loss(-1e4, 0.0)
  assert rare == pytest.approx(0.999**2) and likely == pytest.approx(0.25)


def test_rare_tokens_that_the_proxy_keeps_are_pulled_up_and_no_others():
  p = np.array([0.01, 0.01, 0.01, 0.5, 0.01])
  a = np.array([-1.0, 1.0, -1.0, -1.0, -1.0])
  proxy = np.log(np.array([0.02, 0.02, 0.005, 0.6, 1.0]))
  proxy[4] = -np.inf
  found = slope(
    lambda l: regularizers.low_probability_kl(l, a, proxy), jnp.log(jnp.asarray(p)), np.ones(5)
  )
  np.testing.assert_allclose(found, [-1, 0, 0, 0, 0], atol=1e-5)  # 1 − π_proxy/π


def test_hpt_is_supervised_on_external_tokens_and_the_surrogate_on_own_ones():
  def terms(l, **hyper):
    arrays = (l, ARRAYS['old_logprobs'], ARRAYS['advantages'], ARRAYS['is_external'])
    return losses.unified_policy_gradient(*arrays, *PLACES, **hyper)

  external = np.asarray(in_samples(ARRAYS['is_external'])) & MASK
  found = slope(terms, ARRAYS['logprobs'])
  np.testing.assert_allclose(found[external], -1, rtol=1e-6)  # of −ℓ, whatever the advantage
  surrogate = slope(
    lambda l: losses.clipped_surrogate(l, ARRAYS['old_logprobs'], ARRAYS['advantages']),
    ARRAYS['logprobs'],
  )
  np.testing.assert_array_equal(found[MASK & ~external], surrogate[MASK & ~external])
  with pytest.raises(ValueError, match="reference 'ref' is not one of policy, one, old"):
    terms(ARRAYS['logprobs'], reference='ref')


@pytest.mark.parametrize(
  'function', [losses.luffy, losses.multiple_importance, losses.unified_policy_gradient]
)
def test_a_mixed_batch_without_external_samples_is_the_surrogate(function):
  names = ('logprobs', 'old_logprobs', 'advantages')
  arrays, nobody = [ARRAYS[n] for n in names], jnp.zeros(batches.N, bool)
  loss, seen = function(*arrays, nobody, *PLACES)
  expected, diagnostics = losses.clipped_surrogate(*arrays)
  np.testing.assert_array_equal(loss, expected)
  for name, value in diagnostics.items():
    np.testing.assert_array_equal(seen[name], value)
  assert not np.any(losses.chord_sft(arrays[0], nobody, *PLACES)[0])


def test_entropy_takes_weight_from_demonstrations_and_gives_it_to_right_completions():
  def weights(entropy, external):
    arrays = {**ARRAYS, 'entropy': jnp.full(MASK.shape, entropy), 'is_external': external}
    names = ('logprobs', 'entropy', 'advantages', 'rewards', 'group_ids', 'is_external')
    return np.asarray(losses.srft(*(arrays[n] for n in names), *WHERE)[1]['token_weight'])

  right = np.asarray(in_samples(BATCH['rewards'] > 0.5)) & MASK
  for external, expected, where in (
    (True, 0.5 * np.exp(-2.0), MASK),
    (False, 0.1 * np.exp(2.0), right),
    (False, 1.0, MASK & ~right),
  ):
    found = weights(2.0, jnp.full(batches.N, external))
    np.testing.assert_allclose(found[where], expected, rtol=1e-6)


# -- edges


def test_products_of_many_ratios_stay_finite():
  rows = (jnp.ones((1, 100), bool), *(jnp.zeros((1, 100), jnp.int32),) * 2)
  zeros = jnp.zeros((1, 100))
  functions = {
    'topr': losses.topr,
    'vespo': losses.vespo,
    'truncated': functools.partial(losses.truncated_reinforce, level='sequence'),
    'opmd': losses.opmd,
  }
  expected = {  # the factor of −A in the slope, of A = −1, for ratios e^{+4000} and e^{−4000}
    'topr': (1.0, 0.0),
    'vespo': (0.0, 0.0),
    'truncated': (2.0, 0.0),
  }
  for name, function in functions.items():
    for shift, factor in zip((40.0, -40.0), expected.get(name, (None, None)), strict=True):
      found = slope(lambda l, f=function: f(l, zeros, zeros - 1, *rows), zeros + shift, 1 + zeros)
      assert np.all(np.isfinite(found))
      if factor is not None:
        np.testing.assert_allclose(found, factor, atol=1e-6)


def test_signs_of_the_gradient_around_the_bounds():
  l = jnp.log(jnp.array([[0.5, 0.8, 1.0, 1.2, 2.0]]))
  rows = (jnp.ones((1, 5), bool), *(jnp.zeros((1, 5), jnp.int32),) * 2)
  old = jnp.zeros((1, 5))
  for a in (-1.0, 0.0, 1.0):
    found = slope(
      lambda x, a=a: losses.calibrated_importance(x, old, old + a, clip_low=0.2001), l, 1 + old
    )
    np.testing.assert_array_equal(np.sign(found), -a * np.array([[0, 1, 1, 0, 0]]))
    found = slope(
      lambda x, a=a: losses.truncated_reinforce(x, old, old + a, *rows, max_ratio=1.1), l, 1 + old
    )
    np.testing.assert_allclose(found, -a * np.array([[0.5, 0.8, 1, 1.1, 1.1]]), rtol=1e-6)


def test_unknown_names_are_refused():
  l, old, a = (ARRAYS[n] for n in ('logprobs', 'old_logprobs', 'advantages'))
  for function in (losses.topr, losses.opmd, losses.truncated_reinforce):
    with pytest.raises(ValueError, match='sentence'):
      function(l, old, a, *WHERE, level='sentence')
  with pytest.raises(ValueError, match='sideways'):
    losses.regularized_policy_gradient(l, old, old, a, divergence='sideways')
  with pytest.raises(ValueError, match='ppo'):
    nft(l, prompt_weight='ppo')
  arrays = (l, ARRAYS['rewards'], ARRAYS['group_ids'], *PLACES)
  with pytest.raises(ValueError, match='advantages'):
    losses.positive_nll(*arrays, of='advantages')


def test_gradients_that_couple_tokens_have_no_scatter():
  l, old, a = (ARRAYS[n] for n in ('logprobs', 'old_logprobs', 'advantages'))
  program = jax.make_jaxpr(lambda x: slope(lambda l: losses.opmd(l, old, a, *WHERE), x))(l)
  assert 'scatter' not in str(program)
