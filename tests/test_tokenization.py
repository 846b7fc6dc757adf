"""Text ↔ ids: round trips, special tokens, chat templates, and errors that name what is wrong."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rljax import tokenization
from rljax.prompts import Prompt

TEXTS = ['', 'abc', '  two  spaces\t\n', 'naïve – 漢字 🙂', '\x00\x7f']


@pytest.mark.parametrize('text', TEXTS)
def test_bytes_round_trip(text):
  tokenizer = tokenization.byte_level()
  assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=['Cs'])))
def test_bytes_round_trip_on_any_text(text):
  tokenizer = tokenization.byte_level()
  ids = tokenizer.encode(text)
  assert tokenizer.decode(ids) == text and bytes(ids) == text.encode()


def test_bytes_special_and_invalid():
  tokenizer = tokenization.byte_level()
  special = {tokenizer.pad_id, tokenizer.bos_id, *tokenizer.eos_ids}
  assert len(special) == 3 and max(special) < tokenizer.vocab_size and min(special) >= 256
  assert tokenizer.decode([tokenizer.bos_id, 97, 98, *tokenizer.eos_ids]) == 'ab'
  assert tokenizer.decode([97, 0xFF, 98]) == 'a\N{REPLACEMENT CHARACTER}b'


def test_characters():
  tokenizer = tokenization.characters(alphabet='ab+')
  assert tokenizer.vocab_size == 5 and isinstance(tokenizer, tokenization.Tokenizer)
  ids = tokenizer.encode('ba+')
  assert tokenizer.decode([*ids, *tokenizer.eos_ids, tokenizer.pad_id]) == 'ba+'
  assert not {tokenizer.pad_id, *tokenizer.eos_ids} & set(ids)
  with pytest.raises(tokenization.TokenizerError, match=r"'x' at place 1 of 'axb'.*'ab\+'"):
    tokenizer.encode('axb')
  with pytest.raises(tokenization.TokenizerError, match=r"distinct.*\['a'\]"):
    tokenization.characters(alphabet='aba')


def test_no_template_is_an_error():
  prompt = Prompt(text='', prompt_id=0, messages=({'role': 'user', 'content': 'hi'},))
  with pytest.raises(tokenization.TokenizerError, match='no chat template'):
    tokenization.prompt_tokens(tokenization.byte_level(), prompt)


def test_prompt_tokens():
  tokenizer = tokenization.byte_level()
  assert tokenization.prompt_tokens(tokenizer, Prompt(text='ab', prompt_id=0)) == (257, 97, 98)
  given_ids = Prompt(text='ab', prompt_id=0, tokens=(5, 6))
  assert tokenization.prompt_tokens(tokenizer, given_ids) == (5, 6)
  alphabet = tokenization.characters(alphabet='ab')
  assert tokenization.prompt_tokens(alphabet, Prompt(text='ab', prompt_id=0)) == (2, 3)


@pytest.mark.parametrize(
  'load', [tokenization.sentencepiece, tokenization.huggingface], ids=['sentencepiece', 'hf']
)
def test_missing_file(load, tmp_path):
  with pytest.raises(tokenization.TokenizerError, match=r'nothing.* does not exist') as caught:
    load(path=str(tmp_path / 'nothing'))
  assert '\n' not in str(caught.value)


@pytest.fixture(scope='module')
def sentencepiece_model(tmp_path_factory):
  import sentencepiece as spm

  folder = tmp_path_factory.mktemp('sp')
  corpus = folder / 'corpus.txt'
  corpus.write_text('\n'.join(f'{a} plus {b} is {a + b}' for a in range(20) for b in range(20)))
  spm.SentencePieceTrainer.train(
    input=str(corpus),
    model_prefix=str(folder / 'tiny'),
    vocab_size=300,
    model_type='bpe',
    byte_fallback=True,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=3,
    add_dummy_prefix=False,
    remove_extra_whitespaces=False,
    normalization_rule_name='identity',
    minloglevel=2,
  )
  return str(folder / 'tiny.model')


def test_sentencepiece(sentencepiece_model):
  tokenizer = tokenization.sentencepiece(path=sentencepiece_model)
  assert (tokenizer.vocab_size, tokenizer.pad_id, tokenizer.bos_id) == (300, 0, 3)
  assert tokenizer.eos_ids == (1,)
  for text in ('3 plus 4 is 7', '  漢字 🙂'):
    ids = tokenizer.encode(text)
    assert tokenizer.decode([3, *ids, 1, 0]) == text
  prompt = Prompt(text='3 plus', prompt_id=0)
  assert tokenization.prompt_tokens(tokenizer, prompt)[0] == 3
  without = tokenization.sentencepiece(path=sentencepiece_model, bos=False)
  assert without.bos_id is None


def test_sentencepiece_refuses_another_file(tmp_path):
  path = tmp_path / 'a.model'
  path.write_bytes(b'no model')
  with pytest.raises(tokenization.TokenizerError, match=r'a\.model is no sentencepiece model'):
    tokenization.sentencepiece(path=str(path))


TEMPLATE = """{% for message in messages %}
    {{- '<s>' + message['role'] + ':' + message['content'] + '</s>' -}}
{% endfor %}
{% if add_generation_prompt %}
<s>assistant:
{%- endif %}"""


def hf_directory(folder, *, settings=None, generation=None, bos=False):
  """A tokenizer.json with a byte-level alphabet and a few special tokens."""
  from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

  alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
  model = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
  model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  model.decoder = decoders.ByteLevel()
  model.add_special_tokens(['<s>', '</s>', '<pad>', '<end>'])
  if bos:
    model.post_processor = processors.TemplateProcessing(
      single='<s> $A', special_tokens=[('<s>', model.token_to_id('<s>'))]
    )
  folder.mkdir(exist_ok=True)
  model.save(str(folder / 'tokenizer.json'))
  for name, value in (('tokenizer_config', settings), ('generation_config', generation)):
    if value is not None:
      (folder / f'{name}.json').write_text(json.dumps(value))
  return str(folder)


def test_huggingface(tmp_path):
  settings = {
    'bos_token': '<s>',
    'eos_token': {'content': '</s>', 'lstrip': False},
    'pad_token': '<pad>',
    'chat_template': TEMPLATE,
  }
  path = hf_directory(tmp_path / 'hf', settings=settings, generation={'eos_token_id': [259, 257]})
  for given_path in (path, f'{path}/tokenizer.json'):
    tokenizer = tokenization.huggingface(path=given_path)
    assert isinstance(tokenizer, tokenization.Tokenizer)
    assert (tokenizer.vocab_size, tokenizer.pad_id) == (260, 258)
    assert tokenizer.eos_ids == (259, 257)
    assert tokenizer.bos_id is None, 'named, but no encoding begins with it'
  for text in TEXTS:
    assert tokenizer.decode([*tokenizer.encode(text), 257, 258]) == text
  messages = [{'role': 'user', 'content': 'hi "{{x}}"'}]
  ids = tokenizer.chat(messages)
  assert ids[0] == 256 and 257 in ids
  assert tokenizer.decode(ids) == 'user:hi "{{x}}"assistant:'
  assert tokenizer.decode(tokenizer.chat(messages, add_generation_prompt=False)) == (
    'user:hi "{{x}}"'
  )


def test_huggingface_bos_that_is_used(tmp_path):
  settings = {'bos_token': '<s>', 'eos_token': '</s>'}
  path = hf_directory(tmp_path / 'hf', settings=settings, bos=True)
  tokenizer = tokenization.huggingface(path=path)
  assert tokenizer.bos_id == 256 and tokenizer.pad_id == 257
  assert tokenizer.encode('a') == [tokenizer.encode('ba')[1]], 'encode adds nothing'
  prompt = Prompt(text='a', prompt_id=0)
  assert tokenization.prompt_tokens(tokenizer, prompt) == (256, *tokenizer.encode('a'))
  settings['add_bos_token'] = False
  path = hf_directory(tmp_path / 'hf', settings=settings, bos=True)
  assert tokenization.huggingface(path=path).bos_id is None


def test_huggingface_without_end(tmp_path):
  path = hf_directory(tmp_path / 'hf')
  with pytest.raises(tokenization.TokenizerError, match='no eos_token_id'):
    tokenization.huggingface(path=path)
  (tmp_path / 'hf' / 'config.json').write_text('{"eos_token_id": 257}')
  assert tokenization.huggingface(path=path).eos_ids == (257,)


def chat_with(folder, template, **settings):
  path = hf_directory(folder, settings={'eos_token': '</s>', **settings})
  (folder / 'chat_template.jinja').write_text(template)
  tokenizer = tokenization.huggingface(path=path)
  return tokenizer.decode(tokenizer.chat([{'role': 'user', 'content': 'é<'}]))


def test_templates(tmp_path):
  folder = tmp_path / 'hf'
  assert chat_with(folder, '{{ messages | tojson }}') == '[{"role": "user", "content": "é<"}]'
  assert chat_with(folder, "{{ strftime_now('%Y-%m-%d') }}") == '2024-07-26'
  assert chat_with(folder, '{% generation %}a{% endgeneration %}') == 'a'
  assert chat_with(folder, '{% for m in messages %}{% break %}{% endfor %}b') == 'b'
  named = [{'name': 'tool', 'template': 'x'}, {'name': 'default', 'template': 'y'}]
  (folder / 'chat_template.jinja').unlink()
  path = hf_directory(folder, settings={'eos_token': '</s>', 'chat_template': named})
  tokenizer = tokenization.huggingface(path=path)
  assert tokenizer.decode(tokenizer.chat([])) == 'y'


GEMMA_TEMPLATE = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception(
'System role not supported') }}{% endif %}{% for message in messages %}{% if (
message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role']
%}{% endif %}{{ '<s>' + role + '\n' + message['content'] | trim + '<end>\n' }}{% endfor %}{% if
add_generation_prompt %}{{'<s>model\n'}}{% endif %}"""


def test_a_completion_ends_where_the_template_ends_the_turn(tmp_path):
  """As Gemma's does, with a token that no other file names as an end."""
  settings = {'bos_token': '<pad>', 'eos_token': '</s>', 'chat_template': GEMMA_TEMPLATE}
  path = hf_directory(tmp_path / 'a', settings=settings, generation={'eos_token_id': 257})
  tokenizer = tokenization.huggingface(path=path)
  assert tokenizer.eos_ids == (257, 259)
  ids = tokenizer.chat([{'role': 'user', 'content': ' hi '}])
  assert ids[:2] == [258, 256] and ids.count(259) == 1
  assert tokenizer.decode(ids) == 'user\nhi\nmodel\n'
  with pytest.raises(tokenization.TokenizerError, match='System role not supported'):
    tokenizer.chat([{'role': 'system', 'content': 'x'}])
  # Behind text that is no special token nothing ends.
  settings['chat_template'] = "{% for m in messages %}{{ m['content'] }} .<end>{% endfor %}"
  path = hf_directory(tmp_path / 'b', settings=settings)
  assert tokenization.huggingface(path=path).eos_ids == (257,)


def test_template_that_refuses_or_attacks(tmp_path):
  folder = tmp_path / 'hf'
  with pytest.raises(tokenization.TokenizerError, match='refuses these messages: no system'):
    chat_with(folder, "{{ raise_exception('no system') }}")
  with pytest.raises(tokenization.TokenizerError, match='template fails'):
    chat_with(folder, "{{ ''.__class__.__mro__[1].__subclasses__() }}")
  with pytest.raises(tokenization.TokenizerError, match='template fails'):
    chat_with(folder, "{{ messages.append(1) }}")
  with pytest.raises(tokenization.TokenizerError, match='does not compile'):
    chat_with(folder, '{% if %}')
