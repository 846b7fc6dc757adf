"""Text ↔ token ids: bytes, characters, a sentencepiece model or a Hugging Face tokenizer.json.

Libraries are imported on use; a run at byte or character level needs none.
"""

from rljax.tokenization.alphabets import ByteLevel as ByteLevel
from rljax.tokenization.alphabets import Characters as Characters
from rljax.tokenization.alphabets import byte_level as byte_level
from rljax.tokenization.alphabets import characters as characters
from rljax.tokenization.pieces import SentencePiece as SentencePiece
from rljax.tokenization.pieces import sentencepiece as sentencepiece
from rljax.tokenization.protocol import Tokenizer as Tokenizer
from rljax.tokenization.protocol import TokenizerError as TokenizerError
from rljax.tokenization.protocol import prompt_tokens as prompt_tokens
from rljax.tokenization.tokenizer_json import HuggingFace as HuggingFace
from rljax.tokenization.tokenizer_json import huggingface as huggingface
