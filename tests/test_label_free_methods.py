"""Methods whose reward is what a group says itself: votes, novelty, nearness to successes."""

import collections
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import config, shaping
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, embeddings, novelty, self_reference
from rljax.rollouts import crowd
from rljax.sampling import make_requests

PROMPT = Prompt(text='1+2=', prompt_id=0, answer='abcd')


def scores_of(name, *drawn):
  """Scores of groups of texts by the reward of a config; tokens are the letters."""
  node = config.load(str(config.find(name))).rewards.reward.to_dict()
  given = [
    Completion(PROMPT, tuple(map(ord, text)), text, False, draw, i)
    for draw, texts in enumerate(drawn)
    for i, text in enumerate(texts)
  ]
  with Scorer(node, workers=0) as scorer:
    found = scorer.score(given)
  assert not found.messages
  return found


# -- ttrl -----------------------------------------------------------------------------------------


def test_ttrl_rewards_the_most_frequent_answer_whatever_is_right():
  found = scores_of('presets/ttrl', ['acbd', 'abcd', 'acbd', ' ', 'dcba'], ['abcd', 'x y'])
  assert found.rewards.tolist() == [1, 0, 1, 0, 0, 1, 0]
  assert found.components['answered'].tolist() == [1, 1, 1, 0, 1, 1, 1]


# -- evol_rl --------------------------------------------------------------------------------------


def slow_novelty(texts, answers, alpha, n):
  """Rewards from the formula, one sample after the other."""
  def vector(text):
    return collections.Counter(text[i : i + n] for i in range(max(len(text) - n + 1, 1)))

  def cosine(one, other):
    dot = sum(one[k] * other[k] for k in one)
    return dot / math.sqrt(sum(x * x for x in one.values()) * sum(x * x for x in other.values()))

  known = [a for a in answers if a is not None]
  winner = max(known, key=lambda a: (known.count(a), -known.index(a)))
  side = [None if a is None else a == winner for a in answers]
  values = {}
  for i, own in enumerate(side):
    others = [j for j in range(len(texts)) if j != i and side[j] is not None]
    if own is not None:
      alike = {j: cosine(vector(texts[i]), vector(texts[j])) for j in others}
      same = [alike[j] for j in others if side[j] == own]
      mean = sum(same) / len(same) if same else 0
      values[i] = 1 - alpha * mean - (1 - alpha) * max(alike.values())
  rewards = []
  for i, own in enumerate(side):
    peers = [v for j, v in values.items() if side[j] == own]
    if own is None:
      rewards.append(-1)
    else:
      spread = max(peers) - min(peers)
      u = (values[i] - min(peers)) / spread if spread > 1e-9 else 0
      rewards.append((0.5 if own else -1) + u / 2)
  return rewards


def test_evol_rl_pays_the_majority_for_novelty_and_so_the_others():
  texts = ['1+2=3,3+4=7', '1+2=3,3+4=7', '2+4=6,6+1=7', '1+2=3,3+4=8', '1+2=3,3+5=8', 'none', '9']
  answers = [7, 7, 7, 8, 8, None, 9]
  found = scores_of('papers/evol_rl', texts)
  np.testing.assert_allclose(found.rewards, slow_novelty(texts, answers, 0.5, 3), rtol=1e-5)
  rewards = found.rewards
  assert rewards[0] == rewards[1] == 0.5 and rewards[2] == 1, 'another way to the same answer'
  assert rewards[5] == -1 and np.isnan(found.components['novelty'][5])
  assert (rewards[[3, 4, 6]] <= -0.5).all() and rewards[6] == -0.5
  assert found.components['majority'].tolist() == [1, 1, 1, 0, 0, 0, 0]
  settings = config.load(str(config.find('papers/evol_rl'))).rl
  assert settings.loss.clip_high == 0.28 and settings.entropy_coef > 0


def test_evol_rl_takes_an_encoder():
  table = {'a 1': (1, 0), 'b 1': (0, 2), 'c 1': (0, 5)}
  found = novelty.majority_novelty(
    list(table), embed=lambda texts: [table[text] for text in texts], alpha=1.0
  )
  assert [part['novelty'] for part in found] == [1, 0.5, 0.5]
  assert [part['reward'] for part in found] == [1, 0.5, 0.5]
  assert [p['reward'] for p in novelty.majority_novelty(['', 'x'])] == [-1, -1]
  assert novelty.majority_novelty(['5'])[0]['reward'] == 0.5
  with pytest.raises(ValueError, match='alpha=2'):
    novelty.majority_novelty(['5'], alpha=2)


def test_vectors_have_length_one():
  one, other = embeddings.embedded('x', ['', ''], lambda texts: [(3, 4), (0, 0)])
  assert one == {0: 0.6, 1: 0.8} and other == {} and embeddings.cosine(one, other) == 0
  assert embeddings.cosine(one, one) == pytest.approx(1)
  assert embeddings.ngrams('abc', 2) == [('a', 'b'), ('b', 'c')]
  assert embeddings.ngrams('ab', 3) == [('a', 'b')] and embeddings.ngrams('', 3) == []


# -- rlccf ----------------------------------------------------------------------------------------


def slow_collective(rewards, groups, members, codes):
  """Rewards from the formula, group by group."""
  out = np.array(rewards, float)
  for group in set(groups) - {-1}:
    own = [i for i in range(len(groups)) if groups[i] == group and np.isfinite(rewards[i])]
    votes = collections.Counter()
    for member in {members[i] for i in own}:
      said = [codes[i] for i in own if members[i] == member]
      counts = collections.Counter(code for code in said if code >= 0)
      for code, count in counts.items():
        votes[code] += count * max(counts.values()) / len(said)
    best = [code for code in votes if votes[code] > max(votes.values()) - 1e-9]
    for i in own:
      out[i] = codes[i] >= 0 and codes[i] == min(best)
  return out


def vote(rewards, groups, members, codes, function=shaping.collective_vote):
  return function(
    jnp.asarray(rewards, jnp.float32),
    jnp.asarray(groups, jnp.int32),
    jnp.asarray(members, jnp.int32),
    {'answer_code': jnp.asarray(codes, jnp.float32)},
  )


def test_rlccf_listens_to_members_who_agree_with_themselves():
  members, codes = [0, 0, 0, 1, 1, 1, 1], [5, 5, 5, 7, 7, 8, 9]
  found = vote(np.ones(7), np.zeros(7), members, [*codes[:3], 7, 7, 7, 9])
  np.testing.assert_array_equal(found, [1, 1, 1, 0, 0, 0, 0])
  # By heads 7 would win; 3·1 of one member is more than 4·½ of the other.
  members, codes = [0] * 3 + [1] * 8, [5] * 3 + [7] * 4 + [1, 2, 3, 4]
  np.testing.assert_array_equal(vote(np.ones(11), np.zeros(11), members, codes), [1] * 3 + [0] * 8)
  alone = vote(np.ones(11), np.zeros(11), np.zeros(11), codes)
  np.testing.assert_array_equal(alone, [0] * 3 + [1] * 4 + [0] * 4)


@pytest.mark.parametrize('num_members', [1, 3])
def test_rlccf_votes_are_those_of_the_formula(num_members):
  rng = np.random.default_rng(num_members)
  function = jax.jit(shaping.collective_vote)
  for _ in range(20):
    groups = np.where(rng.random(24) < 0.1, -1, rng.integers(0, 3, 24))
    rewards = np.where(rng.random(24) < 0.1, np.nan, rng.random(24)).astype(np.float32)
    members, codes = rng.integers(0, num_members, 24), rng.integers(-1, 3, 24)
    found = vote(rewards, groups, members, codes, function)
    np.testing.assert_array_equal(found, slow_collective(rewards, groups, members, codes))
    if num_members == 1:
      arrays = (rewards, groups.astype(np.int32), codes.astype(np.int32))
      plain = shaping.majority_vote(*map(jnp.asarray, arrays))
      np.testing.assert_array_equal(found, plain)
  with pytest.raises(ValueError, match="no component 'answer_code'; there are none"):
    shaping.collective_vote(jnp.ones(1), jnp.zeros(1, int), jnp.zeros(1, int), {})


def test_rlccf_members_have_temperatures_of_their_own():
  settings = config.load(str(config.find('papers/rlccf'))).rl
  assert settings.rollout.name == 'rollouts.crowd' and 'member_ids' in settings.extras
  asked = {}

  def requests(prompts, draw_ids, **changes):
    asked.update(changes)
    return make_requests(
      [(2, 3)] * len(prompts), draw_ids=draw_ids, samples_per_prompt=4, max_prompt=2,
      max_new_tokens=2, stop_ids=(1,), num_prompts=3, **changes,
    )  # fmt: skip

  def sample(params, requests, prompts):
    asked['rows'] = requests
    return requests, [], {}, {}

  generate = types.SimpleNamespace(samples=4, temperature=0.5, requests=requests, sample=sample)

  def run(**hyper):
    return crowd(None, [PROMPT, PROMPT], [0, 1], generate, lambda _: None, **hyper)

  found = run(temperatures=(0.5, 1.0, 2.0))
  np.testing.assert_allclose(asked['temperature'], [0.25, 0.5, 1, 0.25] * 2)
  assert found.extras['member_ids'].tolist() == [0, 1, 2, 0] * 2 + [0] * 4
  np.testing.assert_allclose(
    asked['rows'].temperature[:8], np.array([0.25, 0.5, 1])[found.extras['member_ids'][:8]]
  )
  for wrong in ((), (0.0, 1.0), (1.0,) * 5):
    with pytest.raises(ValueError, match='for 4 samples of a prompt'):
      run(temperatures=wrong)


# -- srpo_self_referential ------------------------------------------------------------------------


def sigmoid(x):
  return 1 / (1 + math.exp(-x))


def test_srpo_self_referential_pays_failures_for_their_nearness_to_successes():
  groups = ['abcd', 'abdc', 'zzzz', 'abcx'], ['dcba', 'zzzz'], ['abcd', 'abcd']
  found = scores_of('papers/srpo_self_referential', *groups)
  distances = np.array([0.5, 1, 0.25])
  z = (distances - distances.mean()) / distances.std()
  expected = [1, *map(sigmoid, -z), 0, 0, 1, 1]
  np.testing.assert_allclose(found.rewards, expected, rtol=1e-5)
  assert 1 > found.rewards[3] > found.rewards[1] > found.rewards[2] > 0
  assert found.rewards[4] == found.rewards[5], 'no success to refer to'


def progress(texts, successes, **hyper):
  """Rewards of one group; texts in `successes` succeed."""
  fields = {
    'completions': texts, 'prompts': texts, 'answers': [''] * len(texts),
    'metadata': [{}] * len(texts), 'tokens': [tuple(map(ord, t)) for t in texts],
    'truncated': [False] * len(texts), 'groups': list(range(len(texts))),
  }  # fmt: skip
  def reward(completion):
    if completion == 'raise':
      raise ValueError('sample')
    return float(completion in successes)

  return self_reference.progress(reward=reward, **hyper, **fields)


def test_srpo_self_referential_takes_successes_of_the_whole_batch():
  found = progress(['ab', 'ac', 'raise', 'zz'], {'ab'})
  assert [isinstance(part, Exception) for part in found] == [False, False, True, False]
  assert [found[i]['reward'] for i in (0, 1, 3)] == [1, sigmoid(1), sigmoid(-1)]
  assert [part['reward'] for part in progress(['ac', 'zz'], {'ab'})] == [0, 0]
  equal = progress(['ab', 'ax', 'ay'], {'ab'}, scale=0.5)
  assert [part['reward'] for part in equal] == [1, 0.25, 0.25]
  with pytest.raises(ValueError, match="pool='prompt'"):
    progress(['a'], {'a'}, pool='prompt')


def test_srpo_self_referential_compares_with_clusters():
  table = {'a': (1, 0), 'b': (3, 4), 'x': (4, 3), 'y': (0, 1)}

  def embed(texts):
    return [table[text] for text in texts]

  near = progress(['a', 'b', 'x', 'y'], {'a', 'b'}, embed=embed)
  assert near[2]['distance'] == pytest.approx(1 - 0.96)  # of b
  wide = progress(['a', 'b', 'x', 'y'], {'a', 'b'}, embed=embed, radius=0.5)
  assert wide[2]['distance'] == pytest.approx(1 - 0.8), 'b belongs to the cluster of a'
