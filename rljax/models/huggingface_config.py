"""config.json of Hugging Face ↔ `DecoderConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax.models.config import DecoderConfig

ARCHITECTURES = {
  'llama': 'LlamaForCausalLM',
  'qwen2': 'Qwen2ForCausalLM',
  'qwen3': 'Qwen3ForCausalLM',
  'qwen3_moe': 'Qwen3MoeForCausalLM',
}
# Fields that would change the maths, and the only values of them that the decoder computes.
FIXED = {
  'hidden_act': ('silu',),
  'mlp_bias': (False, None),
  'use_sliding_window': (False, None),
  'partial_rotary_factor': (1.0, None),
}
LLAMA3 = ('factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings')


def read(found: Mapping[str, Any], source: str) -> DecoderConfig:
  """The `DecoderConfig` of a parsed config.json.

  Args:
    found: the file's content.
    source: its path, for messages.

  Raises:
    ValueError: a model type, an activation, a RoPE scaling … that the decoder does not compute.
  """
  kind = found.get('model_type')
  if kind not in ARCHITECTURES:
    raise ValueError(
      f'{source}: model_type {kind!r} is not supported; supported are {", ".join(ARCHITECTURES)}'
    )
  for field, allowed in FIXED.items():
    if field in found and found[field] not in allowed:
      raise ValueError(f'{source}: {field}={found[field]!r} is not supported, only {allowed[0]!r}')
  if kind != 'qwen2' and found.get('attention_bias'):
    raise ValueError(f'{source}: attention_bias=True of {kind} is not supported')
  theta, scaling = _rope(found, source)
  try:
    heads = found['num_attention_heads']
    # Qwen3 files without head_dim mean 128, whatever the width.
    implied = 128 if kind == 'qwen3' else found['hidden_size'] // heads
    experts = _experts(found) if kind == 'qwen3_moe' else {}
    return DecoderConfig(
      vocab_size=found['vocab_size'],
      num_layers=found['num_hidden_layers'],
      d_model=found['hidden_size'],
      num_heads=heads,
      num_kv_heads=found.get('num_key_value_heads') or heads,
      head_dim=found.get('head_dim') or implied,
      d_ff=found['intermediate_size'],
      rope_theta=theta,
      rope_scaling=scaling,
      qkv_bias=kind == 'qwen2',
      qk_norm=kind in ('qwen3', 'qwen3_moe'),
      **experts,
      tie_embeddings=bool(found.get('tie_word_embeddings', False)),
      norm_eps=found.get('rms_norm_eps', 1e-6),
    )
  except KeyError as error:
    raise ValueError(f'{source}: the field {error.args[0]!r} is missing') from None


def _experts(found: Mapping[str, Any]) -> dict[str, Any]:
  """The fields of the experts; files of transformers 5 call their number num_local_experts."""
  step, dense = found.get('decoder_sparse_step', 1), set(found.get('mlp_only_layers') or ())
  layers = range(found['num_hidden_layers'])
  key = 'num_experts' if 'num_experts' in found else 'num_local_experts'
  return {
    'num_experts': found[key],
    'experts_per_token': found['num_experts_per_tok'],
    'd_expert': found['moe_intermediate_size'],
    'norm_topk': found.get('norm_topk_prob', False),
    'dense_layers': tuple(n for n in layers if n in dense or (n + 1) % step),
  }


def _rope(found: Mapping[str, Any], source: str) -> tuple[float, tuple | None]:
  """(theta, scaling). Newer files keep both in `rope_parameters`, older ones at the top."""
  rope = {**(found.get('rope_scaling') or {}), **(found.get('rope_parameters') or {})}
  theta = float(rope.get('rope_theta') or found.get('rope_theta') or 10000.0)
  kind = rope.get('rope_type', rope.get('type', 'default'))
  if rope.get('partial_rotary_factor', 1.0) != 1.0:
    raise ValueError(f'{source}: partial_rotary_factor={rope["partial_rotary_factor"]} of the RoPE')
  if kind == 'default':
    return theta, None
  if kind != 'llama3':
    raise ValueError(f"{source}: RoPE scaling {kind!r} is not supported, only 'llama3'")
  missing = [name for name in LLAMA3 if name not in rope]
  if missing:
    raise ValueError(f'{source}: the RoPE scaling lacks {missing[0]!r}')
  return theta, tuple(float(rope[name]) for name in LLAMA3)


def write(
  config: DecoderConfig, *, dtype: str, max_positions: int, token_ids: Mapping[str, Any]
) -> dict[str, Any]:
  """The content of config.json.

  Args:
    config: of the model.
    dtype: of the exported tensors.
    max_positions: tokens; transformers takes it as the context length.
    token_ids: bos_token_id, eos_token_id, pad_token_id, where they are known.

  Raises:
    ValueError: switches that no supported model type has.
  """
  if config.qk_norm and config.qkv_bias:
    raise ValueError('export: no supported model type has qk_norm and qkv_bias together')
  if config.window is not None:
    raise ValueError(f'export: window={config.window} has no counterpart in the file')
  kind = 'qwen3' if config.qk_norm else 'qwen2' if config.qkv_bias else 'llama'
  experts = {}
  if config.num_experts:
    if not config.qk_norm:
      raise ValueError('export: no supported model type has experts without qk_norm')
    kind = 'qwen3_moe'
    experts = {
      'num_experts': config.num_experts,
      'num_experts_per_tok': config.experts_per_token,
      'moe_intermediate_size': config.d_expert,
      'norm_topk_prob': config.norm_topk,
      'decoder_sparse_step': 1,
      'mlp_only_layers': list(config.dense_layers),
    }
  scaling = None
  if config.rope_scaling is not None:
    scaling = {'rope_type': 'llama3', **dict(zip(LLAMA3, config.rope_scaling))}
    scaling[LLAMA3[3]] = int(scaling[LLAMA3[3]])
  return {
    'architectures': [ARCHITECTURES[kind]],
    'model_type': kind,
    'vocab_size': config.vocab_size,
    'hidden_size': config.d_model,
    'intermediate_size': config.d_ff,
    'num_hidden_layers': config.num_layers,
    'num_attention_heads': config.num_heads,
    'num_key_value_heads': config.num_kv_heads,
    'head_dim': config.head_dim,
    'hidden_act': 'silu',
    'attention_bias': config.qkv_bias,
    'rms_norm_eps': config.norm_eps,
    'rope_theta': config.rope_theta,
    'rope_scaling': scaling,
    'tie_word_embeddings': config.tie_embeddings,
    'max_position_embeddings': max_positions,
    'torch_dtype': dtype,
    **experts,
    **token_ids,
  }
