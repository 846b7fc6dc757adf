"""The switches of the one decoder."""

from __future__ import annotations

import dataclasses

REMAT = ('none', 'dots', 'attention', 'full')
EMBED_GRADIENT = ('scatter', 'matmul')


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """A decoder-only transformer: pre-norm, RoPE, grouped-query attention, SwiGLU.

  Llama 3 is the plain form with `rope_scaling`; Qwen2 adds `qkv_bias`; Qwen3 adds `qk_norm`, and
  Qwen3-MoE `num_experts`.

  Attributes:
    vocab_size: tokens.
    num_layers: layers.
    d_model: width of the residual stream.
    num_heads: query heads.
    num_kv_heads: key and value heads; divides num_heads.
    head_dim: width of a head; None = d_model / num_heads.
    d_ff: width of the gated MLP; None = 4 · d_model.
    rope_theta: base of the rotary frequencies.
    rope_scaling: None, or Llama 3's (factor, low_freq_factor, high_freq_factor,
      original_max_positions).
    qkv_bias: biases on the query, key and value projections.
    qk_norm: RMS norm over head_dim on queries and keys, before RoPE.
    tie_embeddings: the head is the embedding.
    norm_eps: added to the mean square in RMS norms.
    num_experts: E, experts of a layer; 0 = every layer has the one gated MLP.
    experts_per_token: k, experts that a token is sent to.
    d_expert: width of an expert's gated MLP; None = d_ff.
    norm_topk: the weights of the chosen experts sum to 1; else they are their probabilities among
      all.
    dense_layers: numbers of the layers, from 0, that have the one gated MLP all the same.
    window: a token sees this many tokens, itself included; None = all before it.
    value_head: a linear map from hidden, params['value_head']: True = to a scalar, a number = to
      the logits of a histogram of so many bins.
    compute_dtype: of activations and products; norms, softmax and logits are at least float32.
    param_dtype: of the parameters that `init` makes.
    remat: what the backward pass recomputes in a layer: 'none', 'dots' (all but the projections'
      products and what attention gives), 'attention' (all but what attention gives), 'full'
      (everything).
    embed_gradient: 'scatter' (a scatter-add; on GPUs its sums have no fixed order) or 'matmul'
      (one-hot products: deterministic, as dear as the head).
    query_block: queries that attention handles at once, in training keys too, tokens; bounds its
      memory, and what no query of a block sees is left out.
    unroll_decode: the layers of the cache stand apart and are not scanned. None: on a CPU, where a
      scan copies what it reads, and up to eight layers.
  """

  vocab_size: int
  num_layers: int = 2
  d_model: int = 128
  num_heads: int = 4
  num_kv_heads: int = 2
  head_dim: int | None = None
  d_ff: int | None = None
  rope_theta: float = 10000.0
  rope_scaling: tuple[float, float, float, float] | None = None
  qkv_bias: bool = False
  qk_norm: bool = False
  tie_embeddings: bool = True
  norm_eps: float = 1e-6
  num_experts: int = 0
  experts_per_token: int = 8
  d_expert: int | None = None
  norm_topk: bool = True
  dense_layers: tuple[int, ...] = ()
  window: int | None = None
  value_head: bool | int = False
  compute_dtype: str = 'float32'
  param_dtype: str = 'float32'
  remat: str = 'none'
  embed_gradient: str = 'scatter'
  query_block: int = 512
  unroll_decode: bool | None = None

  def __post_init__(self):
    if self.head_dim is None:
      if self.d_model % self.num_heads:
        raise ValueError(
          f'd_model={self.d_model} is no multiple of num_heads={self.num_heads}; give head_dim'
        )
      object.__setattr__(self, 'head_dim', self.d_model // self.num_heads)
    if self.d_ff is None:
      object.__setattr__(self, 'd_ff', 4 * self.d_model)
    if self.rope_scaling is not None:
      if len(self.rope_scaling) != 4:
        raise ValueError(
          f'rope_scaling={self.rope_scaling} is not (factor, low_freq_factor, high_freq_factor, '
          'original_max_positions)'
        )
      object.__setattr__(self, 'rope_scaling', tuple(float(x) for x in self.rope_scaling))
    if self.d_expert is None:
      object.__setattr__(self, 'd_expert', self.d_ff)
    object.__setattr__(self, 'dense_layers', tuple(int(n) for n in self.dense_layers))
    if self.num_experts and not 1 <= self.experts_per_token <= self.num_experts:
      raise ValueError(
        f'experts_per_token={self.experts_per_token} is not between 1 and '
        f'num_experts={self.num_experts}'
      )
    if strange := [n for n in self.dense_layers if not 0 <= n < self.num_layers]:
      raise ValueError(f'dense_layers names {strange}; layers are 0 to {self.num_layers - 1}')
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f'num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}'
      )
    if self.head_dim % 2:
      raise ValueError(f'head_dim={self.head_dim} is odd; RoPE turns pairs')
    if self.remat not in REMAT:
      raise ValueError(f'remat={self.remat!r} is none of {", ".join(REMAT)}')
    if self.embed_gradient not in EMBED_GRADIENT:
      raise ValueError(
        f'embed_gradient={self.embed_gradient!r} is none of {", ".join(EMBED_GRADIENT)}'
      )

  @property
  def sparse_layers(self) -> tuple[int, ...]:
    """The numbers of the layers that have experts."""
    return tuple(
      n for n in range(self.num_layers) if self.num_experts and n not in self.dense_layers
    )

  def replace(self, **changes) -> DecoderConfig:
    """A copy with some fields changed."""
    return dataclasses.replace(self, **changes)
