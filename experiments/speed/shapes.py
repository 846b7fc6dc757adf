"""The policies that are measured, and what is asked of them."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
  """A decoder: the arguments of `rljax.models.decoder`, and the dtype of its products."""

  vocab_size: int
  num_layers: int
  d_model: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  d_ff: int
  tie_embeddings: bool = True
  qk_norm: bool = True
  qkv_bias: bool = False
  rope_theta: float = 1e6
  dtype: str = 'float32'

  @property
  def itemsize(self) -> int:
    return 2 if self.dtype == 'bfloat16' else 4

  @property
  def layer_products(self) -> int:
    """Parameters of one layer that stand in matrix products."""
    heads = self.num_heads + 2 * self.num_kv_heads
    attention = self.d_model * self.head_dim * (heads + self.num_heads)
    return attention + 3 * self.d_model * self.d_ff

  @property
  def products(self) -> int:
    """Parameters in matrix products, the head included and a table of embeddings not."""
    return self.num_layers * self.layer_products + self.vocab_size * self.d_model

  @property
  def cache_bytes(self) -> int:
    """Keys and values of one token, in the dtype of the products."""
    return 2 * self.num_layers * self.num_kv_heads * self.head_dim * self.itemsize


@dataclasses.dataclass(frozen=True)
class Work:
  """One iteration: prompts of `prompt` tokens, samples of each, tokens of each completion."""

  shape: Shape
  prompts: int = 8
  samples: int = 8
  prompt: int = 64
  completion: int = 128
  learning_rate: float = 1e-4

  @property
  def rows(self) -> int:
    return self.prompts * self.samples

  @property
  def length(self) -> int:
    return self.prompt + self.completion

  @property
  def new_tokens(self) -> int:
    return self.rows * self.completion

  @property
  def trained_tokens(self) -> int:
    return self.rows * self.length

  def prompt_ids(self, seed: int = 0) -> list[list[int]]:
    """The same for everybody; 0 and 1 are left to those who need them for padding and the end."""
    generator = np.random.default_rng(seed)
    return generator.integers(2, self.shape.vocab_size, (self.prompts, self.prompt)).tolist()

  def as_json(self) -> dict:
    """For a peer and for the record, without the prompts."""
    return dataclasses.asdict(self)


COMPARISON = Shape(
  vocab_size=4096, num_layers=4, d_model=256, num_heads=4, num_kv_heads=2, head_dim=64, d_ff=1024
)
TINY = Shape(
  vocab_size=64, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, head_dim=8, d_ff=32
)
QWEN3_0_6B = Shape(
  vocab_size=151936, num_layers=28, d_model=1024, num_heads=16, num_kv_heads=8, head_dim=128,
  d_ff=3072, dtype='bfloat16',
)  # fmt: skip
FOUR_OF_7B = Shape(
  vocab_size=152064, num_layers=4, d_model=3584, num_heads=28, num_kv_heads=4, head_dim=128,
  d_ff=18944, tie_embeddings=False, qk_norm=False, qkv_bias=True, dtype='bfloat16',
)  # fmt: skip
