"""Rewards by degrees: each measure against its definition, each reward on texts that it reads."""

import math
import random

import pytest
from reference import similarity as slow

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, layout, matching, rankings, similarity, style, units


def random_words(draw, most=8, letters='abc'):
  return [draw.choice(letters) for _ in range(draw.randint(0, most))]


# -- texts


def test_edit_distance_and_common_subsequence_are_those_of_the_table():
  draw = random.Random(0)
  for _ in range(300):
    one, other = random_words(draw), random_words(draw)
    assert similarity.edit_distance(one, other) == slow.edit_distance(one, other)
    assert similarity.common_subsequence(one, other) == slow.common_subsequence(one, other)
  one, other = random_words(draw, 300, 'abcdefgh'), random_words(draw, 300, 'abcdefgh')
  assert similarity.edit_distance(one, other) == slow.edit_distance(one, other)


def test_edit_ratio():
  assert similarity.edit_ratio('kitten', 'sitting') == pytest.approx(1 - 3 / 7)
  assert similarity.edit_ratio('', '') == 1 and similarity.edit_ratio('', 'ab') == 0
  assert similarity.edit_ratio('x' * 20_000 + 'y', 'x' * 20_000) == pytest.approx(1 - 1 / 20_001)


def test_squad_normalization():
  assert similarity.normalized_words('The "so-so"\tCat, a  dog.') == ['soso', 'cat', 'dog']
  assert similarity.exact_match('The Cat!', 'cat') == 1
  assert similarity.exact_match('theatre', 'atre') == 0, 'an article is a word of its own'
  assert similarity.exact_match('cat dog', 'dog cat') == 0


def test_token_f1_counts_repetitions():
  draw = random.Random(1)
  for _ in range(200):
    one, other = random_words(draw, 8, 'xyz'), random_words(draw, 8, 'xyz')
    if one and other:
      shared = slow.shared_words(one, other)
      expected = slow.f_measure(shared, len(one), len(other))
      assert similarity.token_f1(' '.join(one), ' '.join(other)) == pytest.approx(expected)
  assert similarity.token_f1('', 'the') == 1 and similarity.token_f1('', 'cat') == 0
  assert similarity.token_f1('cat cat', 'cat') == pytest.approx(2 / 3)


@pytest.mark.parametrize('beta', [1.0, 1.2])
def test_rouge_l(beta):
  draw = random.Random(2)
  for _ in range(100):
    one, other = random_words(draw), random_words(draw)
    expected = 0.0
    if shared := slow.common_subsequence(one, other):
      precision, recall = shared / len(one), shared / len(other)
      expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    found = similarity.rouge_l(' '.join(one), '. '.join(other), beta=beta)
    assert found == pytest.approx(expected)
  assert similarity.rouge_l('Police killed the gunman', 'police kill the gunman') == 0.75


# -- rankings


@pytest.mark.parametrize('exponential', [False, True])
@pytest.mark.parametrize('k', [None, 1, 3])
def test_ndcg(k, exponential):
  draw = random.Random(3)
  for _ in range(30):
    relevance = {item: draw.randint(0, 3) for item in 'abcd'} | {'e': 2}
    ranked = random_words(draw, 6, 'abcdefg')
    found = rankings.ndcg(ranked, relevance, k=k, exponential=exponential)
    assert found == pytest.approx(slow.ndcg(ranked, relevance, k, exponential))
  assert rankings.ndcg('ecba', dict(a=0, b=1, c=2, e=3)) == 1
  assert rankings.ndcg('aaaa', dict(a=1, b=1)) < rankings.ndcg('ab', dict(a=1, b=1)) == 1


def test_recall_and_reciprocal_rank():
  assert rankings.recall_at_k('xaby', 'abc', k=2) == pytest.approx(1 / 3)
  assert rankings.recall_at_k('aaa', 'ab') == 0.5
  assert rankings.reciprocal_rank('xyb', 'ab') == pytest.approx(1 / 3)
  assert rankings.reciprocal_rank('xyz', 'ab') == 0


@pytest.mark.parametrize('p', [0.3, 0.9])
def test_rank_biased_overlap(p):
  draw = random.Random(4)
  for _ in range(40):
    one = draw.sample('abcdefg', draw.randint(0, 7))
    other = draw.sample('abcdefg', draw.randint(1, 7))
    expected = slow.rank_biased_overlap(one, other, p)
    assert rankings.rank_biased_overlap(one, other, p=p) == pytest.approx(expected)
    assert rankings.rank_biased_overlap(other, other, p=p) == pytest.approx(1)
  assert rankings.rank_biased_overlap('ab', 'abcd', p=p) == pytest.approx(1), 'as far as it goes'
  assert rankings.rank_biased_overlap('ba', 'abcd', p=p) < rankings.rank_biased_overlap(
    'ab', 'abcd', p=p
  )
  assert rankings.rank_biased_overlap('aaaa', 'abcd', p=p) < 1, 'a repetition overlaps nothing'


def test_overlap_of_sets_and_intervals():
  assert rankings.set_iou('abc', 'bcd') == 0.5 and rankings.set_iou('', '') == 1
  draw = random.Random(5)
  for _ in range(30):
    sides = [
      [tuple(sorted((draw.randint(0, 50) / 50, draw.randint(0, 50) / 50))) for _ in range(3)]
      for _ in range(2)
    ]
    expected = slow.interval_iou(*sides)
    assert rankings.interval_iou(*sides) == pytest.approx(expected)
  assert rankings.interval_iou([], [(0, 1)]) == 0


@pytest.mark.parametrize(
  ('function', 'arguments', 'message'),
  [
    (rankings.ndcg, ('a', {'a': 0}), 'one of them > 0'),
    (rankings.ndcg, ('a', {'a': -1, 'b': 2}), 'numbers ≥ 0'),
    (rankings.recall_at_k, ('a', ''), 'nothing is relevant'),
    (rankings.reciprocal_rank, ('a', ()), 'nothing is relevant'),
    (rankings.rank_biased_overlap, ('a', ''), 'an item at least'),
    (rankings.interval_iou, ([(2, 1)], []), r'\(2, 1\) is no interval'),
    (rankings.interval_iou, ([(1, 1)], []), 'no length'),
    (lambda script: style.script_share('a', script=script), ('elvish',), "'elvish' is none of"),
  ],
)
def test_what_cannot_be_measured_is_an_error(function, arguments, message):
  with pytest.raises(ValueError, match=message):
    function(*arguments)


# -- as rewards


def test_the_best_reference_counts_and_a_missing_part_does_not():
  text = 'I think it is <answer>The Eiffel tower</answer>'
  assert matching.exact(text, ['louvre', 'eiffel tower'], tag='answer') == {
    'reward': 1,
    'found': 1,
  }
  assert matching.exact(text, 'eiffel tower')['reward'] == 0
  assert matching.words('eiffel', 'the eiffel tower')['reward'] == pytest.approx(2 / 3)
  assert matching.edits('abcd', 'abxd')['reward'] == 0.75
  assert matching.rouge('a b c', ['a', 'c b a'])['reward'] == pytest.approx(0.5)
  assert matching.edits('no tag', 'no tag', tag='answer') == {'reward': 0, 'found': 0}
  for answer in (None, 3, [], [1]):
    with pytest.raises(ValueError, match='no list of references'):
      matching.exact('a', answer)


def test_lists_and_intervals_are_read():
  assert matching.members('- Ann\n2. bob.\n* Eve', ['ann', 'Bob'])['reward'] == pytest.approx(2 / 3)
  assert matching.members('a, b', ['b', 'a'], separator=',')['reward'] == 1
  assert matching.intervals('from 1 to 3 and [4.0, 5]', [(2, 5)])['reward'] == pytest.approx(0.5)
  assert matching.intervals('3 to 1', [(1, 3)]) == {'reward': 0, 'found': 0}
  text = '1. x\n2. a\n3. b'
  assert matching.ranking(text, ['a', 'b'], metric='reciprocal_rank')['reward'] == 0.5
  assert matching.ranking(text, {'a': 2, 'b': 1}, metric='recall', k=2)['reward'] == 0.5
  assert matching.ranking('a\nb', {'b': 1, 'a': 2})['reward'] == 1
  assert matching.ranking('b\na', {'b': 1, 'a': 2})['reward'] < 1
  assert matching.ranking('a\nb', ['a', 'b'], metric='rank_biased_overlap')['reward'] == 1
  with pytest.raises(ValueError, match="metric 'map' is none of ndcg"):
    matching.ranking('a', ['a'], metric='map')


def test_in_a_worker_with_its_hyper_parameters():
  given = [
    Completion(prompt=Prompt('p', 0, answer='b c'), tokens=(), text=text, truncated=False)
    for text in ('<answer>b c</answer>', 'b c')
  ]
  with Scorer({'name': 'rewards.matching.words', 'tag': 'answer'}, workers=1) as scorer:
    scores = scorer.score(given)
  assert scores.rewards.tolist() == [1, 0] and scores.components['found'].tolist() == [1, 0]


# -- layout


GOOD = '<think>2 and 2 is 4</think>\n<answer>4</answer>'


@pytest.mark.parametrize(
  ('text', 'reward', 'marks'),
  [
    (GOOD, 1, 1),
    (f' {GOOD}\n', 1, 1),
    (f'Well: {GOOD}', 0, 1),
    (f'{GOOD} so', 0, 1),
    ('<think>a</think> or <answer>4</answer>', 0, 1),
    ('<think>a</think><answer> </answer>', 0, 1),
    ('<answer>4</answer><think>a</think>', 0, 1),
    ('<think>a<answer>4</answer></think>', 0, 1),
    ('<think>a</think>4', 0, 0.5),
    (f'{GOOD}<answer>5</answer>', 0, 0.5),
    ('', 0, 0),
  ],
)
def test_think_and_answer(text, reward, marks):
  assert layout.think_answer(text) == {'reward': reward, 'marks': marks}
  half = layout.tags_in_order(text, partial=0.5)['reward']
  assert half == (1 if reward else 0.5 * marks)


def test_layouts_of_ones_own():
  assert layout.think_answer(GOOD.removeprefix('<think>'), opened=True)['reward'] == 1
  assert layout.think_answer(GOOD, opened=True)['reward'] == 0, 'opened twice'
  assert layout.tags_in_order(f'So {GOOD}!', text_between=True)['reward'] == 1
  nested = '<think>a<answer>4</answer></think>'
  assert layout.tags_in_order(nested, text_between=True)['reward'] == 0
  assert layout.tags_in_order('<a>1</a><b>2</b><c>3</c>', tags=('a', 'b', 'c'))['reward'] == 1
  with pytest.raises(ValueError, match='a list of names'):
    layout.tags_in_order('a', tags='think')


def test_the_answer_is_in_the_reasoning():
  def check(think, answer, **hyper):
    text = f'<think>{think}</think><answer>{answer}</answer>'
    return layout.think_answer_consistency(text, **hyper)['reward']

  assert check('so it must be the Red Fox.', 'red fox') == 1
  assert check('a red and a fox', 'red fox') == 0
  assert check('that makes 1,200 in all', '1200') == check('x = 0.5', '.5') == 1
  assert check('that makes 12001', '1200') == check('1-2', '2-1') == 0
  assert check('it is 4, no, after all 5', '4') == 1
  assert check('it is 4, no, after all 5', '4', last=2) == 0
  assert check('anything', '...') == 0, 'an answer without words'
  missing = {'reward': 0, 'found': 0}
  assert layout.think_answer_consistency('<answer>4</answer>') == missing
  assert layout.think_answer_consistency('4 <answer>4</answer>', think='')['reward'] == 1


# -- style


def test_scripts():
  assert style.script_share('hello — 2 + 2 = 4') == 1 and style.script_share('123') == 1
  assert style.script_share('ab привет') == pytest.approx(2 / 8)
  assert style.script_share('привет ab', script='cyrillic') == pytest.approx(6 / 8)
  assert style.script_share('日本のカタカナ', script='japanese') == 1
  assert style.script_share('日本の', script='han') == pytest.approx(2 / 3)


def test_repetition():
  words = 'a b c a b c'.split()
  grams = {tuple(words[i : i + 3]) for i in range(4)}
  assert style.repetition(' '.join(words)) == pytest.approx(-(1 - len(grams) / 4))
  assert style.repetition('A a. a! a', n=2, max_penalty=-0.5) == pytest.approx(-0.5 * 2 / 3)
  assert style.repetition('one two') == 0
  with pytest.raises(ValueError, match='n ≥ 1'):
    style.repetition('a', n=0)


def test_units():
  text = 'Dr. Who met J. Smith (at 3.5 p.m.). "Really?" he asked... Yes!\n\nA second one'
  assert units.sentences(text)[0] == 'Dr. Who met J. Smith (at 3.5 p.m.).'
  assert len(units.sentences(text)) == 5 and len(units.paragraphs(text)) == 2
  assert units.words("don't well-known x_1 – 5") == ["don't", 'well-known', 'x_1', '5']
  assert units.sentences('你好。再见！') == ['你好。', '再见！']
  assert units.sentences('?!') == units.paragraphs('\n\n') == units.lines(' ') == []
  assert [units.count('ab c!\ndd', unit) for unit in units.UNITS] == [8, 3, 2, 1, 2]
  with pytest.raises(ValueError, match="unit 'pages' is none of"):
    units.count('a', 'pages')


def test_lengths():
  def reward(n, **hyper):
    return style.length_band('w ' * n, **hyper)['reward']

  assert [reward(n, low=2, high=4) for n in range(6)] == [0, 0, 1, 1, 1, 0]
  assert [reward(n, high=4, slack=2) for n in (4, 5, 6, 7)] == [1, 0.5, 0, 0]
  assert style.length_near('w ' * 5, {}, target=10) == {'reward': 0.5, 'length': 5}
  assert style.length_near('w ' * 5, {'target_length': 4}, width=0.5)['reward'] == 0.5
  assert math.isclose(style.length_near('w ' * 30, {}, target=10)['reward'], 0)
  with pytest.raises(ValueError, match='target ≥ 1'):
    style.length_near('w', {})
  with pytest.raises(ValueError, match='0 ≤ low ≤ high'):
    style.length_band('w', low=3, high=2)
