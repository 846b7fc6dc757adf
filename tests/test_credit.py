"""Advantages of the literature, one by one: what each is there for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_token_advantages_exact import call, rows

from rljax import advantages


def test_ace_pushes_confident_errors_down_harder_and_leaves_right_answers_alone():
  # Three wrong completions and one right; the policy has come to favour the first and the last.
  shift = np.array([3.0, 0.0, -3.0, 3.0], np.float32)
  ones, zeros = np.ones((4, 2), bool), np.zeros((4, 2), np.int32)
  own = np.array([[-1.0], [-1.0], [-1.0], [3.0]], np.float32) * np.ones((1, 2), np.float32)
  sample_ids = np.arange(4, dtype=np.int32)[:, None]

  def shaped(**hyper):
    lengths = np.full(4, 2, np.float32)
    arrays = (own, ones, shift - 5, np.full(4, -5, np.float32), lengths, zeros, sample_ids)
    return np.asarray(advantages.confidence_penalty(*arrays, **hyper))

  found = shaped()[:, 0]
  np.testing.assert_allclose(found, [-4.048587, -1.693147, -1.048587, 3], rtol=1e-6)
  assert found[0] < found[1] < found[2] < -1
  np.testing.assert_array_equal(shaped(alpha=0.0), own)
  np.testing.assert_allclose(shaped(length_norm=True)[0], -1 - np.log(1 + np.exp(1.5)), rtol=1e-6)


def table(rng):
  """(log π and Σ π² [G, T] of completions drawn from a table of logits [T, V], norms of scores)."""
  logits, drawn = rng.normal(size=(3, 4)) * 2, rng.integers(0, 4, (6, 3))

  def logprobs(logits, tokens):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, None], axis=1)
    return chosen[:, 0]

  scores = jax.vmap(jax.grad(lambda l, a: jnp.sum(logprobs(l, a))), (None, 0))(logits, drawn)
  squares = np.sum(np.asarray(jax.nn.softmax(logits)) ** 2, axis=1)
  chosen = np.stack([logprobs(logits, tokens) for tokens in drawn])
  return chosen, np.tile(squares, (6, 1)), np.sum(np.asarray(scores) ** 2, axis=(1, 2))


def test_oblr_po_weighs_rewards_by_the_norms_of_scores_and_has_the_least_variance():
  with jax.enable_x64(True):
    logprobs, squares, norms = table(np.random.default_rng(0))
    rewards, groups = np.array([1.0, 0, 0.3, 0, 1, -0.5]), jnp.zeros(6, jnp.int32)
    index = jnp.arange(6, dtype=jnp.int32)
    places = (jnp.ones((6, 3), bool), jnp.zeros((6, 3), jnp.int32), index[:, None], index)
    found = np.asarray(
      advantages.optimal_baseline(rewards, groups, logprobs, squares, *places)
    )
  assert np.ptp(norms) > 0.3  # the mean would not do
  baseline = np.sum(norms * rewards) / np.sum(norms)
  np.testing.assert_allclose(found, np.tile((rewards - baseline)[:, None], 3), rtol=1e-9)
  assert np.sum(norms * found[:, 0]) == pytest.approx(0, abs=1e-12)
  for moved in (-0.1, 0.1):
    assert np.sum(norms * (found[:, 0] + moved) ** 2) > np.sum(norms * found[:, 0] ** 2)


def test_dr_kernel_compares_a_turn_with_the_others_that_have_it():
  # Samples of three, two and one turns of one token; the baseline of a mean over all of them,
  # themselves included, would give the same up to one factor.
  given = dict(rewards=[1.0, 0.0, 0.5], turn_ids=[[0, 1, 2]] * 3)
  centred = np.array([[0.5], [-0.5], [0]])
  ragged = np.asarray(call(advantages.turn_leave_one_out, rows([3, 2, 1], **given)))
  np.testing.assert_allclose(ragged[:2, :2] / centred[:2], [[1.5, 2]] * 2, atol=1e-6)
  assert ragged[0, 2] == 0  # nobody else got there
  even = call(advantages.turn_leave_one_out, rows([3] * 3, **given))
  np.testing.assert_allclose(even, np.tile(1.5 * centred, 3), atol=1e-6)


def test_brpo_compares_with_one_that_is_drawn_anew():
  rewards, groups = jnp.array([0.1, 0.7, 0.3, 0.9, 0.3]), jnp.zeros(5, jnp.int32)
  keys = jax.random.split(jax.random.key(0), 4000)

  def draws(**hyper):
    def one(key):
      return advantages.bootstrapped_reference(rewards, groups, key=key, **hyper)

    return np.asarray(jax.jit(jax.vmap(one))(keys))

  found, signs = draws(max_share=1.0), np.sign(rewards[:, None] - rewards[None])
  # Each is the reference as often as any other.
  np.testing.assert_allclose(found.mean(axis=0), signs.mean(axis=1), atol=0.05)
  assert {tuple(x) for x in found} == {tuple(column) for column in signs.T}
  # The worst and the best of a group, as references, tell the others nothing.
  kept = {tuple(x) for x in draws()}
  assert kept == {tuple(signs[:, b]) for b in (1, 2, 4)} | {(0,) * 5}


def test_tempo_credits_the_tokens_at_which_completions_part():
  tokens = np.array([[1, 2, 3], [1, 2, 4], [1, 5, 6]], np.int32)
  batch = rows([3] * 3, rewards=[1.0, 0.0, 0.0], tokens=tokens)
  found = np.asarray(call(advantages.prefix_tree, batch, scale='none'))
  expected = [[2 / 3, 5 / 6, 7 / 6], [-1 / 3, -1 / 6, -5 / 6], [-1 / 3, -2 / 3, -1 / 3]]
  np.testing.assert_allclose(found, expected, atol=1e-6)
  outcome = np.array([2 / 3, -1 / 3, -1 / 3])
  np.testing.assert_allclose(np.sum(found - outcome[:, None], axis=1), outcome, atol=1e-6)
  # Where nothing branches it is GRPO, to the last bit.
  grpo = np.asarray(call(advantages.group_normalize, batch))
  same = call(advantages.prefix_tree, batch | {'tokens': np.ones((3, 3), np.int32)})
  np.testing.assert_array_equal(same, np.tile(grpo[:, None], 3))


def test_tempo_refuses_an_unknown_scale():
  batch = rows([1] * 2, tokens=np.ones((2, 1), np.int32))
  with pytest.raises(ValueError, match="scale 'batch'"):
    call(advantages.prefix_tree, batch, scale='batch')
