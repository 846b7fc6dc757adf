"""Text ↔ token ids: bytes, characters, a sentencepiece model or a Hugging Face tokenizer.json.

Libraries are imported on use; a run at byte or character level needs none.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from rljax.prompts import Prompt

Message = Mapping[str, Any]


class TokenizerError(ValueError):
  """A tokenizer file is missing or unusable, or a text has no ids."""


@runtime_checkable
class Tokenizer(Protocol):
  """What rljax needs of a tokenizer.

  Attributes:
    vocab_size: ids are 0 … vocab_size − 1, special tokens included.
    pad_id: fills unused slots; masks, not this id, say which slots are in use.
    bos_id: starts every plain-text prompt, None if prompts start without such a token.
    eos_ids: tokens that end a completion, at least one.
  """

  vocab_size: int
  pad_id: int
  bos_id: int | None
  eos_ids: tuple[int, ...]

  def encode(self, text: str) -> list[int]:
    """Ids of `text`; nothing is added in front or behind."""
    ...

  def decode(self, ids: Sequence[int]) -> str:
    """Text of `ids` without special tokens."""
    ...

  def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
    """Ids of chat messages by the tokenizer's template; `TokenizerError` if it has none."""
    ...


def prompt_tokens(tokenizer: Tokenizer, prompt: Prompt) -> tuple[int, ...]:
  """The ids that a policy continues: the prompt's own, its chat messages, or its text after bos."""
  if prompt.tokens:
    return tuple(prompt.tokens)
  if prompt.messages is not None:
    return tuple(tokenizer.chat(prompt.messages))
  bos = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
  return (*bos, *tokenizer.encode(prompt.text))


class _Plain:
  """A tokenizer without a chat template."""

  def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
    raise TokenizerError(
      f'{type(self).__name__} has no chat template: give prompts as text, not as messages'
    )


class ByteLevel(_Plain):
  """UTF-8 bytes as ids 0 … 255, then pad, bos and eos."""

  def __init__(self) -> None:
    self.vocab_size = 259
    self.pad_id, self.bos_id, self.eos_ids = 256, 257, (258,)

  def encode(self, text: str) -> list[int]:
    return list(text.encode('utf-8'))

  def decode(self, ids: Sequence[int]) -> str:
    return bytes(i for i in map(int, ids) if i < 256).decode('utf-8', errors='replace')


class Characters(_Plain):
  """pad = 0, eos = 1, then one id for each character of the alphabet, in its order."""

  def __init__(self, alphabet: str) -> None:
    if not alphabet or len(set(alphabet)) != len(alphabet):
      twice = sorted({c for c in alphabet if alphabet.count(c) > 1})
      raise TokenizerError(f'alphabet: needs distinct characters, got {twice or "none"}')
    self.alphabet = alphabet
    self.vocab_size = len(alphabet) + 2
    self.pad_id, self.bos_id, self.eos_ids = 0, None, (1,)
    self._ids = {c: i + 2 for i, c in enumerate(alphabet)}

  def encode(self, text: str) -> list[int]:
    try:
      return [self._ids[c] for c in text]
    except KeyError as error:
      character = error.args[0]
      raise TokenizerError(
        f'character {character!r} at place {text.index(character)} of {text[:60]!r} '
        f'is not in the alphabet {self.alphabet!r}'
      ) from None

  def decode(self, ids: Sequence[int]) -> str:
    return ''.join(self.alphabet[i - 2] for i in map(int, ids) if i >= 2)


class SentencePiece(_Plain):
  """A sentencepiece model; control pieces are its special tokens."""

  def __init__(self, path: str, bos: bool) -> None:
    import sentencepiece as spm

    data = _read(path, 'a sentencepiece model file')
    try:
      self._model = spm.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
      raise TokenizerError(f'{path} is no sentencepiece model: {error}') from None
    model = self._model
    if model.eos_id() < 0:
      raise TokenizerError(f'{path}: the model has no eos piece, so no completion could end')
    self.vocab_size = model.get_piece_size()
    self.eos_ids = (model.eos_id(),)
    self.pad_id = model.pad_id() if model.pad_id() >= 0 else model.eos_id()
    self.bos_id = model.bos_id() if bos and model.bos_id() >= 0 else None

  def encode(self, text: str) -> list[int]:
    return self._model.encode(text)

  def decode(self, ids: Sequence[int]) -> str:
    return self._model.decode([i for i in map(int, ids) if not self._model.is_control(i)])


class HuggingFace:
  """A tokenizer.json with the chat template and the special tokens of the files beside it."""

  def __init__(self, path: str, today: str) -> None:
    import tokenizers

    file = path if path.endswith('.json') else os.path.join(path, 'tokenizer.json')
    folder = os.path.dirname(file)
    data = _read(file, 'a Hugging Face tokenizer.json or its directory')
    try:
      self._model = tokenizers.Tokenizer.from_str(data.decode('utf-8'))
    except Exception as error:
      raise TokenizerError(f'{file} is no tokenizer.json: {error}') from None
    self._model.no_truncation()
    self._model.no_padding()
    settings = _read_json(folder, 'tokenizer_config.json')
    self._tokens = {
      key: value['content'] if isinstance(value, dict) else value
      for key, value in settings.items()
      if key.endswith('_token') and isinstance(value, dict | str)
    }
    self._template = _read_template(folder, settings)
    self._today = datetime.date.fromisoformat(today)
    self._render = None
    vocabulary = self._model.get_vocab(with_added_tokens=True)
    self.vocab_size = max(vocabulary.values()) + 1
    self.eos_ids = self._find_eos(folder)
    if not self.eos_ids:
      raise TokenizerError(
        f'{folder or "."}: no eos_token_id in generation_config.json or config.json and no '
        'eos_token in tokenizer_config.json, so no completion could end'
      )
    pad = self._id('pad_token')
    self.pad_id = self.eos_ids[0] if pad is None else pad
    self.bos_id = self._find_bos(settings)

  def _id(self, key: str) -> int | None:
    token = self._tokens.get(key)
    return None if token is None else self._model.token_to_id(token)

  def _find_eos(self, folder: str) -> tuple[int, ...]:
    listed = _read_json(folder, 'generation_config.json').get('eos_token_id')
    named = self._id('eos_token')
    if listed is None and named is None:
      listed = _read_json(folder, 'config.json').get('eos_token_id')
    ids = listed if isinstance(listed, list) else [listed]
    return tuple(dict.fromkeys(i for i in [*ids, named] if i is not None))

  def _find_bos(self, settings: Mapping[str, Any]) -> int | None:
    # Many models name a bos token and never use it: what counts is whether an encoding begins
    # with it.
    bos = self._id('bos_token')
    added = settings.get('add_bos_token')
    if added is None:
      added = self._model.encode('').ids[:1] == [bos]
    return bos if added else None

  def encode(self, text: str) -> list[int]:
    return self._model.encode(text, add_special_tokens=False).ids

  def decode(self, ids: Sequence[int]) -> str:
    return self._model.decode([int(i) for i in ids], skip_special_tokens=True)

  def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
    if self._template is None:
      raise TokenizerError(
        'this tokenizer has no chat template (neither chat_template.jinja nor chat_template in '
        'tokenizer_config.json): give prompts as text, not as messages'
      )
    if self._render is None:
      self._render = _compile_template(self._template, self._today)
    text = self._render(
      messages=[dict(m) for m in messages],
      add_generation_prompt=add_generation_prompt,
      tools=None,
      documents=None,
      **self._tokens,
    )
    return self.encode(text)


def byte_level() -> ByteLevel:
  """UTF-8 bytes: 256 ids and pad, bos, eos. `decode(encode(text)) == text` for every text."""
  return ByteLevel()


def characters(*, alphabet: str) -> Characters:
  """One id for each character of `alphabet`, for small vocabularies.

  Args:
    alphabet: distinct characters; a character outside is a `TokenizerError` that names it.
  """
  return Characters(alphabet)


def sentencepiece(*, path: str, bos: bool = True) -> SentencePiece:
  """A sentencepiece model file.

  Args:
    path: the .model file, local or gs://.
    bos: whether prompts start with the model's bos piece, if it has one.
  """
  return SentencePiece(path, bos)


def huggingface(*, path: str, today: str = '2024-07-26') -> HuggingFace:
  """A tokenizer.json and, beside it, tokenizer_config.json, generation_config.json and template.

  Args:
    path: the directory or the tokenizer.json, local or gs://.
    today: ISO date for chat templates that print one; fixed, so that a run resumed on another day
      sees the same prompts.

  Differs from transformers: chat templates see `today` instead of the clock.
  """
  return HuggingFace(path, today)


def _read(path: str, what: str) -> bytes:
  if '://' in path:
    from etils import epath

    file = epath.Path(path)
    if file.exists():
      return file.read_bytes()
  elif os.path.isfile(path):
    with open(path, 'rb') as stream:
      return stream.read()
  raise TokenizerError(f'{path} does not exist; the tokenizer needs {what}')


def _read_json(folder: str, name: str) -> dict[str, Any]:
  """The contents of an optional file; {} if it is not there."""
  try:
    data = _read(os.path.join(folder, name), name)
  except TokenizerError:
    return {}
  try:
    return json.loads(data)
  except ValueError as error:
    raise TokenizerError(f'{os.path.join(folder, name)} is no JSON: {error}') from None


def _read_template(folder: str, settings: Mapping[str, Any]) -> str | None:
  try:
    return _read(os.path.join(folder, 'chat_template.jinja'), 'template').decode('utf-8')
  except TokenizerError:
    template = settings.get('chat_template')
  if isinstance(template, list):
    named = {entry['name']: entry['template'] for entry in template}
    template = named.get('default')
  return template


def _compile_template(template: str, today: datetime.date):
  """A function from the template's variables to text; templates are other people's code."""
  import jinja2
  import jinja2.ext
  import jinja2.sandbox

  class Generation(jinja2.ext.Extension):
    """{% generation %} marks assistant text in some templates; the text is kept as it is."""

    tags = {'generation'}

    def parse(self, parser):
      next(parser.stream)
      return parser.parse_statements(('name:endgeneration',), drop_needle=True)

  def raise_exception(message: str) -> None:
    raise TokenizerError(f'the chat template refuses these messages: {message}')

  def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **kwargs) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **kwargs)

  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=['jinja2.ext.loopcontrols', Generation]
  )
  environment.filters['tojson'] = to_json
  environment.globals['raise_exception'] = raise_exception
  environment.globals['strftime_now'] = today.strftime
  try:
    compiled = environment.from_string(template)
  except jinja2.TemplateError as error:
    raise TokenizerError(f'the chat template does not compile: {error}') from None

  def render(**variables: Any) -> str:
    try:
      return compiled.render(**variables)
    except jinja2.TemplateError as error:
      raise TokenizerError(f'the chat template fails: {error}') from None

  return render
