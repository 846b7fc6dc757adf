"""What answers a policy's turns: tools, games, other people's environments."""

import json
import math
import random
from fractions import Fraction

import pytest

from rljax import binding, environments
from rljax.environments import Turn, tools
from rljax.environments.calculator import calculator
from rljax.environments.search import Index, search, words
from rljax.environments.tools import ToolError, between
from rljax.prompts import Prompt

PROMPT = Prompt(text='What?', prompt_id=3)


def turn(text, number=0, truncated=False):
  return Turn(tuple(text.encode()), text, truncated, number)


# -- calculator


@pytest.mark.parametrize(
  'expression, value',
  [
    ('47*86', '4042'),
    ('1,000 × 3', '3000'),
    ('$2.50 + 1', '3.5'),
    ('-(3 − 5)', '2'),
    ('2^10', '1024'),
    ('2**-2', '0.25'),
    ('1/3', '0.3333333333'),
    ('-2/3', '-0.6666666667'),
    ('0.1 + 0.2', '0.3'),
    ('7 % 4', '3'),
    ('(-8) % 3', '1'),
    ('1/3 + 2/3', '1'),
    ('0**0', '1'),
    ({'expression': '6/4'}, '1.5'),
  ],
)
def test_calculator(expression, value):
  assert calculator(expression) == value


def test_calculator_agrees_with_fractions():
  draw = random.Random(0)
  for _ in range(300):
    a, b, c = (draw.randint(-50, 50) for _ in range(3))
    d = draw.choice([1, 2, 4, 5, 8, 10])
    found = calculator(f'({a} + {b} * {c}) / {d} - {a}')
    assert Fraction(found) == Fraction(a + b * c, d) - a


@pytest.mark.parametrize(
  'expression, message',
  [
    ('', 'has 1 to'), ('1' * 201, 'has 1 to'), ('3 +', 'no expr'), ('2 apples', 'no expr'),
    ('1/0', 'division by 0'), ('5 % (2-2)', 'division by 0'), ('0**-1', 'division by 0'),
    ('9**9**9', 'too large'), ('(10**20)**3', 'too large'), ('1/10**30/10**30', 'too large'),
    ('2**0.5', 'only numbers'), ('__import__("os")', 'only numbers'), ('True', 'only numbers'),
    ('[1]', 'only numbers'), ('1j', 'only numbers'), ('a', 'only numbers'), ('((' * 90, 'no expr'),
    ({'expr': '1'}, 'has 1 to'), (None, 'only numbers'), ('1e999', 'too large'),
  ],
)  # fmt: skip
def test_what_a_calculator_refuses(expression, message):
  with pytest.raises(ToolError, match=message):
    calculator(expression)


# -- search

CORPUS = ['The river Rhine flows north.', 'A north wind blows.', 'Cats sleep.', 'The cats flow.']


def test_search_is_bm25():
  index = Index(CORPUS, k1=1.5, b=0.6)
  lengths = [len(words(text)) for text in CORPUS]
  mean = sum(lengths) / 4
  found = index.scores('north CATS north unknown')
  for number, text in enumerate(CORPUS):
    score = 0.0
    for word in ('north', 'cats', 'north', 'unknown'):
      n = sum(word in words(t) for t in CORPUS)
      f = words(text).count(word)
      norm = 1.5 * (0.4 + 0.6 * lengths[number] / mean)
      score += math.log(1 + (4 - n + 0.5) / (n + 0.5)) * f * 2.5 / (f + norm)
    assert found.get(number, 0.0) == pytest.approx(score)
  assert index.best('cats', 5) == [2, 3] and index.best('nothing', 5) == []


def test_search_reads_text_and_records(tmp_path):
  plain, records = tmp_path / 'a.txt', tmp_path / 'b.jsonl'
  plain.write_text('\n'.join([*CORPUS, '', ' ']))
  records.write_text('\n'.join(json.dumps({'text': text}) for text in CORPUS))
  for corpus in (plain, records):
    assert search({'query': 'cats'}, corpus=str(corpus), num=1) == '[1] Cats sleep.'
    assert search('north', corpus=str(corpus), max_characters=5) == '[1] A nor\n[2] The r'
  assert search('zebra', corpus=str(plain)) == 'nothing is found'
  with pytest.raises(ToolError, match='a word at least'):
    search('?!', corpus=str(plain))
  with pytest.raises(FileNotFoundError, match=r'none\.txt does not exist'):
    search('a', corpus=str(tmp_path / 'none.txt'))
  (tmp_path / 'c.jsonl').write_text('{"text": "a"}\n{"body": "b"}')
  with pytest.raises(ValueError, match=r"c\.jsonl, line 2: is no JSON record with 'text'"):
    search('a', corpus=str(tmp_path / 'c.jsonl'))


# -- tools


def test_a_call_is_answered_and_an_answer_ends():
  episode = tools().reset(PROMPT, 0)
  reply = episode.step(turn('I ask. <tool_call>6*7</tool_call>'))
  assert reply.observation == '<tool_result>42</tool_result>' and not reply.done
  assert reply.counts == {'calls': 1, 'calls_calculator': 1}
  for content in ('calculator: 6*7', '{"name": "calculator", "arguments": {"expression": "6*7"}}'):
    again = episode.step(turn(f'<tool_call>{content}</tool_call>\n'))
    assert again.observation == reply.observation
  last = episode.step(turn('It is 42.'))
  assert last.done and last.counts == {} and episode.outcome() == {'calls': 3}


@pytest.mark.parametrize(
  'content, message',
  [
    ('1/0', 'error: a division by 0'),
    ('{"name": 3', 'a call is {"name"'),
    ('{"arguments": "1"}', 'a call is {"name"'),
    ('[' * 10_000, 'error: an expression'),
    ('{"a":' * 10_000, 'a call is {"name"'),
    ('{"name": "oven", "arguments": "1"}', "there is no tool 'oven'; there is calculator"),
  ],
)
def test_a_malformed_call_hears_an_error(content, message):
  reply = tools().reset(PROMPT, 0).step(turn(f'<tool_call>{content}</tool_call>'))
  assert message in reply.observation and not reply.done and reply.counts['errors'] == 1


def test_limits_of_turns_and_calls():
  episode = tools(max_calls=1, max_turns=3, error='?').reset(PROMPT, 0)
  call = '<tool_call>1</tool_call>'
  assert episode.step(turn(call, 0)).observation == '<tool_result>1</tool_result>'
  refused = episode.step(turn(call, 1))
  assert refused.observation == '<tool_result>?</tool_result>' and refused.counts['refused'] == 1
  assert not refused.done and episode.step(turn(call, 2)).done
  cut = tools().reset(PROMPT, 0).step(turn('<tool_call>1+', truncated=True))
  assert cut.done and cut.counts == {'unfinished': 1}


def recall(arguments, prompt, *, prefix='>'):
  return f'{prefix}{arguments}{prompt.text}'


def test_several_tools_from_a_config(tmp_path):
  (tmp_path / 'c.txt').write_text('one\ntwo')
  node = dict(
    name='environments.tools',
    tools=dict(
      calculator='environments.calculator',
      search=dict(name='environments.search', corpus=str(tmp_path / 'c.txt')),
      recall=dict(name=f'{__name__}.recall', prefix='='),
    ),
    call=('[', ']'),
    result=('', ';'),
  )
  episode = binding.bind(node)({}).reset(PROMPT, 0)
  heard = [episode.step(turn(f'[{c}]')).observation for c in ('search: two', 'recall: x', '1+1')]
  assert heard[:2] == ['[1] two;', '=xWhat?;'] and "no tool '1+1'" in heard[2]
  for wrong in (('oven',), 'oven'):
    with pytest.raises(binding.BindingError, match='oven'):
      tools(tools=wrong)
  with pytest.raises(ValueError, match='the marks of a call'):
    tools(call=('', ']'))


def test_between():
  assert between('a[b][c] ', '[', ']') == 'c'
  for text in ('a]', '[a] b', '[a', '', ']['):
    assert between(text, '[', ']') is None


# -- games and adapters


def test_guessing_ends_when_it_is_found_or_late():
  game = environments.guessing(max_turns=4)
  episode = game.reset(Prompt(text='', prompt_id=0, answer=50), 0)
  heard = [episode.step(turn(t)) for t in ('10?', 'what?', '80?', '50?')]
  assert [r.observation for r in heard[:3]] == ['+', '!', '-']
  assert heard[3].done and heard[3].reward == 1 and heard[1].counts == {'unreadable': 1}
  assert episode.outcome() == {'solved': True, 'turns': 4}
  late = game.reset(Prompt(text='', prompt_id=0, answer=50), 0)
  assert [late.step(turn('1?')).done for _ in range(4)] == [False] * 3 + [True]
  assert not late.outcome()['solved']
  secrets = [game.reset(PROMPT, seed)._secret for seed in range(50)]
  assert len(set(secrets)) > 20 and secrets[7] == game.reset(PROMPT, 7)._secret
  with pytest.raises(ValueError, match='no number from low=3 to high=2'):
    environments.guessing(low=3, high=2)


class Counter:
  """In gymnasium's manner: actions are added up to 10."""

  def __init__(self, prompt):
    self.total, self.closed, self.prompt = 0, False, prompt

  def reset(self, seed=None):
    self.total = seed % 3
    return self.total, {}

  def step(self, action):
    self.total += action
    return self.total, float(action), self.total >= 10, False, {'total': self.total}

  def close(self):
    self.closed = True


def test_other_peoples_environments():
  make = environments.gymnasium_style(
    make=f'{__name__}.Counter', read_action='builtins.int', observation=('=', ';'), max_turns=4
  )
  episode = make.reset(PROMPT, 1)
  heard = [episode.step(turn(f'{text}\n', i)) for i, text in enumerate(('4', 'x', '6'))]
  assert [r.observation for r in heard[::2]] == ['=5;', '=11;']
  assert heard[1].observation.startswith('=error: invalid literal') and not heard[1].done
  assert [r.done for r in heard] == [False, False, True] and [r.reward for r in heard] == [4, 0, 6]
  assert episode.outcome() == {'return': 10.0, 'info': {'total': 11}} and episode._env.closed
  late = make.reset(PROMPT, 0)
  assert [late.step(turn('1\n', i)).done for i in range(4)] == [False] * 3 + [True]


class Echo:
  """In the manner of verifiers; its answers are coroutines."""

  async def env_response(self, messages, state):
    state['heard'] = state.get('heard', 0) + 1
    said = messages[-1]['content']
    return [{'role': 'user', 'content': f'{said}?'}, {'role': 'tool', 'content': '.'}], state

  def is_completed(self, messages, state):
    state['reward'] = float(len(messages))
    return 'stop' in messages[-1]['content']


def test_environments_of_messages():
  adapter = environments.verifiers_style(
    make=f'{__name__}.Echo', message=('<{role}>', '<assistant>'), stops=('|',), max_turns=9
  )
  episode = adapter.reset(PROMPT, 1)
  first = episode.step(turn('hello|'))
  assert first.observation == '<user>hello?<tool>.<assistant>' and not first.done
  last = episode.step(turn('stop|', 1))
  assert last.done and last.reward == 5  # question, hello, two answers, stop
  outcome = episode.outcome()
  assert outcome['state']['heard'] == 1 and outcome['state']['turn'] == 2
  assert [m['role'] for m in outcome['messages']] == [
    'user', 'assistant', 'user', 'tool', 'assistant'
  ]  # fmt: skip
  assert adapter.reset(PROMPT, 1).step(turn('x|', 8)).done


def reply(prompt, said, heard, seed, *, manners='please'):
  return 'bye' if len(said) == 2 else f'{prompt.text} {said[-1]} {len(heard)} {seed} {manners}'


def test_users():
  users = environments.user(
    answer=dict(name=f'{__name__}.reply', manners='now'), end='bye', stops=('U:',),
    speech=('U:', 'A:'),
  )  # fmt: skip
  episode = users.reset(PROMPT, 7)
  assert episode.step(turn('a fish U:')).observation == 'U:What? a fish  0 7 nowA:'
  last = episode.step(turn('no', 1))
  assert last.done and last.counts == {'ended': 1}
  assert episode.outcome() == {'said': ['a fish ', 'no'], 'heard': ['What? a fish  0 7 now']}
  assert users.reset(PROMPT, 7).step(turn('a', truncated=True)).done


# -- Python


def test_python_prints_and_keeps_nothing():
  assert environments.python('x = 6\nprint(x * 7)', allow=True) == '42'
  assert environments.python({'code': 'print(x)'}, allow=True).startswith('error: NameError')
  assert environments.python('pass', allow=True) == '(no output)'
  cut = environments.python('print("a" * 999)', allow=True, max_characters=20)
  assert cut == 'a' * 10 + '\n…\n' + 'a' * 10
  assert environments.python('while True: pass', allow=True, cpu_seconds=1).startswith('timeout')
  with pytest.raises(ToolError, match='there is no program'):
    environments.python(' ', allow=True)


def test_python_runs_only_where_it_may():
  with pytest.raises(PermissionError, match='allow'):
    environments.python('print(1)')
