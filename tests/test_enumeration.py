"""Exact expected gradients on a tree of completions of one to three tokens: divergences, entropy.

What the docstrings of rljax.regularizers say of expectations is held to here, to rounding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import tree
from reference.tree import MASK, OLD, REFERENCE, SAMPLER, THETA, close, far, logprobs

from rljax import losses, regularizers

POLICIES = {'now': THETA, 'old': OLD}
KINDS = tuple(tree.DIVERGENCES)
KL = tree.divergence('reverse_kl')
LOCAL = ('reverse_kl', 'full_reverse_kl', 'ratio_k1', 'ratio_k3', 'sg(ratio)·k2', 'sg(ratio·d)·ℓ')


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def token_losses(sampler):
  """Name -> token loss of θ, for samples of `sampler`."""
  ref, old = logprobs(REFERENCE), logprobs(sampler)
  places = (jnp.asarray(MASK), jnp.asarray(tree.SEGMENTS))
  sg = jax.lax.stop_gradient

  def d(theta):
    return logprobs(theta) - ref

  def ratio(theta):
    return jnp.exp(logprobs(theta) - old)

  def full(summand):
    return lambda t: jnp.sum(summand(tree.distributions(t), tree.distributions(REFERENCE)), axis=-1)

  def take(function, *others, **hyper):
    return lambda t: function(logprobs(t), *others, **hyper)[0]

  forms = {
    'full_reverse_kl': lambda t: regularizers.full_reverse_kl(full(KL)(t))[0],
    'sg(ratio)·k2': lambda t: sg(ratio(t)) * regularizers.k2(d(t)),
    'sg(ratio·d)·ℓ': lambda t: sg(ratio(t) * d(t)) * logprobs(t),
    'entropy_bonus': lambda t: regularizers.entropy_bonus(-full(tree.negative_entropy)(t))[0],
    'importance_entropy': lambda t: regularizers.importance_entropy(logprobs(t), old),
    'ℓ in loss': logprobs,
    'sampled_entropy_bonus': take(regularizers.sampled_entropy_bonus, old),
  }
  for name in ('k1_in_loss', 'k2_in_loss', 'forward_k3', 'absolute_in_loss'):
    forms[name] = take(getattr(regularizers, name), ref)
  for name in ('reverse_kl', 'ratio_k1', 'ratio_k3'):
    forms[name] = take(getattr(regularizers, name), ref, old)
  for estimator in ('k1', 'k3'):
    forms[f'sequence_kl, {estimator}'] = take(
      regularizers.sequence_kl, ref, old, *places, estimator=estimator
    )
  for kind in KINDS:
    bounds = {'max_ratio': 100.0, 'max_value': 1000.0}
    forms[f'f_divergence, {kind}'] = take(regularizers.f_divergence, ref, old, kind=kind, **bounds)
  return forms


@functools.cache
def wanted(policy='now'):
  """Name -> (value, gradient) of what the forms are compared with, states of 'now' or 'old'."""
  inverse = 1 / MASK.sum(axis=1)
  sampler = POLICIES[policy]
  return tree.values_and_gradients(
    {
      'sequence': tree.sequence_kl,
      '−entropy': tree.local(tree.negative_entropy, sampler),
      'inverse length': lambda t: jnp.sum(tree.probabilities(t) * inverse),
      **{kind: tree.local(tree.divergence(kind), sampler) for kind in KINDS},
    }
  )


@functools.cache
def found(policy='now'):
  """Name -> (expected value, expected gradient) of all token losses."""
  sampler = POLICIES[policy]
  forms = token_losses(sampler)
  return tree.values_and_gradients({n: tree.expected(f, sampler) for n, f in forms.items()})


def slopes(table):
  return {name: slope for name, (_, slope) in table.items()}


# -- the Kullback-Leibler divergence ---------------------------------------------------------------


def test_the_objectives_differ_here():
  for policy in POLICIES:
    slope = slopes(wanted(policy))
    assert far(slope['sequence'], slope['reverse_kl'])
    assert far(slope['forward_kl'], slope['reverse_kl'])
  assert far(slopes(wanted('old'))['reverse_kl'], slopes(wanted())['reverse_kl'])


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('name', LOCAL)
def test_forms_with_the_ratio_of_one_token_give_the_token_local_kl(name, policy):
  assert close(found(policy)[name][1], wanted(policy)['reverse_kl'][1])


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('estimator', ['k1', 'k3'])
def test_the_product_of_ratios_gives_the_sequence_kl(estimator, policy):
  value, slope = found(policy)[f'sequence_kl, {estimator}']
  assert value == pytest.approx(wanted()['sequence'][0], abs=1e-10)
  assert close(slope, wanted()['sequence'][1])


def test_what_estimators_in_the_loss_do_on_policy():
  seen, right = slopes(found()), slopes(wanted())
  assert np.linalg.norm(seen['k1_in_loss']) < 1e-12
  assert close(seen['k2_in_loss'], right['reverse_kl'])
  assert close(seen['forward_k3'], right['forward_kl'])
  assert close(seen['absolute_in_loss'], 2 * right['total_variation'])


@pytest.mark.parametrize('name', ['k2_in_loss', 'forward_k3', 'absolute_in_loss'])
def test_what_estimators_in_the_loss_do_with_old_samples(name):
  right = slopes(wanted('old'))
  for kind in ('sequence', 'reverse_kl', 'forward_kl', 'total_variation'):
    factor = 2 if kind == 'total_variation' else 1
    assert far(found('old')[name][1], factor * right[kind]), kind


def test_per_sample_three_forms_are_one_gradient():
  # ∇(ρ·k3) = sg(ρ·d)·∇ℓ = ∇(sg(ρ)·k2), completion by completion; ρ·k1 adds the noise ρ·∇ℓ.
  ref, old, now = logprobs(REFERENCE), logprobs(OLD), logprobs(THETA)
  ratio = jnp.exp(now - old)

  def slope(function):
    return jax.grad(lambda l: jnp.sum(function(l)))(now)

  own = slope(lambda l: regularizers.reverse_kl(l, ref, old)[0])
  for other in (
    lambda l: regularizers.ratio_k3(l, ref, old)[0],
    lambda l: ratio * regularizers.k2(l - ref),
    lambda l: ratio * (now - ref) * l,
  ):
    np.testing.assert_allclose(own, slope(other), atol=1e-12)
  noisy = slope(lambda l: regularizers.ratio_k1(l, ref, old)[0])
  np.testing.assert_allclose(noisy, own + ratio, atol=1e-12)
  value, seen = regularizers.reverse_kl(now, ref, old, max_value=20.0)
  np.testing.assert_allclose(value, regularizers.k3(now - ref), atol=1e-12)
  np.testing.assert_allclose(seen['kl_ref'], value, atol=1e-12)


def test_k1_in_the_loss_is_a_length_bonus_where_weights_depend_on_lengths():
  weights = MASK / MASK.sum(axis=1, keepdims=True)
  k1 = token_losses(THETA)['k1_in_loss']
  alone = tree.gradients({'': tree.expected(k1, THETA, weights)})['']
  assert close(alone, wanted()['inverse length'][1]) and np.linalg.norm(alone) > 0.01

  # The mean over the tokens of two completions: ∇E[1/(T₁ + T₂)] of the pair, half as much at least.
  lengths = jnp.asarray(MASK.sum(axis=1))
  tokens = (lengths[:, None] + lengths[None, :]).astype(float)

  def in_loss(theta):
    drawn = jax.lax.stop_gradient(tree.probabilities(theta))
    total = jnp.sum(jnp.where(MASK, k1(theta), 0), axis=1)
    both = total[:, None] + total[None, :]
    return jnp.sum(drawn[:, None] * drawn[None, :] * both / tokens)

  def bonus(theta):
    p = tree.probabilities(theta)
    return jnp.sum(p[:, None] * p[None, :] / tokens)

  seen = tree.gradients({'k1': in_loss, 'bonus': bonus})
  assert close(seen['k1'], seen['bonus'])
  assert 0 < np.linalg.norm(seen['k1']) < 0.6 * np.linalg.norm(alone)


def test_mismatch_correction_is_right_for_the_samplers_own_policy():
  # Completions of μ, an update that began at π° ≠ μ: with w = π°/μ the KL over μ's states.
  ref, old, mu = (logprobs(x) for x in (REFERENCE, OLD, SAMPLER))
  assert np.max(jnp.exp(logprobs(THETA) - mu)) < 10  # the bound of the ratio is not reached

  def form(correction):
    return lambda t: regularizers.reverse_kl(
      logprobs(t), ref, old, mu, mismatch_correction=correction
    )[0]

  seen = tree.gradients(
    {
      'with': tree.expected(form(True), SAMPLER),
      'without': tree.expected(form(False), SAMPLER),
      'wanted': tree.local(KL, SAMPLER),
    }
  )
  assert close(seen['with'], seen['wanted'])
  assert far(seen['without'], seen['wanted'])


def test_kl_in_the_reward():
  place = (logprobs(THETA), logprobs(REFERENCE))
  penalty = jnp.where(MASK, regularizers.kl_reward(*place)[0], 0)
  whole = jnp.sum(penalty, axis=1, keepdims=True)
  charges = {
    'to go': jnp.cumsum(penalty[:, ::-1], axis=1)[:, ::-1],
    'whole': jnp.broadcast_to(whole, penalty.shape),
    'own token': penalty,
    'k3, own token': jnp.where(MASK, regularizers.k3_reward(*place)[0], 0),
  }

  def reinforce(charge):  # taken off the reward, so the advantage is −charge
    return tree.expected(lambda t: losses.reinforce(logprobs(t), -charge)[0], THETA)

  seen = tree.gradients({name: reinforce(charge) for name, charge in charges.items()})
  right = slopes(wanted())
  assert close(seen['to go'], right['sequence'])
  assert close(seen['whole'], right['sequence'])
  assert close(seen['own token'], right['reverse_kl'])
  assert close(seen['k3, own token'], right['reverse_kl'] - right['forward_kl'])


def test_only_the_sequence_kl_has_the_tilted_reference_as_its_optimum():
  beta = 0.7
  joint = np.exp(np.sum(logprobs(REFERENCE), axis=1) + tree.GRADED / beta)
  best = [np.zeros((tree.V,) * depth) for depth in (1, 2, 3)]
  for completion, share in zip(tree.TREE, joint, strict=True):
    for depth in range(3):
      best[depth][tuple(completion[: depth + 1])] += share
  best = [np.log(np.where(x > 0, x, 1)) for x in best]
  # Where rows go on after the end the entries are never looked at.
  share = tree.probabilities(best)
  np.testing.assert_allclose(share, joint / joint.sum(), atol=1e-12)

  ref, drawn = logprobs(REFERENCE), logprobs(best)
  penalty = jnp.where(MASK, regularizers.kl_reward(drawn, ref)[0], 0)
  charged = tree.to_tokens(tree.GRADED - beta * jnp.sum(penalty, axis=1))
  places = (jnp.asarray(MASK), jnp.asarray(tree.SEGMENTS))

  def with_term(term):
    def loss(theta):
      l = logprobs(theta)
      return losses.reinforce(l, tree.to_tokens(tree.GRADED))[0] + beta * term(l)[0]

    return tree.expected(loss, best)

  seen = tree.gradients(
    {
      'kl_reward': tree.expected(lambda t: losses.reinforce(logprobs(t), charged)[0], best),
      'sequence_kl': with_term(lambda l: regularizers.sequence_kl(l, ref, drawn, *places)),
      'reverse_kl': with_term(lambda l: regularizers.reverse_kl(l, ref, drawn)),
    },
    at=best,
  )
  assert np.linalg.norm(seen['kl_reward']) < 1e-12
  assert np.linalg.norm(seen['sequence_kl']) < 1e-12
  assert np.linalg.norm(seen['reverse_kl']) > 0.01


# -- other divergences, entropy --------------------------------------------------------------------


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('kind', KINDS)
def test_divergences_in_value_and_gradient(kind, policy):
  value, slope = found(policy)[f'f_divergence, {kind}']
  assert value == pytest.approx(wanted(policy)[kind][0], abs=1e-10)
  assert close(slope, wanted(policy)[kind][1])


def test_divergences_are_different_objectives():
  seen = slopes(wanted())
  for i, kind in enumerate(KINDS):
    for other in KINDS[:i]:
      a, b = seen[kind], seen[other]
      cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
      assert cosine < 0.9999, (kind, other)


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('name', ['sampled_entropy_bonus', 'entropy_bonus', 'importance_entropy'])
def test_entropy(name, policy):
  value, slope = found(policy)[name]
  sign = -1 if name == 'importance_entropy' else 1
  assert sign * value == pytest.approx(wanted(policy)['−entropy'][0], abs=1e-10)
  assert close(sign * slope, wanted(policy)['−entropy'][1])


def test_a_log_prob_in_the_loss_is_no_entropy_bonus():
  assert np.linalg.norm(found()['ℓ in loss'][1]) < 1e-12
