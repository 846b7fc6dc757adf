"""Methods that rank documents: what their rewards pay for."""

import itertools

import numpy as np
import pytest

from rljax import config, tasks
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, documents, rankings

RELEVANCE = {'1': 0.0, '2': 3.0, '3': 1.0, '4': 0.0, '5': 2.0}


def reward_of(name):
  return config.load(str(config.find(name))).rewards.reward.to_dict()


def score(node, said, prompts):
  """Rewards and components of completions, a group for each prompt."""
  given = [
    Completion(prompt=prompt, tokens=(i,), text=text, truncated=False, draw_id=prompt.prompt_id)
    for i, (text, prompt) in enumerate(zip(said, prompts, strict=True))
  ]
  with Scorer(node, workers=0) as scorer:
    return scorer.score(given)


def of_group(node, *said, answer=RELEVANCE):
  prompt = Prompt(text='abc:...>', prompt_id=0, answer=answer)
  return score(node, said, [prompt] * len(said))


# -- reasonrank -----------------------------------------------------------------------------------


def test_reasonrank_pays_several_views_behind_two_gates():
  def tagged(ranked):
    return f'<t>0,3,1,0,2</t><a>{">".join(ranked)}</a>'

  best, near, far = '25314', '35214', '14352'
  found = of_group(
    reward_of('papers/reasonrank'),
    *(tagged(order) for order in (best, near, far)),
    '<t>1</t><a>2>5>3</a>',  # a list that leaves documents out
    '<t>1</t><a>2>2>5>3>1</a>',
    '<a>2>5>3>1>4</a>',
    '2>5>3>1>4',
  )
  expected = [
    rankings.ndcg(order, RELEVANCE, k=3)
    + 0.1 * rankings.recall_at_k(order, '253', k=3)
    + 0.1 * rankings.rank_biased_overlap(order, '253')
    for order in (best, near, far)
  ]
  np.testing.assert_allclose(found.rewards, [*expected, 0, 0, -1, -1], rtol=1e-6)
  assert found.rewards[0] == pytest.approx(1.2) and expected[0] > expected[1] > expected[2]
  assert 'gated.gated.overlap' in found.components and not found.messages


# -- grouprank ------------------------------------------------------------------------------------


def test_grouprank_pays_for_order_and_for_the_scale_of_scores():
  found = of_group(
    reward_of('papers/grouprank'), '0,3,1,0,2', '1,4,2,1,3', '3,0,0,1,2', '0,3,1', 'no', '2,2,2,2,2'
  )
  order, scale = (found.components[name] for name in ('ndcg', 'distribution'))
  np.testing.assert_allclose(found.rewards, order + 0.5 * scale, rtol=1e-6)
  assert found.rewards[0] == 1.5
  assert order[1] == 1 and scale[1] == 0.75, 'the right order, all scores one too high'
  assert order[2] < 1 and scale[2] == 1, 'the right scores, of other documents'
  assert found.rewards[3] == found.rewards[4] == 0
  mean = np.mean([rankings.ndcg(p, RELEVANCE) for p in itertools.permutations('12345')])
  assert order[5] == pytest.approx(mean), 'equal scores are a random order'
  assert found.components['ndcg.accuracy'].tolist()[:2] == [1, 0]


def test_ndcg_of_equal_scores_is_the_mean_over_their_orders():
  rng = np.random.default_rng(0)
  for _ in range(20):
    scores = dict(zip('abcde', rng.integers(0, 3, 5).tolist()))
    graded = dict(zip('abcdf', [*rng.integers(0, 4, 4).tolist(), 1]))
    k = int(rng.integers(1, 6))
    orders = [p for p in itertools.permutations(scores)
              if [scores[x] for x in p] == sorted(scores.values(), reverse=True)]
    mean = np.mean([rankings.ndcg(p, graded, k=k, exponential=True) for p in orders])
    found = rankings.ndcg_of_scores(scores, graded, k=k, exponential=True)
    assert found == pytest.approx(mean)
  with pytest.raises(ValueError, match='one of them > 0'):
    rankings.ndcg_of_scores({'a': 1}, {'a': 0})


def test_distributions_match_in_any_order():
  assert rankings.distribution_match([3, 0, 1], [1, 3, 0], span=2) == 1
  assert rankings.distribution_match([1, 1], [0, 4], span=4) == pytest.approx(1 - 2 / 4)
  assert rankings.distribution_match([9], [0], span=4) == 0
  for bad in (dict(one=[1], other=[1, 2], span=1), dict(one=[1], other=[1], span=0)):
    with pytest.raises(ValueError, match='equally many'):
      rankings.distribution_match(**bad)


# -- erank ----------------------------------------------------------------------------------------


def test_erank_pays_a_score_for_its_place_among_the_other_prompts():
  def prompt(number, grade, query=0):
    text = f'q{query}:d{number}'
    return Prompt(text=text, prompt_id=number, answer=grade, metadata={'set': query})

  high, middle, low = prompt(0, 4.0), prompt(1, 2.0), prompt(2, 0.0)
  said = [(high, '4'), (high, '1'), (middle, '2'), (middle, '2'), (low, '0'), (low, '3'),
          (low, 'no'), (prompt(3, 4.0, query=1), '1'), (prompt(4, 3.0, query=1), '0')]  # fmt: skip
  prompts, texts = zip(*said)
  found = score(reward_of('papers/erank'), texts, prompts)
  # The others stand at their means: high 2.5, middle 2, low 1.5.
  rank = rankings.ndcg
  grades = dict(h=4, m=2, l=0)
  expected = [1, rank('mlh', grades), 1, 1, 1, rank('lhm', grades), 0, 1, 1]
  np.testing.assert_allclose(found.rewards, expected, rtol=1e-6)
  assert found.components['rank'].tolist()[:2] == [0, 2]
  others = [t if p is not low else '0' for p, t in said]
  moved = score(reward_of('papers/erank'), others, prompts).rewards
  assert moved[1] > found.rewards[1], 'the same score, paid by what is said to another prompt'


def test_erank_says_what_is_missing():
  alone = Prompt(text='q:d', prompt_id=0, answer=1.0, metadata={'set': 7})
  found = score(reward_of('papers/erank'), ['1', '2'], [alone, alone])
  assert np.isnan(found.rewards).all() and found.errors == 2
  assert "query 7 has 1 documents in the batch" in next(iter(found.messages))
  with pytest.raises(ValueError, match="no 'set'; it has other"):
    documents.among_others(['1'], ['p'], [1.0], [{'other': 1}])


def test_erank_draws_the_documents_of_a_query_together():
  settings = config.load(str(config.find('papers/erank')))
  assert settings.rl.prompts % settings.rl.curriculum.size == 0
  task = tasks.reranking(form='points', num_test=50)
  size = settings.rl.curriculum.size
  assert len({p.metadata['set'] for p in task.train[:size]}) == 1
  assert task.train[size].metadata['set'] == 1
  queries = [{p.text.split(':')[0] for p in part[:40]} for part in (task.train, task.test)]
  assert not queries[0] & queries[1]
  for prompt in task.train[:20]:
    query, document = prompt.text[:-1].split(':')
    assert prompt.answer == sum(letter in query for letter in document)
    assert task.demonstrate(prompt) == str(int(prompt.answer))
