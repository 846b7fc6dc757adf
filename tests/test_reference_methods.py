"""Methods that learn from references: demonstrations weighed, or answers that are made likely."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import config, losses, masking, shaping, tokenization
from rljax.binding import bind
from rljax.data.demonstrations import as_rollout
from rljax.metrics.names import check_name
from rljax.models import decoder
from rljax.prompts import Prompt
from rljax.rewards import Scores, groups
from rljax.rollouts import Generator, SamplerProgram, reference_likelihood, single_turn
from rljax.rollouts.likelihood import _splice, group_weighted
from rljax.sharding import make_mesh


def stage_of(name, stage):
  return config.load(str(config.find(name)))[stage]


# -- pear -----------------------------------------------------------------------------------------


def weights_of_pear(gaps, *, ref=-2.0, told=0.0, **hyper):
  """The weights of one completion of four tokens behind a prompt of two."""
  gaps = jnp.array([0.0, 0.0, *gaps])[None]
  arrays = {
    'logprobs': gaps + (told or ref),
    'ref_logprobs': jnp.full(gaps.shape, ref),
    'policy_logprobs': jnp.full(gaps.shape, told),
    'action_mask': jnp.arange(6)[None] >= 2,
    'positions': jnp.arange(6, dtype=jnp.int32)[None],
    'prompt_length': jnp.array([2]),
    'segment_ids': jnp.zeros((1, 6), jnp.int32),
    'sample_ids': jnp.zeros((1, 1), jnp.int32),
  }
  bound = bind({**stage_of('papers/pear', 'more').loss, **hyper})
  slope = jax.grad(lambda x: jnp.sum(bound({**arrays, 'logprobs': x})[0][arrays['action_mask']]))
  return -slope(arrays['logprobs'])[0, 2:]


def test_pear_weighs_a_demonstration_by_its_ratio_to_who_wrote_it():
  gaps = [0.3, -0.1, 0.4, 0.2]
  np.testing.assert_allclose(weights_of_pear(gaps), [np.exp(0.8)] * 4, rtol=1e-5)
  found = weights_of_pear(gaps, level='block', block_size=3)
  np.testing.assert_allclose(found, np.exp([0.6, 0.6, 0.6, 0.2]), rtol=1e-5)
  np.testing.assert_allclose(weights_of_pear(gaps, level='token'), np.exp(gaps), rtol=1e-5)
  found = weights_of_pear(gaps, told=-1.0, ref=-9.0)
  np.testing.assert_allclose(found, [np.exp(0.8)] * 4, rtol=1e-5)
  np.testing.assert_allclose(weights_of_pear([-3.0] * 4), [0.1] * 4, rtol=1e-5)
  np.testing.assert_allclose(weights_of_pear([0.0] * 4), [1] * 4, rtol=1e-6)
  with pytest.raises(ValueError, match="level='word'"):
    weights_of_pear(gaps, level='word')


def test_log_probs_of_who_wrote_a_demonstration_stand_on_its_tokens():
  given = dict(length=6, prompt_ids=[5, 6])
  found = as_rollout([[1], [1, 2]], [[3, 4], [5, 6]], logprobs=[[-1.0, -2.0], None], **given)
  np.testing.assert_array_equal(found.policy_logprobs, [[0, -1, -2, 0, 0, 0], [0] * 6])
  with pytest.raises(ValueError, match='prompt 6 has 1 log-probs for 2 tokens'):
    as_rollout([[1], [1, 2]], [[3, 4], [5, 6]], logprobs=[None, [-1.0]], **given)




# -- verifree, dro_r3, darl: the likelihood of the reference ---------------------------------------

TOKENIZER = tokenization.characters(alphabet='ab=>')
POLICY = decoder(
  vocab_size=TOKENIZER.vocab_size, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32
)
PIECES = {2: 'a', 3: 'b', 4: 'a=', 5: '='}


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope='module')
def sampler():
  """(generator of two prompts with four samples, params)."""
  program = SamplerProgram(POLICY, make_mesh(devices=jax.devices()[:1]))
  generator = Generator(
    program, TOKENIZER, lambda r: r, prompts=3, samples=4, max_prompt=4, max_new_tokens=7, seed=3,
    temperature=0.8,
  )  # fmt: skip
  params = jax.tree.map(lambda x: 3 * x, POLICY.init(jax.random.key(0)))  # far from uniform
  return generator, params


def given(*answers):
  texts = ['a>', 'ab>'][: len(answers)]
  return [
    Prompt(text=t, prompt_id=i, answer=a, tokens=tuple(TOKENIZER.encode(t)))
    for i, (t, a) in enumerate(zip(texts, answers))
  ]


def lengths(completions):
  return Scores(np.array([len(c.text) for c in completions], np.float32), {}, 0, 0, {})


def lowered(answer):
  return answer.lower()


def likelihood(sampler, *answers, **hyper):
  generator, params = sampler
  arguments = (params, given(*answers), list(range(len(answers))), generator, lengths, 5)
  return reference_likelihood(*arguments, marker='=', **hyper)


@jax.jit
def whole_pass(params, ids, temperature):
  places = jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
  hidden, _ = POLICY.hidden(params, ids, segment_ids=places * 0, positions=places)
  return jax.nn.log_softmax(POLICY.unembed(POLICY.head(params), hidden)[0] / temperature)


def slow_logprobs(sampler, tokens):
  """Of one text alone; what stands behind it is not seen."""
  generator, params = sampler
  ids = jnp.array([[*tokens, *[0] * (12 - len(tokens))]], jnp.int32)
  found = np.asarray(whole_pass(params, ids, generator.temperature))
  return np.array([0.0, *(float(found[i, t]) for i, t in enumerate(tokens[1:]))])


def test_verifree_rewards_reasoning_by_the_probability_of_the_reference_behind_it(sampler):
  plain = single_turn(sampler[1], given('ab', 'b'), [0, 1], sampler[0], lengths, 5)
  found = likelihood(sampler, 'ab', 'b', splice=True)
  rollout, old = found.rollout, plain.rollout
  reference = found.extras['reference_mask']
  for row, completion in enumerate(plain.completions):
    head, mark, _ = completion.text.rpartition('=')
    reasoning = (head if mark else completion.text)[: 7 - 2 - len(completion.prompt.answer)]
    text = completion.prompt.text + reasoning + '=' + completion.prompt.answer
    expected = [*TOKENIZER.encode(text), TOKENIZER.eos_ids[0]]
    end = int(rollout.num_tokens[row])
    assert rollout.tokens[row, :end].tolist() == expected
    logprobs = slow_logprobs(sampler, expected)
    size = len(completion.prompt.answer) + 1
    assert np.flatnonzero(reference[row]).tolist() == list(range(end - size, end))
    reward = np.exp(logprobs[end - size :].sum())
    np.testing.assert_allclose(found.scores.rewards[row], reward, rtol=1e-4)
    np.testing.assert_allclose(rollout.policy_logprobs[row, end - size : end], logprobs[-size:],
                               rtol=1e-3, atol=1e-4)  # fmt: skip
    drawn = rollout.action_mask[row] & ~reference[row]
    first = int(rollout.prompt_length[row])
    assert np.flatnonzero(drawn).tolist() == list(range(first, first + drawn.sum()))
    assert drawn.sum() in (len(reasoning), len(reasoning) + 1)
    known = rollout.policy_logprobs[row][drawn]
    np.testing.assert_array_equal(known, old.policy_logprobs[row][drawn])
  assert not reference[len(plain.completions) :].any()
  np.testing.assert_array_equal(found.scores.components['scored'], plain.scores.rewards)
  assert found.metrics['rollout/tokens'] == old.action_mask.sum()
  drawn = [len(c.tokens) for c in plain.completions]
  assert found.metrics['rollout/length_mean'] == pytest.approx(np.mean(drawn))
  assert all(check_name(name) for name in found.metrics)
  assert sampler[0].program.scores._cache_size() == 1


def test_a_reference_stands_behind_whole_tokens():
  tokenizer = dataclasses.make_dataclass('T', [('eos_ids', tuple, (1,))])()
  tokenizer.decode = lambda ids: ''.join(PIECES.get(i, '') for i in ids)
  tokenizer.encode = lambda text: [{'a': 2, 'b': 3, '=': 5}[c] for c in text]
  generator = Generator(None, tokenizer, None, 1, 1, max_prompt=2, max_new_tokens=6)

  def splice(*tokens):
    prompt = Prompt(text='x', prompt_id=4, answer='b', tokens=(9,))
    completion = dataclasses.make_dataclass('C', ['prompt', 'tokens', 'text'])
    found = _splice(generator, completion(prompt, tokens, tokenizer.decode(tokens)), '=')
    return found.row, found.reasoning, found.start, found.is_marked, found.is_cut

  tail = [5, 3, 1]
  assert splice(3, 5, 2, 1) == ([9, 3, *tail], 2, 3, True, False)  # the marker was drawn
  assert splice(3, 4, 2, 1) == ([9, 3, *tail], 1, 3, True, False)  # inside a token: it goes
  assert splice(3, 5, 2, 5) == ([9, 3, 5, 2, *tail], 4, 5, True, False)  # the last one counts
  assert splice(3, 2, 1) == ([9, 3, 2, *tail], 2, 4, False, False)
  assert splice(3, 2, 2, 2, 2, 2) == ([9, 3, 2, 2, *tail], 3, 5, False, True)
  generator = dataclasses.replace(generator, max_new_tokens=2)
  with pytest.raises(ValueError, match='answer of prompt 4 has 2 tokens'):
    splice(3)


@pytest.mark.usefixtures('float64')
def test_the_loss_of_verifree_has_the_gradient_of_the_expected_likelihood():
  rng = np.random.default_rng(0)
  theta = {'z': jnp.asarray(rng.normal(size=4)), 'y': jnp.asarray(rng.normal(size=(4, 3)))}
  reference, places = 1, jnp.zeros((4, 2), jnp.int32)
  ids = jnp.arange(4, dtype=jnp.int32)[:, None]

  def logprobs(t):
    answers = jax.nn.log_softmax(t['y'])[:, reference]
    return jnp.stack([jax.nn.log_softmax(t['z']), answers], axis=1)

  def objective(t):
    return jnp.sum(jnp.exp(jnp.sum(logprobs(t), axis=1)))

  def loss(t, baseline):
    l = logprobs(t)
    rewards = jax.lax.stop_gradient(jnp.exp(l[:, 1]))
    advantages = jnp.broadcast_to((rewards - baseline)[:, None], l.shape)
    is_reference = jnp.broadcast_to(jnp.array([False, True]), l.shape)
    found, _ = losses.verifree(l, advantages, rewards, is_reference, places, ids)
    return jnp.sum(jax.lax.stop_gradient(jnp.exp(l[:, :1])) * found)

  expected = jax.grad(objective)(theta)
  for baseline in (0.0, 0.7):
    found = jax.grad(loss)(theta, baseline)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, atol=1e-12), found, expected)


def test_the_loss_of_verifree_has_no_gradient_where_nothing_was_scored():
  logprobs, places = jnp.full((2, 2), -1.0), jnp.zeros((2, 2), jnp.int32)
  ids, is_reference = jnp.arange(2, dtype=jnp.int32)[:, None], jnp.array([[False, True]] * 2)
  advantages, rewards = jnp.array([[0.5] * 2, [0.0] * 2]), jnp.array([0.25, jnp.nan])
  weights = jnp.array([[1.0] * 2, [0.0] * 2])  # as of a sample that a filter has taken out

  def total(l):
    loss, _ = losses.verifree(l, advantages, rewards, is_reference, places, ids)
    return masking.weighted_sum(loss, weights)

  np.testing.assert_allclose(jax.grad(total)(logprobs), [[-0.5, -0.25], [0, 0]])


def test_dro_r3_weighs_tokens_of_the_reference_by_how_much_reasoning_changes_them(sampler):
  logs = [np.array(x) for x in ([-1.0, -2.0, -3.0], [-1.0, -4.0, -3.5], [-0.5, -9.0, -1.0])]
  found = group_weighted(logs, np.array([0, 0, 1]))
  np.testing.assert_allclose(found[:2], [-0.8 * 2 - 0.2 * 3, -0.8 * 4 - 0.2 * 3.5], rtol=1e-6)
  np.testing.assert_allclose(found[2], -3.5)  # alone: all tokens count the same
  settings = stage_of('papers/dro_r3', 'rl')
  hyper = {k: v for k, v in settings.rollout.items() if k not in ('name', 'marker')}
  found = likelihood(sampler, 'ab', 'b', **hyper)
  spliced = likelihood(sampler, 'ab', 'b', splice=True)
  logs = [
    spliced.rollout.policy_logprobs[row][spliced.extras['reference_mask'][row]] for row in range(8)
  ]
  expected = group_weighted(logs, np.repeat([0, 1], 4))
  np.testing.assert_allclose(found.scores.rewards, expected, rtol=1e-5)
  assert settings.reward_shaping.spread.name == 'shaping.spread_filter'
  plain = single_turn(sampler[1], given('ab', 'b'), [0, 1], sampler[0], lengths, 5)
  np.testing.assert_array_equal(found.rollout.tokens, plain.rollout.tokens)


def test_darl_adds_the_bonus_to_the_likelihood_that_reasoning_brings(sampler):
  found = likelihood(sampler, 'ab', 'b', measure='mean_probability', debias=True, score_coef=0.25)
  mean = likelihood(sampler, 'ab', 'b', measure='mean_probability').scores.rewards
  prompts = [TOKENIZER.encode(text) for text in ('a>=ab', 'ab>=b')]
  sizes = (3, 2)
  without = [
    np.exp(slow_logprobs(sampler, [*ids, TOKENIZER.eos_ids[0]])[-size:]).mean()
    for ids, size in zip(prompts, sizes)
  ]
  expected = np.clip(mean - np.repeat(without, 4), 0, 1)
  assert 0 < np.sum(expected == 0) < 8
  np.testing.assert_allclose(found.scores.components['likelihood'], expected, atol=1e-4)
  bonus = 0.25 * np.array([len(c.text) for c in found.completions])
  np.testing.assert_allclose(found.scores.rewards, expected + bonus, atol=1e-4)
  with pytest.raises(ValueError, match='group_std with debias'):
    likelihood(sampler, 'ab', measure='group_std', debias=True)
  small = likelihood(sampler, 'AB', 'b', reference='test_reference_methods.lowered').scores.rewards
  np.testing.assert_array_equal(small, likelihood(sampler, 'ab', 'b').scores.rewards)
  with pytest.raises(ValueError, match='prompt 0 has no answer'):
    likelihood(sampler, None)


def test_darl_pays_answers_that_differ_within_a_band_of_the_reference():
  node = config.load(str(config.find('papers/darl'))).rewards.reward.to_dict()
  assert bind(node).function is groups.diverse_answers
  said = ['1+1=20', 'x=20', '=21', '3=99', 'none']
  found = groups.diverse_answers(said, [20] * 5, marker='=')
  assert [part['reward'] for part in found] == [0.75, 0.75, 1, 0, 0]
  assert [part['deviation'] for part in found] == [0, 0, 0.5, 1, 1]
  narrow = groups.diverse_answers(said, [20] * 5, marker='=', low=0.1)
  assert [part['reward'] for part in narrow] == [0, 0, 1, 0, 0]
  assert groups.diverse_answers(['20'], [20])[0]['reward'] == 0
  with pytest.raises(ValueError, match='between low=1 and high=0'):
    groups.diverse_answers(said, [20] * 5, low=1, high=0)


def test_groups_with_little_spread_leave_by_a_threshold_that_follows_the_run():
  groups_ = jnp.array([0, 0, 1, 1, 2, 2, -1], jnp.int32)
  first = jnp.array([0.0, 2.0, 0.0, 0.4, jnp.nan, 1.0, 5.0])
  step = jax.jit(lambda r, s: shaping.spread_filter(r, groups_, state=s, share=0.5, decay=0.5))
  found, state = step(first, shaping.spread_filter_init())  # deviations 1, 0.2, 0; mean 0.48
  np.testing.assert_allclose(found, [0, 2, np.nan, np.nan, np.nan, np.nan, 5])
  found, _ = step(first / 10, state)  # the usual one is still 0.192 then, its half 0.096
  np.testing.assert_allclose(found[:4], [0, 0.2, np.nan, np.nan], rtol=1e-6)
  equal, state = step(jnp.ones(7), shaping.spread_filter_init())
  np.testing.assert_array_equal(equal, np.ones(7))
  _, same = step(jnp.full(7, jnp.nan), state)
  assert same == state
