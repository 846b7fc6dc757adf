"""Readers of other people's text and files: whatever comes, an answer or the documented error."""

import datetime
import io
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_tokenization import TEMPLATE

from rljax import checkpoint, config, data, files, metrics, overrides
from rljax.environments import calculator
from rljax.environments.protocol import Turn
from rljax.environments.tools import ToolError, between, tools
from rljax.models import huggingface_config, tensor_files
from rljax.prompts import Prompt
from rljax.rewards import answers, documents, expressions, layout, sql, structures, style
from rljax.rewards.grading import equality, notation, values
from rljax.rewards.grading.terms import Refused
from rljax.rewards.judges import JudgeError, Reply, conversation
from rljax.rewards.short_answer import short_answer
from rljax.rewards.tool_calls import tool_calls
from rljax.tasks import record_files
from rljax.tokenization import TokenizerError
from rljax.tokenization.chat_template import ChatTemplate

few = settings(
  max_examples=60, deadline=None, derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
PIECES = (
  '\\boxed{', '}', '{', '(', ')', '[', ']', '<answer>', '</answer>', '<think>', '</think>', '####',
  '```', '```json\n', '\n', ' ', '1', '-1', '1,000', '3/4', '\\frac{1}{2}', '\\sqrt', '^', '_', '$',
  '\\(', '\\)', '%', 'km', 'the answer is ', '"', "'", ':', ',', '<tool_call>', '</tool_call>',
  '{"name": "a", "arguments": {}}', '[1,', 'é', '٣', '\x00', '𝟙', ' and ', '=', 'x', '\\text{',
  '\\left', '|', '&', '\\\\', ';', '[1]>[2]', 'Verdict: yes', '1e999', '9' * 400, '!', '**', 'NaN',
  '\ud800', '\\begin{pmatrix}', '\\end{pmatrix}', '∪', '⦃', '«', '»', '±', '\u2028',
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=14).map(''.join)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
jsons = st.recursive(
  leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner,
                                                                      max_size=4), max_leaves=12
)  # fmt: skip


# -- completions

GRADERS = {
  'extract': answers.extract,
  'number': answers.extract_number,
  'parse_number': answers.parse_number,
  'unmarked': lambda s: [answers.extract_unmarked(s, k, 'AB') for k in ('number', 'choice', '')],
  'short_answer': lambda s: short_answer(s, '1/2', symbolic=False),
  'choice': lambda s: structures.choice(s, {'value': 'B', 'options': {'A': 'x', 'B': 'y'}}),
  'answer_set': lambda s: structures.answer_set(s, '{1,2}', symbolic=False),
  'answer_list': lambda s: structures.answer_list(s, '1,2', symbolic=False),
  'json_value': lambda s: structures.json_value(s, {'a': [1, {'b': None}]}, tolerance=0.1),
  'tool_calls': lambda s: tool_calls(s, [{'name': 'a', 'arguments': {}}], ordered=False),
  'permutation': lambda s: documents.permutation(s, {'1': 1.0, '2': 0.5}),
  'numbers': documents.numbers,
  'think_answer': layout.think_answer,
  'repetition': style.repetition,
  'between': lambda s: between(s, '<tool_call>', '</tool_call>'),
  'query': sql.extract_query,
  'plain': lambda s: notation.latex(notation.plain(s)),
}


@pytest.mark.parametrize('grade', GRADERS.values(), ids=GRADERS)
@few
@given(text=texts)
def test_no_completion_is_too_strange_to_be_graded(grade, text):
  grade(text)


@few
@given(one=texts, two=texts)
def test_answers_are_compared_or_the_gold_one_is_refused(one, two):
  try:
    equality.compare(one, two, use_symbolic=False)
  except ValueError as error:
    assert str(error).startswith('gold answer')


@few
@given(text=texts, kind=st.sampled_from(['', *sorted(values.KINDS)]))
def test_values_are_read_or_refused(text, kind):
  try:
    assert values.read(notation.plain(text), kind).kind in values.KINDS | {'formula'}
  except Refused:
    pass


@pytest.mark.parametrize(
  'text', ['(1,' * 2000 + '2' + ')' * 2000, '=' * 9000, '⦃' * 4000, 'x=' * 9]
)
def test_values_of_deep_nesting_are_refused_or_text(text):
  for kind in ('', 'set', 'number'):
    try:
      values.read(text, kind)
    except Refused as error:
      assert len(str(error)) < 200


@few
@given(text=texts)
def test_expressions_and_the_calculator(text):
  try:
    expressions.value(text)
  except expressions.ExpressionError:
    pass
  try:
    assert isinstance(calculator(text), str)
  except ToolError:
    pass


# -- calls and replies


@few
@given(call=jsons.map(json.dumps) | texts, prefix=texts)
def test_every_call_of_a_tool_gets_a_reply(call, prefix):
  episode = tools(tools=('calculator',)).reset(Prompt(text='', prompt_id=0), 0)
  text = f'{prefix}<tool_call>{call}</tool_call>'
  reply = episode.step(Turn(text=text, number=0, tokens=(1,), truncated=False))
  assert reply.observation.startswith('<tool_result>')


@few
@given(text=texts | jsons.map(json.dumps))
def test_replies_of_judges_are_read_or_refused(text):
  readers = (conversation.read_object, lambda r: conversation.read_verdict(r, ('yes', 'no')))
  for read in readers:
    try:
      read(Reply(text))
    except JudgeError:
      pass


def test_a_reply_of_braces_is_refused_in_bounded_work():
  for text in ('{"a":' * 20_000, '{' * 99_999, 'x' * 100_001):
    with pytest.raises(JudgeError, match='cannot read the judge'):
      conversation.read_object(Reply(text))
  assert conversation.read_object(Reply('{' * 900 + '{"a": 1}')) == {'a': 1}


# -- files


@few
@given(header=jsons | st.dictionaries(st.text(max_size=3), st.fixed_dictionaries(dict(
  dtype=st.sampled_from(['F32', 'BF16', 'I8', 3]), shape=st.lists(st.integers(-2, 9), max_size=3),
  data_offsets=st.lists(st.integers(-9, 99), min_size=1, max_size=3))), max_size=3),
  extra=st.integers(-9, 9), body=st.binary(max_size=64))  # fmt: skip
def test_tensor_files(tmp_path, header, extra, body):
  text = json.dumps(header).encode()
  path = tmp_path / 'x.safetensors'
  path.write_bytes(struct.pack('<Q', max(len(text) + extra, 0)) + text + body)
  try:
    found = tensor_files.TensorFile(path)
    for name in found.entries:
      assert found[name].nbytes <= len(body)
  except ValueError as error:
    assert 'x.safetensors' in str(error)


@few
@given(changes=st.dictionaries(st.sampled_from([*huggingface_config.COUNTS, 'rope_scaling',
  'rope_parameters', 'rope_theta', 'layer_types', 'text_config', 'model_type', 'mlp_only_layers',
  'tie_word_embeddings', 'rms_norm_eps', 'hidden_act']), jsons, max_size=3),
  kind=st.sampled_from([*huggingface_config.ARCHITECTURES, 'gemma3']))  # fmt: skip
def test_config_json(changes, kind):
  base = dict(
    model_type=kind, vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, head_dim=8, num_experts=2, num_experts_per_tok=1,
    moe_intermediate_size=8, sliding_window=None,
  )  # fmt: skip
  try:
    huggingface_config.read({**base, **changes}, 'config.json')
  except ValueError:
    pass


@few
@given(content=st.binary(max_size=80) | st.lists(jsons, max_size=4).map(
  lambda rows: '\n'.join(map(json.dumps, rows)).encode()), suffix=st.sampled_from(
  [*data.records.SUFFIXES, '.xml']))  # fmt: skip
def test_records(tmp_path, content, suffix):
  path = tmp_path / f'train{suffix}'
  path.write_bytes(content)
  for read in (lambda: data.open_records(path), lambda: record_files.read([path])):
    try:
      list(read())
    except (ValueError, OSError):  # OSError: a damaged .gz
      pass
    except KeyError as error:  # of another ending
      assert error.args == (path.suffix,)


@few
@given(content=st.binary(max_size=80) | st.lists(jsons, max_size=4).map(
  lambda rows: '\n'.join(map(json.dumps, rows)).encode()))  # fmt: skip
def test_what_a_run_has_written(tmp_path, content):
  for name in (metrics.METRICS, metrics.SAMPLES, 'summary.json'):
    (tmp_path / name).write_bytes(content)
  readers = (
    lambda: metrics.read_metrics(tmp_path),
    lambda: files.read_jsonl(tmp_path / metrics.SAMPLES),
    lambda: metrics.read_summary(tmp_path),
  )
  for read in readers:
    try:
      read()
    except ValueError:
      pass


@few
@given(record=st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
  st.sampled_from(['__array__', 'dtype', 'shape', '__tuple__', '__items__', '__float__',
                   '__bytes__', 'a']), inner, max_size=4), max_leaves=10))  # fmt: skip
def test_host_records(record):
  try:
    checkpoint.decode(record)
  except checkpoint.CheckpointError:
    pass


@few
@given(value=st.recursive(leaves | st.binary(max_size=4) | st.tuples(leaves), lambda inner:
  st.lists(inner, max_size=3) | st.dictionaries(st.integers() | st.text(max_size=3), inner,
                                                max_size=3), max_leaves=8))  # fmt: skip
def test_host_records_come_back(value):
  assert repr(checkpoint.decode(json.loads(json.dumps(checkpoint.encode(value))))) == repr(value)


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
  """A folder of checkpoints, what was saved there, and the contents of its files."""
  folder, tree = tmp_path_factory.mktemp('kept'), {'w': np.arange(300.0), 'n': 4}
  with checkpoint.Checkpointer(folder) as saved:
    saved.save(1, tree, {'text': 'abc' * 50})
    saved.wait()
  return folder, tree, {p: p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def put(record, place, value):
  """A JSON record with another value at the place of this number, as they come."""
  if isinstance(record, dict | list) and record and place:
    keys = list(record) if isinstance(record, dict) else range(len(record))
    key = keys[place % len(keys)]
    changed = put(record[key], place // len(keys), value)
    pairs = [(k, changed if k == key else record[k]) for k in keys]
    return dict(pairs) if isinstance(record, dict) else [x for _, x in pairs]
  return value


@settings(few, max_examples=12)
@given(number=st.integers(0, 99), place=st.integers(0, 9999), value=jsons | st.just(2**63),
       cut=st.booleans())  # fmt: skip
def test_files_of_a_checkpoint(kept, number, place, value, cut):
  """Its metadata, changed at one place, and any file, cut: refused, or read as it was saved."""
  folder, tree, contents = kept
  path = list(contents)[number % len(contents)]
  text, end = contents[path], place % max(len(contents[path]), 1)
  try:
    changed = json.dumps(put(json.loads(text), place, value)).encode()
  except ValueError:  # no JSON stands there
    changed = text[:end] + bytes([place % 256]) + text[end + 1 :]
  path.write_bytes(text[:end] if cut else changed)
  try:
    with checkpoint.Checkpointer(folder, read_only=True) as reader:
      state, host = reader.restore(tree, 1)
  except checkpoint.CheckpointError as error:
    assert str(folder) in str(error)
  else:
    np.testing.assert_array_equal(state['w'], tree['w'])
    assert state['n'] == 4 and host == {'text': 'abc' * 50}
  finally:
    path.write_bytes(text)


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('_CHECKPOINT_METADATA', '3', '_CHECKPOINT_METADATA is not what was written'),
    ('host/metadata', '{"a": 1}', 'the record is not what was written'),
    ('state/_METADATA', '', 'w is not there'),
  ],
)
def test_metadata_that_says_something_else_is_named(kept, name, content, message):
  folder, tree, contents = kept
  path = folder / 'state' / '1' / name
  text = contents[path].decode()
  path.write_text(content or text.replace('"key": "w"', '"key": "v"'))
  with pytest.raises(checkpoint.CheckpointError, match=message):
    with checkpoint.Checkpointer(folder, read_only=True) as reader:
      reader.restore(tree, 1)
  if name == '_CHECKPOINT_METADATA':  # the message says that it may go
    path.unlink()
    with checkpoint.Checkpointer(folder, read_only=True) as reader:
      np.testing.assert_array_equal(reader.restore(tree, 1)[0]['w'], tree['w'])
  path.write_text(text)


# A process of its own: what the C++ of the library does to it is seen then.
PIECES_PROGRAM = """
import random, sys
from rljax import tokenization

path, count = sys.argv[1:]
whole, found = open(path, 'rb').read(), [0, 0]
for number in range(int(count)):
  chance, data = random.Random(number), bytearray(whole)
  place, way = chance.randrange(len(data)), number % 4
  if way == 0:
    del data[place:]
  elif way == 1:
    del data[place : place + chance.randrange(1, 40)]
  elif way == 2:
    data[place:place] = chance.randbytes(chance.randrange(1, 9))
  else:
    for _ in range(4):
      data[chance.randrange(len(data))] = chance.randrange(256)
  open(path, 'wb').write(data)
  try:
    tokenizer = tokenization.sentencepiece(path=path)
  except tokenization.TokenizerError as error:
    assert path in str(error), error
    found[0] += 1
    continue
  tokenizer.decode(tokenizer.encode('ab cd \\u00e9 \\u2126 \\x00'))
  tokenizer.decode(range(tokenizer.vocab_size))
  found[1] += 1
print(*found)
"""


@pytest.mark.parametrize(
  'count', [100, pytest.param(2000, marks=pytest.mark.thorough)]
)
def test_files_of_sentencepiece(tmp_path, count):
  import sentencepiece

  path, text = tmp_path / 'x.model', io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(['ab cd abc', 'dcba abcd', 'the cat', '1 2 3'] * 9), model_writer=text,
    vocab_size=40, hard_vocab_limit=False, minloglevel=2,
  )  # fmt: skip
  path.write_bytes(text.getvalue())
  done = subprocess.run(
    [sys.executable, '-c', PIECES_PROGRAM, str(path), str(count)], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert all(int(number) for number in done.stdout.split())


# -- templates and overrides


@pytest.fixture(scope='module')
def render():
  return ChatTemplate(TEMPLATE, datetime.date(2024, 7, 26))


@few
@given(messages=jsons | st.lists(st.fixed_dictionaries(dict(role=leaves, content=jsons))))
def test_messages_of_all_kinds_are_rendered_or_refused(render, messages):
  try:
    assert isinstance(render(messages=messages, add_generation_prompt=True), str)
  except TokenizerError as error:
    assert 'chat template fails' in str(error)


@settings(few, max_examples=15)
@given(template=st.lists(st.sampled_from(
  ['{{', '}}', '{%', '%}', ' for m in messages ', ' endfor ', ' if ', ' m.x ', '[0]', '|', 'join',
   ' set a = ', '"', 'loop(', ')', 'range(9)', '~', ' macro f() ', '{#', 'é', '\x00', '1/0']),
  max_size=9).map(''.join))  # fmt: skip
def test_templates_of_all_kinds(template):
  try:
    ChatTemplate(template, datetime.date(2024, 7, 26))(messages=[{'x': 1}])
  except TokenizerError as error:
    assert 'the chat template' in str(error)


KEYS = ('rl', 'loss', 'name', 'clip_high', 'iterations', 'seed', 'stages', 'x', 'optimizer', 'task')


@settings(few, max_examples=10)
@given(path=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).map('.'.join),
       text=texts | st.sampled_from(['1', 'None', 'losses.cispo', "{'name': 3}", '{}', '(']))
def test_overrides(path, text):
  try:
    overrides.override(_QUICKSTART, [f'--config.{path}={text}'])
  except config.ConfigError as error:
    assert 'config' in str(error) or 'argument' in str(error)


_QUICKSTART = config.load('quickstart')
