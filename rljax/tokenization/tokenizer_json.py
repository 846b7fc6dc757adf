"""Hugging Face tokenizer.json files with their special tokens and chat template."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rljax.tokenization import chat_template
from rljax.tokenization.protocol import Message, TokenizerError, read_file


class HuggingFace:
  """A tokenizer.json with the chat template and the special tokens of the files beside it."""

  def __init__(self, path: str, today: str) -> None:
    import tokenizers

    file = path if path.endswith('.json') else os.path.join(path, 'tokenizer.json')
    folder = os.path.dirname(file)
    data = read_file(file, 'a Hugging Face tokenizer.json or its directory')
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
    self._render: Callable[..., str] | None = None
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
    ids = [*ids, named, self._find_end_of_turn()]
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
    if self._render is None:
      self._render = chat_template.compile_template(self._template, self._today)
    return self._render(
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
  """
  return HuggingFace(path, today)


def _read_json(folder: str, name: str) -> dict[str, Any]:
  """The contents of an optional file; {} if it is not there."""
  try:
    data = read_file(os.path.join(folder, name), name)
  except TokenizerError:
    return {}
  try:
    return json.loads(data)
  except ValueError as error:
    raise TokenizerError(f'{os.path.join(folder, name)} is no JSON: {error}') from None


def _read_template(folder: str, settings: Mapping[str, Any]) -> str | None:
  try:
    return read_file(os.path.join(folder, 'chat_template.jinja'), 'template').decode('utf-8')
  except TokenizerError:
    template = settings.get('chat_template')
  if isinstance(template, list):
    named = {entry['name']: entry['template'] for entry in template}
    template = named.get('default')
  return template
