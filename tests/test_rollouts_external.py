"""Completions that others have written, in the groups of a rollout."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
import tiny_updates
from rollouts import random_rollout

from rljax import masking, objective, prepare, tokenization, update
from rljax.data.packing import make_layout, pack
from rljax.metrics.names import check_name
from rljax.models import decoder
from rljax.prompts import Prompt
from rljax.rewards import Scores
from rljax.rollouts import Experience, Generator, SamplerProgram, single_turn, with_external
from rljax.rollouts.external import comprehension
from rljax.rollouts.given import bring, written
from rljax.rollouts.measures import experience_metrics, is_hopeless, prompt_means, table_rows
from rljax.rollouts.sources import demonstrations, function, records
from rljax.rollouts.temperature import sampled_entropy
from rljax.sharding import make_mesh

TOKENIZER = tokenization.characters(alphabet='ab>')
Q, G = 3, 4
DRAWS = np.arange(10, 10 + Q)


@pytest.fixture(scope='module')
def sampler():
  """(generator of three prompts with four samples each, params)."""
  policy = decoder(
    vocab_size=TOKENIZER.vocab_size, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32
  )
  program = SamplerProgram(policy, make_mesh(devices=jax.devices()[:1]))
  generator = Generator(
    program, TOKENIZER, lambda r: r, prompts=Q, samples=G, max_prompt=3, max_new_tokens=4, seed=3
  )
  return generator, policy.init(jax.random.key(0))


def prompts():
  texts = ['ab>', 'a>', 'b>']
  return [
    Prompt(text=t, prompt_id=100 + i, tokens=tuple(TOKENIZER.encode(t)))
    for i, t in enumerate(texts)
  ]


def scorer(rewards):
  """Own samples by (draw, sample index); what others wrote by its text: a number of b's."""

  def score(completions):
    found = [
      rewards(c.draw_id - 10, c.sample_index) if c.sample_index < G else c.text.count('b')
      for c in completions
    ]
    return Scores(np.array(found, np.float32), {'part': np.array(found, np.float32)}, 0, 0, {})

  return score


def always(text):
  return lambda prompts, draws: [text] * len(prompts)


def run(sampler, rewards, sources, **hyper):
  generator, params = sampler
  return with_external(
    params, prompts(), DRAWS, generator, scorer(rewards), sources, 5, **hyper
  )


def external(found):
  """{group: texts of its external members}."""
  out = {}
  for own, group, c in zip(
    found.is_own, found.rollout.group_ids[found.rollout.group_ids >= 0], found.completions
  ):
    out.setdefault(int(group), []).extend([] if own else [c.text])
  return out


def first_is_right(draw, index):
  return float(draw == 0 and index == 0)


@pytest.mark.thorough
def test_every_group_gets_one_and_the_policy_draws_one_less(sampler):
  found = run(sampler, first_is_right, {'task': always('bb')})
  rollout = found.rollout
  np.testing.assert_array_equal(rollout.group_ids, np.repeat(np.arange(Q), G))
  np.testing.assert_array_equal(found.extras['is_external'], np.tile([0, 0, 0, 1], Q).astype(bool))
  np.testing.assert_array_equal(rollout.draw_ids, np.repeat(DRAWS, G))
  row, completion = 7, found.completions[7]
  tokens = (*TOKENIZER.encode('bb'), TOKENIZER.eos_ids[0])
  assert completion.tokens == tokens and not completion.truncated
  used = tuple(rollout.tokens[row, : rollout.num_tokens[row]].tolist())
  assert used == (*completion.prompt.tokens, *tokens)
  assert rollout.action_mask[row].sum() == 3 and not rollout.action_mask[row, :2].any()
  assert not rollout.policy_logprobs[row].any() and rollout.temperature[row] == 1
  assert found.scores.rewards[row] == 2 and found.scores.components['part'][row] == 2
  # What the policy drew is what it draws without others.
  generator, params = sampler
  alone = single_turn(params, prompts(), DRAWS, generator, scorer(first_is_right), 5)
  own = found.is_own
  kept = alone.rollout.sample_index < G - 1
  np.testing.assert_array_equal(rollout.tokens[own], alone.rollout.tokens[kept])


def test_metrics_and_means_are_those_of_what_the_policy_drew(sampler):
  found = run(sampler, first_is_right, {'one': always('b'), 'two': always('bb')}, num=2)
  metrics = {**experience_metrics(found), **found.metrics}
  for name in metrics:
    check_name(name)
  own = np.array([len(c.tokens) for c, mine in zip(found.completions, found.is_own) if mine])
  assert metrics['rollout/tokens'] == own.sum() and len(own) == Q * (G - 2)
  assert metrics['rollout/length_mean'] == pytest.approx(own.mean())
  assert metrics['reward/mean'] == pytest.approx(1 / 6)
  assert metrics['reward/part'] == pytest.approx(1 / 6)
  assert metrics['group/size'] == G and metrics['group/zero_variance'] == 0
  told = [metrics[f'rollout/{n}'] for n in ('external', 'external_missing', 'external_reward')]
  assert told == [6, 0, 1.5]
  ids, means = prompt_means(found)
  assert ids == [100, 101, 102]
  np.testing.assert_allclose(means, [0.5, 0, 0])
  rows = table_rows(found)
  assert [row['external'] for row in rows] == [False, False, True, True] * 2
  # Without the strategy's own metrics too: those of a strategy of somebody else.
  plain = dataclasses.replace(found, metrics={}, means=None)
  assert experience_metrics(plain)['reward/mean'] == pytest.approx(1 / 6)
  assert experience_metrics(plain)['rollout/tokens'] == own.sum()
  np.testing.assert_allclose(prompt_means(plain)[1], [0.5, 0, 0])


def test_only_hard_groups_get_some_and_their_worst_members_leave(sampler):
  table = np.array([[0, 0, 0, 0], [0, 0.5, 0, 0], [1, 1, 0, 1]])
  found = run(
    sampler, lambda d, i: table[d, i], {'task': always('b')}, num=2, accuracy=0.2
  )
  assert external(found) == {0: ['b', 'b'][:1], 1: ['b'], 2: []}  # the source has but one
  indices = [[c.sample_index for c in found.completions[g * G : g * G + G]] for g in range(Q)]
  assert indices == [[0, 1, 2, 4], [0, 1, 2, 4], [0, 1, 2, 3]]
  assert found.metrics['reward/mean'] == pytest.approx(table.mean())
  np.testing.assert_allclose(prompt_means(found)[1], table.mean(axis=1))
  assert found.metrics['rollout/tokens'] > sum(
    len(c.tokens) for c, mine in zip(found.completions, found.is_own) if mine
  )
  none = run(sampler, lambda d, i: 1.0, {'task': always('b')}, accuracy=0.0)
  assert none.metrics['rollout/external'] == 0 and none.is_own.all() and len(none.is_own) == Q * G
  lost = run(sampler, lambda d, i: math.nan, {'task': always('b')}, accuracy=0.0)
  assert lost.metrics['rollout/external'] == 0  # nothing is known of them


def test_the_entropy_of_the_samples_is_not_that_of_what_others_have_written(sampler):
  generator, params = sampler
  fewer = dataclasses.replace(generator, samples=G - 1)
  own = single_turn(params, prompts(), DRAWS, fewer, scorer(first_is_right), 5)
  found = run(sampler, first_is_right, {'task': always('b')})
  assert not found.is_own.all()
  assert sampled_entropy(found) == pytest.approx(sampled_entropy(own), rel=1e-5)


def test_hpt_a_hard_group_is_its_demonstration_and_the_others_stay(sampler):
  found = run(
    sampler, first_is_right, {'task': always('b')}, accuracy=0.0, place='instead'
  )
  groups = found.rollout.group_ids
  np.testing.assert_array_equal(groups, [0, 0, 0, 0, 1, 2] + [-1] * 6)
  assert external(found) == {0: [], 1: ['b'], 2: ['b']}
  assert not found.extras['is_external'][6:].any()


def test_chord_given_completions_are_in_no_statistic_of_the_group(sampler):
  found = run(sampler, first_is_right, {'task': always('b')}, place='alone')
  np.testing.assert_array_equal(
    found.rollout.group_ids, [0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5]
  )
  assert external(found) == {0: [], 1: ['b'], 2: [], 3: ['b'], 4: [], 5: ['b']}
  np.testing.assert_array_equal(found.rollout.draw_ids[[2, 3, 4]], [10, 10, 11])


def test_a_batch_knows_which_samples_are_external(sampler):
  found = run(sampler, first_is_right, {'task': always('b')}, place='instead', accuracy=0.0)
  rewards = found.to_rows(found.scores.rewards)
  layout = make_layout(samples=Q * G, group_size=G, max_length=7)
  batch, _ = pack(found.rollout, rewards, layout, extras=found.extras)
  np.testing.assert_array_equal(batch.is_external, found.extras['is_external'])
  assert batch.is_external.sum() == 2


def test_sources_have_their_turns_and_what_does_not_fit_is_counted(sampler):
  sources = {'one': always('b'), 'two': always('bb'), 'long': always('bbbb'), 'none': always(None)}
  found = run(sampler, first_is_right, sources)
  # In the order of their names: long, none, one, two; draws 10, 11, 12.
  assert [external(found)[g] for g in range(Q)] == [['b'], ['bb'], ['b']]
  found = run(sampler, first_is_right, {'long': always('bbbb')})
  assert found.metrics['rollout/external_missing'] == Q and found.is_own.all()
  assert 'rollout/external_reward' not in found.metrics
  assert np.sum(found.rollout.group_ids >= 0) == Q * (G - 1)


def test_ampo_takes_right_answers_that_the_policy_follows_best(sampler):
  generator, params = sampler
  sources = {'a': always('aab'), 'b': always('bab'), 'c': always('abb'), 'wrong': always('aaa')}
  settings = dict(num=2, accuracy=0.0, right=0.5, choose='comprehension', answer_after='a')
  found = run(sampler, lambda d, i: 0.0, sources, **settings)
  offers = [
    written(p, text, generator, draw, G)
    for p, draw in zip(prompts(), DRAWS) for text in ('aab', 'bab', 'abb')
  ]  # fmt: skip
  own = single_turn(params, prompts(), DRAWS, generator, scorer(first_is_right), 5)
  scores = Scores(np.ones(9, np.float32), {}, 0, 0, {})
  known = comprehension(params, offers, own, scores, generator, 4, 'a').reshape(Q, 3)
  assert np.all((known > 0) & (known <= 1))
  for group in range(Q):
    best = np.argsort(-known[group])[:2]
    assert sorted(external(found)[group]) == sorted(np.array(['aab', 'bab', 'abb'])[best])
  unmarked = comprehension(params, offers, own, scores, generator, 4, 'a>')
  np.testing.assert_allclose(unmarked, comprehension(params, offers, own, scores, generator, 4))
  # exp(mean of the answer's log-probs), from a plain forward pass over one text.
  completion = offers[0]
  tokens = np.array([[*completion.prompt.tokens, *completion.tokens]], np.int32)
  segments = np.zeros_like(tokens)
  policy = generator.program.policy
  hidden, _ = policy.hidden(
    params, tokens, segment_ids=segments, positions=np.arange(tokens.shape[1])[None]
  )
  logits = np.asarray(policy.unembed(policy.head(params), hidden), np.float64)[0]
  logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  said = [logp[t - 1, tokens[0, t]] for t in range(tokens.shape[1])][-2:]  # 'b' and the end
  assert known[0, 0] == pytest.approx(np.exp(np.mean(said)), rel=1e-4)


@pytest.mark.parametrize(
  'hyper, message',
  [
    (dict(place='beside'), "place 'beside' is not one of group, alone, instead"),
    (dict(choose='best'), "choose 'best' is not one of turns, comprehension"),
    (dict(num=4), 'num=4 with 4 samples of a prompt; 1 to 3 can'),
    (dict(num=0), 'num=0'),
    (dict(place='instead'), "place 'instead' of every group"),
  ],
)
def test_mistakes_are_named(sampler, hyper, message):
  with pytest.raises(ValueError, match=message):
    run(sampler, first_is_right, {'task': always('b')}, **hyper)


def test_external_samples_are_no_sign_of_ill_health():
  flat = {
    'rollout/truncated': 0.0, 'group/zero_variance': 1.0, 'group/size': 1.0, 'reward/mean': 0.0,
    'reward/std': 0.0,
  }  # fmt: skip
  assert is_hopeless([flat] * 3)
  assert is_hopeless([{**flat, 'rollout/external': 3}] * 3) is None


# -- sources


def test_sources_say_what_they_have(tmp_path):
  asked = prompts()
  assert demonstrations(lambda p: p.text[:1])(asked, DRAWS) == ['a', 'a', 'b']
  with pytest.raises(ValueError, match='the task has no demonstrations'):
    demonstrations(None)
  with pytest.raises(ValueError, match='prompt 100 is no text'):
    demonstrations(lambda p: [('a', True)])(asked, DRAWS)
  assert function(function=lambda p: None)(asked, DRAWS) == [None] * 3
  assert function(function='tasks.words.demonstrate')([Prompt('b>', 0, 'b')], [1]) == ['b']
  path = tmp_path / 'given.jsonl'
  lines = [{'prompt': 'ab>', 'completion': c} for c in 'xy'] + [{'prompt': 'b>', 'completion': 'z'}]
  path.write_text('\n'.join(map(json.dumps, lines)))
  source = records(path=str(path))
  assert source(asked, DRAWS) == ['x', None, 'z'] and source(asked, DRAWS + 1)[0] == 'y'
  with pytest.raises(ValueError, match="record 1: 'answer' is no text"):
    records(path=str(path), completion='answer')


def test_what_is_brought_leaves_the_policys_own_untouched(sampler):
  """Without anything to bring an experience is what it was."""
  generator, params = sampler
  own = single_turn(params, prompts(), DRAWS, generator, scorer(first_is_right), 5)
  same = bring(own, [], None, generator)
  assert isinstance(same, Experience) and same.completions == own.completions
  for a, b in zip(jax.tree.leaves(same.rollout), jax.tree.leaves(own.rollout)):
    np.testing.assert_array_equal(a, b)


# -- what is measured of a mixed batch


@pytest.mark.parametrize('minibatches', [1, 2])
def test_mismatch_is_that_of_tokens_that_the_sampler_drew(minibatches):
  """On-policy the loss pass measures it, with several steps `prepare` does."""
  rollout, rewards = random_rollout(0)
  external = np.arange(len(rewards)) % 4 == 1
  policy = tiny_updates.model('float32')
  params = {'policy': policy.init(jax.random.key(0))}
  terms = objective.build({**tiny_updates.GRPO, 'minibatches': minibatches})
  layout = make_layout(
    samples=24, group_size=4, max_length=20, rows=2, row_length=40, minibatches=minibatches
  )
  static = dict(objective=terms, policies={'policy': policy}, chunk_size=512)
  hyper = terms.hyper(0)

  @jax.jit
  def measured(batch):
    if minibatches == 1:
      measure = update.make_measure(terms, static['policies'])
      return measure(params, {}, batch, hyper, {})
    return prepare.prepare(batch, params, {}, hyper, **static)[1]

  found = []
  for lift in (0.0, 9.0):
    known = np.where(external[:, None], rollout.policy_logprobs + lift, rollout.policy_logprobs)
    given = rollout.replace(policy_logprobs=known.astype(np.float32))
    batch, _ = pack(given, rewards, layout, extras={'is_external': external})
    found.append(measured(batch))
  for name in ('rollout/mismatch_mean', 'rollout/mismatch_max'):
    assert found[0][name] == found[1][name] > 0
  # The mean is over the tokens that were drawn, not thinned by the others.
  rewards = np.where(external, np.nan, rewards)
  batch, _ = pack(rollout, rewards, layout, extras={'is_external': external})
  if minibatches == 1:
    batch = batch.replace(group_ids=np.where(batch.is_external, -1, batch.group_ids))
    drawn = float(measured(batch)['rollout/mismatch_mean'])
    assert drawn == pytest.approx(float(found[0]['rollout/mismatch_mean']), rel=1e-5)


@pytest.mark.parametrize('name', ['sequence_truncate', 'self_normalize'])
def test_a_correction_is_of_tokens_that_the_sampler_drew(name):
  """What stands for the unknown log-probs of others decides about no weight."""
  rollout, rewards = random_rollout(0)
  external = np.arange(len(rewards)) % 4 == 2
  policy = tiny_updates.model('float32')
  params = {'policy': policy.init(jax.random.key(0))}
  correction = dict(name=f'corrections.{name}')
  terms = objective.build({**tiny_updates.GRPO, 'minibatches': 2, 'correction': correction})
  layout = make_layout(
    samples=24, group_size=4, max_length=20, rows=2, row_length=40, minibatches=2
  )
  static = dict(objective=terms, policies={'policy': policy}, chunk_size=512)
  prepared = jax.jit(lambda batch: prepare.prepare(batch, params, {}, terms.hyper(0), **static)[0])
  found = []
  for logprob in (0.0, -9.0):
    known = np.where(external[:, None], logprob, rollout.policy_logprobs).astype(np.float32)
    given = rollout.replace(policy_logprobs=known)
    batch, _ = pack(given, rewards, layout, extras={'is_external': external})
    found.append(prepared(batch))
  weights = [np.asarray(b.weights['policy']) for b in found]
  np.testing.assert_array_equal(*weights)
  batch = found[0]
  outside = masking.sample_to_token(batch.is_external, batch.sample_ids, batch.segment_ids)
  scored = np.asarray(batch.weights['full']) > 0
  of_others, of_all = weights[0][scored & outside], np.asarray(batch.weights['full'])
  np.testing.assert_allclose(of_others, of_all[scored & outside], rtol=1e-6)
  assert not np.allclose(weights[0][scored & ~outside], of_all[scored & ~outside], rtol=0.05)
