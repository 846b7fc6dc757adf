"""Methods that look inside the policy: its attention, its hidden states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_updates import GRPO, batches, model

from rljax import advantages, arrays, config, masking, objective, update, weighting
from rljax.advantages.hidden_rank import effective_rank, rank_dynamics
from rljax.binding import bind
from rljax.tasks import words

OFF_POLICY = dict(GRPO, minibatches=2)


def prepared(stage):
  """(batch after `prepare`, its tokens of scored samples, what the policy has inside at each)."""
  policy, batch = model('float32'), batches(3)
  params = policy.init(jax.random.key(0))
  terms = objective.build(stage)
  static = dict(objective=terms, policies={'policy': policy}, chunk_size=512)

  def run(params, batch):
    return update.prepare(batch, {'policy': params}, {}, terms.hyper(0), **static)[0]

  rows = {n: getattr(batch, n).reshape(-1, 40) for n in ('tokens', 'segment_ids', 'positions')}
  hidden, aux = policy.hidden(params, **rows, capture=('attention_entropy',))
  inside = {'hidden': hidden, **aux}
  shape = batch.tokens.shape
  scored = jnp.isfinite(batch.rewards) & (batch.group_ids >= 0)
  kept = batch.action_mask & masking.sample_to_token(scored, batch.sample_ids, batch.segment_ids)
  inside = {name: x.reshape(*shape, *x.shape[2:]) for name, x in inside.items()}
  return jax.jit(run)(params, batch), kept, inside


def stage_of(name):
  return config.load(str(config.find(name))).rl


# -- attention_entropy ----------------------------------------------------------------------------


@pytest.mark.thorough
def test_attention_entropy_weighs_the_tokens_that_are_drawn():
  node = dict(name='weighting.attention_mean', focus=1.5)
  batch, kept, inside = prepared({**OFF_POLICY, 'weights': node})
  entropy = masking.shift(inside['attention_entropy'], batch.segment_ids)
  assert float(jnp.std(entropy[kept])) > 0.05
  for k in range(batch.tokens.shape[0]):
    expected = weighting.attention_mean(kept[k], entropy[k], focus=1.5)
    np.testing.assert_allclose(batch.weights['policy'][k], expected, rtol=1e-4)
    flat = weighting.token_mean(kept[k])
    assert float(jnp.max(jnp.abs(expected - flat))) > 0.1 * float(jnp.max(flat))


def test_attention_entropy_leans_on_anchors_and_then_on_all():
  bound = bind(stage_of('papers/attention_entropy').weights)
  given = {
    'action_mask': jnp.array([[True, True, True, False]]),
    'old_attention_entropy': jnp.array([[0.1, 0.5, 2.0, jnp.nan]]),
  }
  first, last = (np.asarray(bound(given, bound.hyper(i)))[0] for i in (0, 100))
  assert first[0] > first[1] > first[2] > 0 == first[3]
  np.testing.assert_allclose(last, [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)
  for found in (first, np.asarray(weighting.attention_mean(**given, focus=-2.0))[0][::-1]):
    assert found.sum() == pytest.approx(1)
  one = weighting.attention_mean(jnp.array([[True]]), jnp.array([[0.3]]))
  np.testing.assert_array_equal(one, [[1]])


def test_only_what_is_there_is_captured():
  policy, ids = model('float32'), jnp.zeros((1, 4), jnp.int32)
  params = policy.init(jax.random.key(0))
  assert policy.hidden(params, ids, segment_ids=ids, positions=ids)[1] == {}
  with pytest.raises(ValueError, match=r"capture \['gates'\] is unknown"):
    policy.hidden(params, ids, segment_ids=ids, positions=ids, capture=('gates',))
  assert 'old_hidden' in arrays.EARLY and 'old_hidden' not in arrays.LATE


# -- verl_hidden_rank -----------------------------------------------------------------------------


@pytest.mark.thorough
def test_verl_hidden_rank_shapes_by_the_states_of_the_policy():
  node = dict(name='advantages.hidden_rank', stride=1)
  plain, kept, inside = prepared(OFF_POLICY)
  shaped, _, _ = prepared({**OFF_POLICY, 'advantage_shaping': dict(verl=node)})
  places = plain.segment_ids, plain.sample_ids
  expected = advantages.hidden_rank(
    plain.advantages, kept, inside['hidden'], *places, stride=1
  )
  np.testing.assert_allclose(shaped.advantages, expected, rtol=1e-3, atol=1e-3)
  moved = np.asarray(shaped.advantages - plain.advantages)
  assert np.max(moved) > 0.05 and np.min(moved) >= 0
  assert np.all(np.sign(shaped.advantages) == np.sign(plain.advantages))
  assert 'old_hidden' not in shaped.extras


def test_verl_hidden_rank_counts_directions():
  eye = np.eye(6)
  for states, rank in ((eye[:4], 4), (np.tile(eye[0], (4, 1)), 1), (np.zeros((4, 6)), 0)):
    gram = jnp.asarray(states @ states.T, jnp.float32)
    assert float(effective_rank(gram)) == pytest.approx(rank, abs=1e-4)
  ids = jnp.array([0] * 6 + [1] * 6, jnp.int32)
  straight = np.concatenate([eye, np.tile(eye[0], (6, 1))])
  rank, velocity, acceleration = rank_dynamics(
    jnp.asarray(straight, jnp.float32), ids >= 0, ids, num_segments=3, stride=1
  )
  # Ranks 1 … 6: above the mean of those before by 1, 1.5, 2, 2.5, 3.
  np.testing.assert_allclose(rank, [6, 1, 0], atol=1e-3)
  np.testing.assert_allclose(velocity, [2, 0, 0], atol=1e-3)
  np.testing.assert_allclose(acceleration, [0.5, 0, 0], atol=1e-3)
  with pytest.raises(ValueError, match='stride=0'):
    advantages.hidden_rank(ids, ids >= 0, ids[:, None], ids, ids, stride=0)


def test_verl_hidden_rank_is_in_its_config():
  shaping = stage_of('papers/verl_hidden_rank').advantage_shaping
  assert shaping.verl.name == 'advantages.hidden_rank' and shaping.verl.stride < 12


# -- ar3d_r1 --------------------------------------------------------------------------------------


def test_ar3d_r1_scores_both_stages_of_a_word():
  assert words.half_scores('abdc', 'abcd') == [('ab', 1), ('dc', 0)]
  assert words.half_scores('abcde', 'abcde') == [('abc', 1), ('de', 1)]
  assert words.half_scores('a', 'abcd') == [('a', 0.5)] and words.half_scores('', 'ab') == []
  rollout = stage_of('papers/ar3d_r1').rollout
  assert bind(rollout).static['scores'] == 'tasks.words.half_scores'


@pytest.mark.thorough
def test_ar3d_r1_compares_each_stage_with_the_same_stage_of_the_group():
  bound = bind(stage_of('papers/ar3d_r1').advantage)
  coarse, fine = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.01, 0.0, 0.01, 0.0])
  token_rewards = np.zeros((4, 4))
  token_rewards[:, 1], token_rewards[:, 3] = coarse, fine
  batch = {
    'rewards': np.zeros(4),
    'token_rewards': token_rewards,
    'group_ids': np.zeros(4, np.int32),
    'action_mask': np.ones((4, 4), bool),
    'segment_ids': np.zeros((4, 4), np.int32),
    'sample_ids': np.arange(4, dtype=np.int32)[:, None],
    'step_ids': np.tile(np.array([0, 0, 1, 1], np.int32), (4, 1)),
  }
  batch = {n: jnp.asarray(x, jnp.float32 if x.dtype == float else None) for n, x in batch.items()}
  found = np.asarray(bound(batch, bound.hyper(0)))
  np.testing.assert_array_equal(found[:, 0], found[:, 1])
  np.testing.assert_allclose(found[:, 2], np.array([1, -1, 1, -1]) * 0.75**0.5, rtol=1e-3)
  assert found[0, 0] > found[1, 0] > 0 > found[2, 0] > found[3, 0]  # the fine ones count upstream
  alone = np.asarray(bound(batch, {**bound.hyper(0), 'downstream': 0.0}))
  np.testing.assert_allclose(alone[:, 0], np.array([1, 1, -1, -1]) * 0.75**0.5, rtol=1e-4)
