"""Choices, sets, lists, JSON and calls of tools: what is right, in part, unreadable, hostile."""

import json

import pytest

from rljax import rewards
from rljax.prompts import Completion, Prompt

WEATHER = {'name': 'weather', 'arguments': {'city': 'Rome', 'days': 3}}
TIME = {'name': 'time', 'arguments': {}}


def call(value):
  return f'<tool_call>\n{json.dumps(value)}\n</tool_call>'


def check(reward, completion, answer, expected, **hyper):
  """`expected`: the components that are not 0, without the reward, which is the accuracy."""
  found = reward(completion, answer, **hyper)
  assert found['reward'] == found['accuracy']
  assert {k: v for k, v in found.items() if v and k != 'reward'} == pytest.approx(expected)


RIGHT = {'accuracy': 1, 'formatted': 1}


@pytest.mark.parametrize(
  ('completion', 'expected'),
  [
    ('The answer is (B).', {**RIGHT, 'lenient': 1}),
    ('\\boxed{Paris}', {**RIGHT, 'lenient': 1}),
    ('I choose B', {'lenient': 1}),
    ('The answer is A', {'formatted': 1}),
    ('The answer is A or B', {'formatted': 1, 'lenient': 1}),
    ('', {}),
  ],
)
def test_choice(completion, expected):
  options = {'A': 'Rome', 'B': 'Paris'}
  check(rewards.choice, completion, {'value': 'B', 'options': options}, expected)


@pytest.mark.parametrize(
  ('completion', 'expected'),
  [
    ('\\boxed{\\{2, 1, 1\\}}', {**RIGHT, 'precision': 1, 'recall': 1}),
    ('The answer is 1 and 4/2.', {**RIGHT, 'precision': 1, 'recall': 1}),
    ('\\boxed{1, 2, 3, 4}', {'formatted': 1, 'precision': 0.5, 'recall': 1}),
    ('\\boxed{1}', {'formatted': 1, 'precision': 1, 'recall': 0.5}),
    ('\\boxed{\\{\\}}', {}),
    ('1, 2', {}),
  ],
)
@pytest.mark.parametrize('answer', ['1, 2', '\\{1, 2\\}', [1, 2], {'value': '(2, 1)'}])
def test_set(completion, answer, expected):
  check(rewards.answer_set, completion, answer, expected)


@pytest.mark.parametrize(
  ('completion', 'expected'),
  [
    ('\\boxed{[red, green]}', {**RIGHT, 'in_place': 1}),
    ('The answer is Red, green.', {**RIGHT, 'in_place': 1}),
    ('\\boxed{green, red}', {'formatted': 1}),
    ('\\boxed{red, green, blue, red}', {'formatted': 1, 'in_place': 0.5}),
    ('', {}),
  ],
)
@pytest.mark.parametrize('answer', ['red, green', '[red, green]', ['red', 'green']])
def test_list(completion, answer, expected):
  check(rewards.answer_list, completion, answer, expected)


@pytest.mark.parametrize(
  ('completion', 'expected'),
  [
    ('{"b": [1, 2.0], "a": "x"}', {**RIGHT, 'leaves': 1}),
    ('so ```json\n{"a": "x", "b": [1, 2]}\n``` it is {', {**RIGHT, 'leaves': 1}),
    ('<answer>{"a": "x", "b": [1, 2]}</answer>', {**RIGHT, 'leaves': 1}),
    ('{"a": 1} no:\n```\n{"a": "x", "b": [1, 2]}\n```', {**RIGHT, 'leaves': 1}),
    ('{"a": "x", "b": [2, 1]}', {'formatted': 1, 'leaves': 1 / 3}),
    ('{"a": "x", "b": [1, true]}', {'formatted': 1, 'leaves': 2 / 3}),
    ('{"a": "X", "b": [1, 2]}', {'formatted': 1, 'leaves': 2 / 3}),
    ('{"a": "x", "b": [1, 2], "c": null}', {'formatted': 1, 'leaves': 1}),
    ('{"a": "x", "a": "x", "b": [1, 2]}', {}),
    ("{'a': 'x', 'b': [1, 2]}", {}),
    ('{"a": NaN}', {}),
    ('[]', {'formatted': 1}),
    ('none', {}),
  ],
)
def test_json(completion, expected):
  for answer in ({'a': 'x', 'b': [1, 2]}, '{"a": "x", "b": [1, 2]}'):
    check(rewards.json_value, completion, answer, expected)


def test_json_settings():
  more = '{"a": 1.01, "b": 2}'
  assert rewards.json_value(more, {'a': 1})['reward'] == 0
  hyper = {'tolerance': 0.02, 'may_add_keys': True}
  check(rewards.json_value, more, {'a': 1}, {**RIGHT, 'leaves': 1}, **hyper)
  check(rewards.json_value, '[true]', [1], {'formatted': 1}, tolerance=1.0)


@pytest.mark.parametrize(
  ('completion', 'expected'),
  [
    (call(WEATHER) + call(TIME), {**RIGHT, 'names': 1, 'arguments': 1}),
    (json.dumps([WEATHER, TIME]), {**RIGHT, 'names': 1, 'arguments': 1}),
    (call(WEATHER) + call({'name': 'time'}), {**RIGHT, 'names': 1, 'arguments': 1}),
    (call(TIME) + call(WEATHER), {'formatted': 1}),
    (call(WEATHER), {'formatted': 1, 'names': 0.5, 'arguments': 0.5}),
    (
      call({'name': 'weather', 'arguments': {'city': 'Oslo', 'days': 3}}) + call(TIME),
      {'formatted': 1, 'names': 1, 'arguments': 0.5},
    ),
    (call(WEATHER) + '<tool_call>{"name": "time"', {}),
    (call({'name': 'time', 'code': 'x'}), {}),
    (call('time'), {}),
    ('I need no tool', {'formatted': 1}),
  ],
)
def test_tool_calls(completion, expected):
  for answer in ([WEATHER, TIME], json.dumps([WEATHER, TIME])):
    check(rewards.tool_calls, completion, answer, expected)


def test_tool_calls_in_any_order_and_none_at_all():
  turned = call(TIME) + call(WEATHER)
  assert rewards.tool_calls(turned, [WEATHER, TIME], ordered=False)['reward'] == 1
  twice = call(WEATHER) + call(WEATHER)
  assert rewards.tool_calls(twice, [WEATHER, TIME], ordered=False)['arguments'] == 0.5
  assert rewards.tool_calls('no tool is needed', [])['reward'] == 1
  assert rewards.tool_calls(call(TIME), [])['reward'] == 0


@pytest.mark.parametrize(
  ('reward', 'answer', 'message'),
  [
    (rewards.choice, 'Paris', 'said to be a choice'),
    (rewards.answer_set, [], 'needs elements'),
    (rewards.answer_list, '', 'needs a text'),
    (rewards.json_value, '{', 'no JSON'),
    (rewards.tool_calls, [{'tool': 'x'}], 'needs calls with a name'),
    (rewards.tool_calls, '7', 'needs calls with a name'),
  ],
)
def test_a_gold_answer_that_is_none(reward, answer, message):
  with pytest.raises(ValueError, match=message):
    reward('\\boxed{1}', answer)


@pytest.mark.parametrize(
  'noise',
  ['{' * 20_000, '[' * 50_000 + ']' * 50_000, '{"a": ' * 9000, '9' * 20_000, '```\n' * 5000],
)
def test_noise_is_unreadable(noise):
  answer = {'a': 1}
  for completion in (noise, f'{noise}}}', f'<tool_call>{noise}</tool_call>'):
    assert rewards.json_value(completion, answer)['accuracy'] == 0
    assert rewards.tool_calls(completion, [TIME])['accuracy'] == 0


@pytest.mark.parametrize(
  ('reward', 'answer', 'completion'),
  [
    ('rewards.choice', 'B', '\\boxed{B}'),
    ('rewards.answer_set', '1, 2', '\\boxed{2, 1}'),
    ('rewards.answer_list', '1, 2', '\\boxed{1, 2}'),
    ('rewards.json_value', {'a': 1}, '{"a": 1}'),
    ('rewards.tool_calls', [TIME], call(TIME)),
  ],
)
def test_by_name(reward, answer, completion):
  prompt = Prompt(text='p', prompt_id=0, answer=answer)
  given = [
    Completion(prompt=prompt, tokens=(), text=text, truncated=False) for text in (completion, 'no')
  ]
  with rewards.Scorer(reward, workers=0) as scorer:
    scores = scorer.score(given)
  assert scores.rewards.tolist() == [1, 0] and not scores.errors
