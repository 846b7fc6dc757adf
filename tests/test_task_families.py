"""Procedural task families: exact rewards, splits that hold, knobs that are checked."""

import itertools

import pytest

from rljax import binding, environments, tasks, tokenization
from rljax.environments.protocol import Turn
from rljax.tasks.digits import ALPHABET as DIGITS
from rljax.tasks.edits import ALPHABET as EDITS
from rljax.tasks.edits import edited
from rljax.tasks.lookup import ALPHABET as LOOKUP
from rljax.tasks.paths import ALPHABET as PATHS
from rljax.tasks.paths import shortest
from rljax.tasks.ranking import ALPHABET as RANKING
from rljax.tasks.reranking import ALPHABET as RERANKING
from rljax.tasks.retrieval import ALPHABET as RETRIEVAL
from rljax.tasks.retrieval import CALL, ERROR, RESULT

# (task, hyper-parameters of a variant, alphabet, a wrong answer in the right format)
FAMILIES = [
  (tasks.lookup, {'chain': 3, 'num_pairs': 10, 'key_length': 1}, LOOKUP, 'qqq'),
  (tasks.paths, {'num_nodes': 26, 'num_edges': 30, 'min_steps': 4}, PATHS, 'a'),
  (tasks.digits, {'num_digits': 2, 'num_terms': 4, 'num_test': 100}, DIGITS, '11111'),
  (tasks.edits, {'length': 12, 'num_edits': 8}, EDITS, 'a'),
  (tasks.ranking, {'num_items': 6, 'num_parts': 1}, RANKING, 'abcdefghijklm'),
  (tasks.reranking, {'num_documents': 3, 'num_relevant': 1}, RERANKING, '<t>1</t><a>1>1</a>'),
  (tasks.retrieval, {'hops': 5, 'tool_share': 0.5}, RETRIEVAL, '1'),
]
MAKES = [family[0] for family in FAMILIES]


def name_of(value):
  return getattr(value, '__name__', '')


def score(task, prompt, completion):
  """(reward, its components) as a run computes them."""
  node = {'name': task.reward} if isinstance(task.reward, str) else task.reward
  values = {'completion': completion, 'answer': prompt.answer, 'metadata': prompt.metadata}
  found = binding.bind(node, values)(values)
  return (found.pop('reward'), found) if isinstance(found, dict) else (found, {})


def said(demonstration):
  """(everything, the last turn) of a demonstration."""
  if isinstance(demonstration, str):
    return demonstration, demonstration
  return ''.join(text for text, _ in demonstration), demonstration[-1][0]


@pytest.mark.parametrize(('make', 'variant', 'alphabet', 'wrong'), FAMILIES, ids=name_of)
def test_only_the_answer_is_right(make, variant, alphabet, wrong):
  tokenizer = tokenization.characters(alphabet=alphabet)
  for task in (make(), make(**variant)):
    for prompt in [*task.train[:100], *task.test[:30]]:
      everything, answer = said(task.demonstrate(prompt))
      tokenizer.encode(prompt.text + everything)
      assert task.well_formed(answer) and task.well_formed(wrong) and not task.well_formed('')
      reward, components = score(task, prompt, answer)
      assert reward == 1 and set(components.values()) <= {1.0}
      for completion in ('', wrong):
        reward, components = score(task, prompt, completion)
        assert reward == 0 and all(value < 1 for value in components.values())


@pytest.mark.parametrize(('make', 'variant', 'alphabet', 'wrong'), FAMILIES, ids=name_of)
def test_train_and_test_share_no_problem(make, variant, alphabet, wrong):
  del alphabet, wrong
  for task in (make(), make(**variant, seed=5)):
    test = list(task.test)
    held_out = {p.metadata['problem'] for p in test}
    assert len(test) == len(held_out) == len({p.text for p in test}) > 50
    assert [p.prompt_id for p in test] == list(range(len(test)))
    assert not held_out & {p.metadata['problem'] for p in task.train[:2000]}


@pytest.mark.parametrize('make', MAKES, ids=name_of)
def test_prompts_are_a_function_of_seed_and_index(make):
  one, other = make(seed=3), make(seed=3)
  assert one.train[77] == other.train[77] and one.train[-1] == other.train[len(one.train) - 1]
  assert one.test[5] == other.test[5]
  assert one.train[:20] != make(seed=4).train[:20]
  assert len({p.text for p in one.train[:20]}) > 10


@pytest.mark.parametrize(
  ('make', 'small', 'prompts'),
  [
    (tasks.lookup, {'chain': 1, 'num_pairs': 2, 'key_length': 1, 'num_test': 20}, 4),
    (tasks.paths, {'num_nodes': 3, 'num_edges': 2, 'num_test': 20}, 1.3),
    (tasks.digits, {'num_digits': 1, 'num_test': 5, 'test_fraction': 0.3}, 3),
    (tasks.edits, {'length': 2, 'num_edits': 2, 'letters': 'ab', 'num_test': 20}, 1.02),
    (tasks.ranking, {'num_items': 2, 'num_parts': 2, 'high': 2, 'num_test': 20}, 3),
  ],
  ids=name_of,
)
def test_one_problem_comes_up_in_several_orders(make, small, prompts):
  """What the split by problems is for: many texts to a problem, and still none in both splits."""
  task = make(**{'test_fraction': 0.2, 'num_train': 6000, **small})
  train = list(task.train)
  problems = {p.metadata['problem'] for p in train}
  assert len({p.text for p in train}) > prompts * len(problems)
  assert not problems & {p.metadata['problem'] for p in task.test}


def test_what_is_the_same_problem():
  for prompt in tasks.digits(kinds=('sum',)).train[:50]:
    a, b = prompt.text.replace('?', prompt.answer).partition('=')[0].split('+')
    assert prompt.metadata['problem'] == '{}+{}'.format(*sorted((int(a), int(b))))
  for prompt in tasks.ranking().train[:50]:
    parts = prompt.text.removesuffix('>').split(',')
    assert sorted(parts) == sorted(prompt.metadata['problem'].split(','))
  for prompt in tasks.paths().train[:50]:
    edges = prompt.text.partition('?')[0].split(',')
    same = ','.join(sorted(''.join(sorted(edge)) for edge in edges))
    assert prompt.metadata['problem'] == same


def test_lookup():
  task = tasks.lookup(chain=3, num_pairs=10)
  for prompt in task.train[:100]:
    context, key = prompt.text.removesuffix('>').split('?')
    pairs = [pair.split(':') for pair in context.split(',')]
    values = dict(pairs)
    assert len(values) == len(pairs) == len({value for _, value in pairs}) == 10
    chain = [key]
    while chain[-1] in values:
      chain.append(values[chain[-1]])
    assert len(chain) == 4 and chain[-1] == prompt.answer
    assert score(task, prompt, chain[1]) == (0, {'progress': pytest.approx(1 / 3)})
    ends = [value for value in values.values() if value not in values]
    assert len(ends) == 4, 'the end alone does not give the answer away'
    other = next(end for end in ends if end != prompt.answer)
    assert score(task, prompt, other) == (0, {'progress': 0})
  assert len({p.text.index(p.answer) for p in task.train[:100]}) == 10, 'it stands anywhere'


def test_paths():
  task = tasks.paths(num_nodes=6, num_edges=9)
  longer = several = 0
  for prompt in task.train[:200]:
    edges = {frozenset(edge) for edge in prompt.text.partition('?')[0].split(',')}
    start, goal = prompt.text[-3:-1]
    assert len(edges) == 9 and (prompt.answer[0], prompt.answer[-1]) == (start, goal)
    between = sorted(set().union(*edges) - {start, goal})
    ways = [
      start + ''.join(middle) + goal
      for size in range(len(between) + 1)
      for middle in itertools.permutations(between, size)
      if all(frozenset(e) in edges for e in itertools.pairwise(start + ''.join(middle) + goal))
    ]
    least = min(map(len, ways))
    assert len(prompt.answer) == least > 2
    for way in ways:
      assert score(task, prompt, way) == (float(len(way) == least), {'valid': 1})
      longer += len(way) > least
    several += sum(len(way) == least for way in ways) > 1
    back = prompt.answer[::-1]
    jump, detour = start + goal, start + prompt.answer[1] + start + prompt.answer[1:]
    for way in (back, jump, detour, prompt.answer[:-1], prompt.answer[1:], prompt.answer + '>'):
      assert score(task, prompt, way) == (0, {'valid': 0})
  assert longer > 100 and several > 20
  assert shortest('a', ['ab', 'cb', 'de']) == {'a': 'a', 'b': 'ab', 'c': 'abc'}


def test_digits():
  task = tasks.digits(num_digits=2, num_terms=4, num_test=100)
  kinds = {'+': 0, ',': 0}
  falls = 0
  for prompt in task.train[:300]:
    whole = prompt.text.removesuffix('>').replace('?', prompt.answer)
    assert prompt.text.count('?') == 1
    if '+' in whole:
      kinds['+'] += 1
      left, _, total = whole.partition('=')
      assert sum(map(int, left.split('+'))) == int(total) and len(prompt.answer) == 1
    else:
      kinds[','] += 1
      numbers = [int(number) for number in whole.split(',')]
      steps = {b - a for a, b in itertools.pairwise(numbers)}
      assert len(steps) == 1 and len(numbers) == 5 and 10 <= min(numbers) <= max(numbers) <= 99
      falls += steps.pop() < 0
  assert min(kinds.values()) > 100 and 30 < falls < kinds[','] - 30
  assert all('+' in p.text for p in tasks.digits(kinds=['sum']).train[:20])


def test_edits():
  assert edited('abc', '+1x') == 'xabc' and edited('abc', '+4x') == 'abcx'
  assert edited('abc', '-1') == 'bc' and edited('abc', '-3') == 'ab'
  assert edited('abc', '=2x') == 'axc' and edited('abc', '~1,3') == 'cba'
  assert edited('abcdefghijkl', '=12x') == 'abcdefghijkx'
  assert edited('abcdefghijkl', '~2,11') == 'akcdefghijbl'
  task = tasks.edits(length=10, num_edits=4)
  kinds = set()
  for prompt in task.train[:100]:
    word, *operations = prompt.text.removesuffix('>').split(';')
    assert len(word) == 10 and len(operations) == 4
    for operation in operations:
      kinds.add(operation[0])
      before, word = word, edited(word, operation)
      assert word != before
    assert word == prompt.answer
  assert kinds == set('+-=~')
  reward, components = score(task, prompt, prompt.answer[:-1])
  assert reward == 0 and components['similarity'] == 1 - 1 / len(prompt.answer)
  few = tasks.edits(kinds='+-', letters='abcdef').train[:50]
  assert all(set(p.text) <= set('abcdef0123456789;+->') for p in few)


def test_ranking():
  task = tasks.ranking(num_items=4, num_parts=3, exponential=False)
  for prompt in task.train[:100]:
    scores = {}
    for part in prompt.text.removesuffix('>').split(','):
      scores[part[0]] = scores.get(part[0], 0) + int(part[1:])
    assert len(set(scores.values())) == 4
    assert list(prompt.answer) == sorted(scores, key=lambda item: -scores[item])
  orders = {
    ''.join(order): score(task, prompt, ''.join(order))[0]
    for order in itertools.permutations(prompt.answer)
  }
  best, *others = sorted(orders, key=orders.get, reverse=True)
  assert best == prompt.answer and orders[best] == 1 > max(orders[o] for o in others)
  assert min(orders, key=orders.get) == prompt.answer[::-1]
  worst = orders[prompt.answer[::-1]]
  strict = tasks.ranking(num_items=4, num_parts=3)
  assert 0 < score(strict, prompt, prompt.answer[::-1])[0] < worst
  assert 0 < score(task, prompt, best[:3])[0] < 1
  for bad in (best + best, best + best[0], best[0] * 4, '!' + best):
    assert score(task, prompt, bad) == (0, {'accuracy': 0})
  assert score(task, prompt, others[0])[1] == {'accuracy': 0}


@pytest.mark.parametrize('hops', [1, 3])
def test_retrieval_with_the_search_tool(tmp_path, hops):
  path = tmp_path / 'facts.txt'
  task = tasks.retrieval(corpus=str(path), num_facts=200, hops=hops, tool_share=0.5, num_test=8)
  lines = path.read_text().splitlines()
  assert len(lines) == len(set(lines)) == 200 * hops
  tool = {'name': 'environments.search', 'corpus': str(path), 'num': 1}
  own = environments.tools(tools={'search': tool}, call=CALL, result=RESULT, error=ERROR)
  searched = 0
  for prompt in task.train[:100]:
    parts = task.demonstrate(prompt)
    if isinstance(parts, str):
      assert parts == prompt.answer
      continue
    searched += 1
    assert len(parts) == 2 * hops + 1
    episode = own.reset(prompt, 0)
    for number, ((call, is_said), (heard, is_heard)) in enumerate(zip(parts[::2], parts[1::2])):
      reply = episode.step(Turn(text=call, tokens=(), number=number, truncated=False))
      assert is_said and not is_heard and reply.observation == heard and not reply.done
    assert parts[-2][0].endswith(f' is {prompt.answer}.{RESULT[1]}')
  assert 30 < searched < 70
  assert prompt.text.startswith('What is the key of ') and prompt.text.count(' of ') == hops


def test_retrieval_never_overwrites_a_corpus(tmp_path):
  path = tmp_path / 'facts.txt'
  tasks.retrieval(corpus=str(path), num_facts=20)
  written = path.read_text()
  tasks.retrieval(corpus=str(path), num_facts=20)
  with pytest.raises(ValueError, match=r'facts\.txt.*exists and holds other passages'):
    tasks.retrieval(corpus=str(path), num_facts=20, seed=1)
  assert path.read_text() == written


@pytest.mark.parametrize(
  ('make', 'hyper', 'message'),
  [
    (tasks.lookup, {'chain': 9}, 'chain=9, num_pairs=8'),
    (tasks.lookup, {'chain': 0}, 'chain=0'),
    (tasks.lookup, {'key_length': 0}, 'key_length=0'),
    (tasks.lookup, {'num_pairs': 26, 'key_length': 1}, 'needs 39 keys, of key_length=1 .* 26'),
    (tasks.paths, {'num_nodes': 27}, 'num_nodes=27'),
    (tasks.paths, {'num_edges': 29}, 'num_edges=29'),
    (tasks.paths, {'min_steps': 8}, 'min_steps=8'),
    (tasks.digits, {'num_digits': 16}, 'num_digits=16'),
    (tasks.digits, {'kinds': ('product',)}, "kinds=\\('product',\\)"),
    (tasks.digits, {'num_digits': 1, 'num_terms': 9}, 'num_terms=9'),
    (tasks.edits, {'kinds': '+*'}, "kinds='\\+\\*'"),
    (tasks.edits, {'letters': 'aB'}, "letters='aB'"),
    (tasks.edits, {'length': 0}, 'length=0'),
    (tasks.ranking, {'num_items': 40}, 'num_items=40'),
    (tasks.ranking, {'num_parts': 1, 'high': 3}, 'num_items=4, num_parts=1, high=3'),
    (tasks.retrieval, {'hops': 6}, 'hops=6'),
    (tasks.retrieval, {'num_facts': 5000}, 'num_facts=5000 .*needs 10000 numbers.* 9000'),
    (tasks.retrieval, {'num_test': -1}, 'num_test=-1'),
    (tasks.lookup, {'test_fraction': 1.5}, 'test_fraction=1.5'),
  ],
)
def test_impossible_knobs_are_named(make, hyper, message):
  with pytest.raises(ValueError, match=f'^{make.__name__}: .*{message}'):
    make(**hyper)


@pytest.mark.parametrize(
  ('make', 'hyper', 'message'),
  [
    (tasks.edits, {'length': 1, 'kinds': '-'}, 'edits: no problem found for the test split'),
    (tasks.paths, {'num_nodes': 4, 'num_edges': 6}, 'paths: no problem .*raise num_nodes'),
    (tasks.digits, {'num_digits': 1}, r'digits: too few .*num_test=1024; raise num_digits'),
    (tasks.retrieval, {'num_facts': 50}, r'retrieval: too few .*num_facts.*found \d+ of 64'),
  ],
)
def test_problems_that_are_never_found(make, hyper, message):
  with pytest.raises(ValueError, match=message):
    make(**hyper).test[0]
