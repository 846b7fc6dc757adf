"""Tokenizers that need no file: bytes and characters; as files of Hugging Face, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rljax.tokenization.protocol import Plain, TokenizerError


class ByteLevel(Plain):
  """UTF-8 bytes as ids 0 … 255, then pad, bos and eos."""

  def __init__(self) -> None:
    self.vocab_size = 259
    self.pad_id, self.bos_id, self.eos_ids = 256, 257, (258,)

  def encode(self, text: str) -> list[int]:
    return list(text.encode('utf-8'))

  def decode(self, ids: Sequence[int]) -> str:
    return bytes(i for i in map(int, ids) if i < 256).decode('utf-8', errors='replace')

  def as_tokenizers(self) -> tuple[Any, dict[str, str]]:
    """The same as a `tokenizers.Tokenizer`, and its special tokens by role."""
    import tokenizers

    # Of the library's letters for bytes: those that print stand for themselves, others follow.
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {i: chr(i) for i in own}
    letters |= {i: chr(0x100 + n) for n, i in enumerate(i for i in range(256) if i not in letters)}
    special = {'pad_token': '<|pad|>', 'bos_token': '<|bos|>', 'eos_token': '<|eos|>'}
    ids = {letters[i]: i for i in range(256)}
    ids |= {token: 256 + n for n, token in enumerate(special.values())}
    found = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=[]))
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
      add_prefix_space=False, use_regex=False
    )
    found.decoder = tokenizers.decoders.ByteLevel()
    found.add_special_tokens(list(special.values()))
    return found, special


class Characters(Plain):
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

  def as_tokenizers(self) -> tuple[Any, dict[str, str]]:
    """The same as a `tokenizers.Tokenizer`, and its special tokens by role."""
    import tokenizers

    special = {'pad_token': '<|pad|>', 'eos_token': '<|eos|>'}
    ids = {token: i for i, token in enumerate(special.values())} | self._ids
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids))
    every = tokenizers.Regex(r'[\s\S]')
    found.pre_tokenizer = tokenizers.pre_tokenizers.Split(every, 'isolated')
    found.decoder = tokenizers.decoders.Fuse()
    found.add_special_tokens(list(special.values()))
    return found, special


def byte_level() -> ByteLevel:
  """UTF-8 bytes: 256 ids and pad, bos, eos. `decode(encode(text)) == text` for every text.

  Examples:
    >>> tokenizer = tokenization.byte_level()
    >>> print(tokenizer.encode('hé'), tokenizer.decode(tokenizer.encode('hé')))
    [104, 195, 169] hé
  """
  return ByteLevel()


def characters(*, alphabet: str) -> Characters:
  """One id for each character of `alphabet`, for small vocabularies.

  Args:
    alphabet: distinct characters; a character outside is a `TokenizerError` that names it.

  Examples:
    >>> tokenizer = tokenization.characters(alphabet='abc>')
    >>> print(tokenizer.encode('cab>'), tokenizer.vocab_size)
    [4, 2, 3, 5] 6
    >>> try:
    ...   tokenizer.encode('abd')
    ... except tokenization.TokenizerError as error:
    ...   print(error)
    character 'd' at place 2 of 'abd' is not in the alphabet 'abc>'
  """
  return Characters(alphabet)
