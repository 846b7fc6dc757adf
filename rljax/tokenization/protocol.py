"""What rljax needs of a tokenizer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from rljax import files
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
  """The ids that a policy continues: the prompt's own, its chat messages, or its text after bos.

  Examples:
    >>> from rljax.prompts import Prompt
    >>> prompt = Prompt(text='cab>', prompt_id=0)
    >>> print(tokenization.prompt_tokens(tokenization.characters(alphabet='abc>'), prompt))
    (4, 2, 3, 5)
  """
  if prompt.tokens:
    return tuple(prompt.tokens)
  if prompt.messages is not None:
    return tuple(tokenizer.chat(prompt.messages))
  bos = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
  return (*bos, *tokenizer.encode(prompt.text))


class Plain:
  """A tokenizer without a chat template."""

  def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
    raise TokenizerError(
      f'{type(self).__name__} has no chat template: give prompts as text, not as messages'
    )


def read_file(path: str, what: str) -> bytes:
  """The bytes of a local or gs:// file; `TokenizerError` if it is not there."""
  with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
    return files.read_bytes(path)
  raise TokenizerError(f'{path} does not exist; the tokenizer needs {what}')
