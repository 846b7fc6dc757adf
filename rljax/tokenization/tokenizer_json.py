"""Hugging Face tokenizer.json files with their special tokens and chat template."""

from __future__ import annotations

import datetime
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import files
from rljax.tokenization.chat_template import ChatTemplate
from rljax.tokenization.protocol import Message, TokenizerError, read_file


class HuggingFace:
  """A tokenizer.json with the chat template and the special tokens of the files beside it."""

  def __init__(self, path: str, today: str) -> None:
    file = path if path.endswith('.json') else os.path.join(path, 'tokenizer.json')
    folder = os.path.dirname(file)
    self._model = _read_model(file)
    self._model.no_truncation()
    self._model.no_padding()
    settings = _read_json(folder, 'tokenizer_config.json')
    if 'auto_map' in settings:
      warnings.warn(
        f'{folder or "."}/tokenizer_config.json: auto_map asks for code of the model directory, '
        'which rljax never runs; tokenizer.json alone is used',
        stacklevel=3,
      )
    named = {k: v.get('content') if isinstance(v, dict) else v for k, v in settings.items()}
    self._tokens = {
      key: value
      for key, value in named.items()
      if key.endswith('_token') and isinstance(value, str)
    }
    day, template = datetime.date.fromisoformat(today), _read_template(folder, settings)
    self._template = None if template is None else ChatTemplate(template, day)
    vocabulary = self._model.get_vocab(with_added_tokens=True)
    self.vocab_size = max(vocabulary.values(), default=-1) + 1
    if not 0 < self.vocab_size < 2**31:
      raise TokenizerError(f'{file}: ids 0 … {self.vocab_size - 1} are no vocabulary')
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
    ids = [*ids, named, self._find_end_of_turn()]
    for i in ids:
      if i is not None and (not isinstance(i, int) or not 0 <= i < 2**31):
        raise TokenizerError(f'{folder or "."}: eos_token_id {str(i)[:80]!r} is no id of a token')
    return tuple(dict.fromkeys(i for i in ids if i is not None))

  def _find_end_of_turn(self) -> int | None:
    """The added token that the template puts behind what the assistant says."""
    if self._template is None:
      return None
    mark = 'completion'
    said = [{'role': 'user', 'content': 'prompt'}, {'role': 'assistant', 'content': mark}]
    try:
      _, found, behind = self._rendered(said, False).rpartition(mark)
    except TokenizerError:  # `chat` will say so, where it is asked
      return None
    first = self.encode(behind)[:1] if found else []
    return first[0] if first and first[0] in self._model.get_added_tokens_decoder() else None

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
    return self.encode(self._rendered(messages, add_generation_prompt))

  def _rendered(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    return self._template(
      messages=[dict(m) for m in messages],
      add_generation_prompt=add_generation_prompt,
      tools=None,
      documents=None,
      **self._tokens,
    )


def huggingface(*, path: str, today: str = '2024-07-26') -> HuggingFace:
  """A tokenizer.json and, beside it, tokenizer_config.json, generation_config.json and template.

  Args:
    path: the directory or the tokenizer.json, local or gs://.
    today: ISO date for chat templates that print one; fixed, so that a run resumed on another day
      sees the same prompts.

  A completion also ends where the chat template ends what the assistant says: Gemma's
  <end_of_turn>, which some of its generation_config.json do not list.

  Differs from transformers: chat templates see `today` instead of the clock; the end above.

  Examples:
    >>> try:
    ...   tokenization.huggingface(path='nothing')
    ... except tokenization.TokenizerError as error:
    ...   print(str(error).split(';')[0])
    nothing/tokenizer.json does not exist
  """
  return HuggingFace(path, today)


def _read_model(file: str) -> Any:
  import tokenizers

  data = read_file(file, 'a Hugging Face tokenizer.json or its directory')
  try:
    return tokenizers.Tokenizer.from_str(data.decode('utf-8'))
  except (KeyboardInterrupt, SystemExit):
    raise
  except BaseException as error:  # a panic of the library is no Exception
    raise TokenizerError(f'{file} is no tokenizer.json: {str(error)[:300]}') from None


def _read_json(folder: str, name: str) -> dict[str, Any]:
  """The contents of an optional file; {} if it is not there."""
  path = os.path.join(folder, name)
  try:
    data = read_file(path, name)
  except TokenizerError:
    return {}
  try:
    found = files.parse_json(data)
  except ValueError as error:
    raise TokenizerError(f'{path} is no JSON: {error}') from None
  if not isinstance(found, dict):
    raise TokenizerError(f'{path} is {type(found).__name__}, no JSON object')
  return found


def _read_template(folder: str, settings: Mapping[str, Any]) -> Any:
  path = os.path.join(folder, 'chat_template.jinja')
  try:
    return read_file(path, 'template').decode('utf-8')
  except UnicodeDecodeError as error:
    raise TokenizerError(f'{path} is no text: {error}') from None
  except TokenizerError:
    template = settings.get('chat_template')
  if isinstance(template, list):
    there = [entry for entry in template if isinstance(entry, dict)]
    template = {entry.get('name'): entry.get('template') for entry in there}.get('default')
  return template
