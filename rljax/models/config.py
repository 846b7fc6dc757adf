"""The switches of the one decoder."""

from __future__ import annotations

import dataclasses

from rljax.models.layer_kinds import Kind

REMAT = ('none', 'dots', 'attention', 'full')
EMBED_GRADIENT = ('scatter', 'matmul')
ACTIVATION = ('silu', 'gelu_tanh')
ATTENTION = ('auto', 'xla', 'splash', 'cudnn')
CACHE_ATTENTION = ('auto', 'xla', 'ragged')
SEQUENCE_ATTENTION = ('auto', 'all_to_all', 'ring', 'none')
_CHOICES = {
  'remat': REMAT,
  'embed_gradient': EMBED_GRADIENT,
  'activation': ACTIVATION,
  'attention': ATTENTION,
  'cache_attention': CACHE_ATTENTION,
  'sequence_attention': SEQUENCE_ATTENTION,
}


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """A decoder-only transformer: pre-norm, RoPE, grouped-query attention, a gated MLP.

  Llama 3 is the plain form with `rope_scaling`; Qwen2 adds `qkv_bias`; Qwen3 adds `qk_norm`, and
  Qwen3-MoE `num_experts`; Mistral adds `window`. Gemma 2 and 3 have what is named from
  `global_every` on.

  Attributes:
    vocab_size: tokens.
    num_layers: layers.
    d_model: width of the residual stream.
    num_heads: query heads.
    num_kv_heads: key and value heads; divides num_heads.
    head_dim: width of a head; None = d_model / num_heads.
    d_ff: width of the gated MLP; None = 4 · d_model.
    rope_theta: base of the rotary frequencies.
    rope_scaling: None; (factor,): positions count for 1 / factor; or Llama 3's (factor,
      low_freq_factor, high_freq_factor, original_max_positions).
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
    global_every: every so many layers one sees all tokens before it, and `window` is that of the
      others; None = no such layer.
    local_rope_theta: base of the rotary frequencies of the layers with a window, which are then not
      scaled; None = `rope_theta` and `rope_scaling`, as the others.
    query_pre_attn_scalar: scores are q·k divided by its root; None = head_dim.
    attention_softcap: scores become softcap · tanh(scores / softcap); None = off.
    logit_softcap: the same of the logits.
    activation: of the MLP's gate: 'silu' or 'gelu_tanh'.
    norm_plus_one: norms scale with 1 + their parameter.
    post_norms: what attention and the MLP give is normed before it is added.
    scale_embeddings: embeddings are multiplied by √d_model, rounded to the compute dtype.
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
    attention: of training rows: 'xla'; 'splash', a kernel for TPUs; 'cudnn', for GPUs, with a mask
      of R · T² entries; 'auto', by the platform that is compiled for: splash on TPUs, XLA elsewhere
      and for what splash cannot do (prefix_ids), which is logged.
    cache_attention: of decoded tokens: 'xla'; 'ragged', a kernel for TPUs that reads of each row
      the blocks in use; 'auto', ragged on TPUs.
    sequence_attention: over a mesh axis `sequence`: 'all_to_all' (devices trade slots for heads),
      'ring' (keys pass from device to device), 'none' (XLA's choice: it gathers), 'auto':
      all_to_all where the axis divides the key heads, else ring.
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
  rope_scaling: tuple[float, ...] | None = None
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
  global_every: int | None = None
  local_rope_theta: float | None = None
  query_pre_attn_scalar: float | None = None
  attention_softcap: float | None = None
  logit_softcap: float | None = None
  activation: str = 'silu'
  norm_plus_one: bool = False
  post_norms: bool = False
  scale_embeddings: bool = False
  value_head: bool | int = False
  compute_dtype: str = 'float32'
  param_dtype: str = 'float32'
  remat: str = 'none'
  embed_gradient: str = 'scatter'
  query_block: int = 512
  attention: str = 'auto'
  cache_attention: str = 'auto'
  sequence_attention: str = 'auto'
  unroll_decode: bool | None = None

  def __post_init__(self):
    if self.head_dim is None:
      if self.d_model % self.num_heads:
        raise ValueError(
          f'd_model={self.d_model} is no multiple of num_heads={self.num_heads}; give head_dim'
        )
      object.__setattr__(self, 'head_dim', self.d_model // self.num_heads)
    if self.query_pre_attn_scalar is None:
      object.__setattr__(self, 'query_pre_attn_scalar', self.head_dim)
    if self.d_ff is None:
      object.__setattr__(self, 'd_ff', 4 * self.d_model)
    if self.rope_scaling is not None:
      if len(self.rope_scaling) not in (1, 4):
        raise ValueError(
          f'rope_scaling={self.rope_scaling} is neither (factor,) nor (factor, low_freq_factor, '
          'high_freq_factor, original_max_positions)'
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
    for field, known in _CHOICES.items():
      if getattr(self, field) not in known:
        raise ValueError(f'{field}={getattr(self, field)!r} is none of {", ".join(known)}')
    if self.num_experts and self.activation != 'silu':
      raise ValueError(f'activation={self.activation!r}: experts have silu only')
    self._check_windows()
    for field in ('attention_softcap', 'logit_softcap', 'query_pre_attn_scalar'):
      value = getattr(self, field)
      if value is not None and value <= 0:
        raise ValueError(f'{field}={value} is not above 0')

  def _check_windows(self):
    if self.window is not None and self.window < 1:
      raise ValueError(f'window={self.window} is not at least 1: a token sees itself')
    if self.global_every is not None and self.global_every < 1:
      raise ValueError(f'global_every={self.global_every} is no number of layers')
    for field in ('global_every', 'local_rope_theta'):
      if self.window is None and getattr(self, field) is not None:
        raise ValueError(f'{field}={getattr(self, field)} without a window means nothing')

  @property
  def kinds(self) -> tuple[Kind, ...]:
    """What is not the same in all layers, layer by layer."""
    all_tokens = Kind(None, self.rope_theta, self.rope_scaling)
    some = all_tokens._replace(window=self.window)
    if self.local_rope_theta is not None:
      some = Kind(self.window, self.local_rope_theta, None)
    every = self.global_every
    return tuple(
      all_tokens if every and (i + 1) % every == 0 else some for i in range(self.num_layers)
    )

  @property
  def attention_scale(self) -> float:
    """What q·k is multiplied with."""
    return self.query_pre_attn_scalar**-0.5

  @property
  def sparse_layers(self) -> tuple[int, ...]:
    """The numbers of the layers that have experts."""
    return tuple(
      n for n in range(self.num_layers) if self.num_experts and n not in self.dense_layers
    )

  def replace(self, **changes) -> DecoderConfig:
    """A copy with some fields changed."""
    return dataclasses.replace(self, **changes)
