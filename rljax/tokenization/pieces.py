"""sentencepiece models."""

from __future__ import annotations

from collections.abc import Sequence

from rljax.tokenization.protocol import Plain, TokenizerError, read_file


class SentencePiece(Plain):
  """A sentencepiece model; control pieces are its special tokens."""

  def __init__(self, path: str, bos: bool) -> None:
    import sentencepiece as spm

    data = read_file(path, 'a sentencepiece model file')
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


def sentencepiece(*, path: str, bos: bool = True) -> SentencePiece:
  """A sentencepiece model file.

  Args:
    path: the .model file, local or gs://.
    bos: whether prompts start with the model's bos piece, if it has one.

  Examples:
    >>> try:
    ...   tokenization.sentencepiece(path='nothing.model')
    ... except tokenization.TokenizerError as error:
    ...   print(error)
    nothing.model does not exist; the tokenizer needs a sentencepiece model file
  """
  return SentencePiece(path, bos)
