"""config.json of Hugging Face ↔ `DecoderConfig`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rljax.models import huggingface_gemma
from rljax.models.config import DecoderConfig
from rljax.models.huggingface_gemma import GEMMA

ARCHITECTURES = {
  'llama': 'LlamaForCausalLM',
  'qwen2': 'Qwen2ForCausalLM',
  'qwen3': 'Qwen3ForCausalLM',
  'qwen3_moe': 'Qwen3MoeForCausalLM',
  'mistral': 'MistralForCausalLM',
  'gemma2': 'Gemma2ForCausalLM',
  'gemma3_text': 'Gemma3ForCausalLM',
}
# Images and text: the text's part is read.
TEXT_PART = {'gemma3': 'gemma3_text'}
# What files may leave out. Qwen3 means a head of 128 whatever the width, Mistral a window.
DEFAULTS = {
  'qwen3': {'head_dim': 128},
  'mistral': {'sliding_window': 4096},
  **huggingface_gemma.DEFAULTS,
}
# Fields that would change the maths, and the only values of them that the decoder computes.
FIXED = {
  'hidden_act': ('silu',),
  'mlp_bias': (False, None),
  'use_sliding_window': (False, None),
  'partial_rotary_factor': (1.0, None),
}
# What a `DecoderConfig` says of a run and not of a model.
NOT_OF_THE_MODEL = (
  'value_head', 'compute_dtype', 'param_dtype', 'remat', 'embed_gradient', 'query_block',
  'unroll_decode', 'attention', 'cache_attention', 'sequence_attention',
)  # fmt: skip
OF_EXPERTS = ('experts_per_token', 'd_expert', 'norm_topk', 'dense_layers')
# Fields of config.json that are counts, and the most that is believed of each.
COUNTS = {
  'vocab_size': 2**31, 'hidden_size': 2**20, 'intermediate_size': 2**22, 'num_hidden_layers': 2000,
  'num_attention_heads': 2**14, 'num_key_value_heads': 2**14, 'head_dim': 2**14,
  'num_experts': 2**14, 'num_local_experts': 2**14, 'num_experts_per_tok': 2**14,
  'moe_intermediate_size': 2**22, 'decoder_sparse_step': 2000, 'sliding_window': 2**31,
}  # fmt: skip
OPTIONAL = ('num_key_value_heads', 'head_dim', 'sliding_window')  # null says: by the others
LLAMA3 = ('factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings')


def read(found: Mapping[str, Any], source: str) -> DecoderConfig:
  """The `DecoderConfig` of a parsed config.json.

  Args:
    found: the file's content.
    source: its path, for messages.

  Raises:
    ValueError: a model type, an activation, a RoPE scaling … that the decoder does not compute.
  """
  try:
    return _read(found, source)
  except (TypeError, AttributeError, ArithmeticError) as error:
    raise ValueError(f'{source}: a field is not of the kind that it should be: {error}') from error


def _read(found: Mapping[str, Any], source: str) -> DecoderConfig:
  kind = found.get('model_type')
  if kind in TEXT_PART and isinstance(found.get('text_config'), Mapping):
    kind = TEXT_PART[kind]
    found = {**found['text_config'], 'model_type': kind}
  if kind not in ARCHITECTURES:
    raise ValueError(
      f'{source}: model_type {kind!r} is not supported; supported are {", ".join(ARCHITECTURES)}'
    )
  found = {**DEFAULTS.get(kind, {}), **found}
  _check_counts(found, source)
  fixed = FIXED | huggingface_gemma.FIXED
  if kind in GEMMA:
    fixed.pop('hidden_act')  # of older files, and not what is meant
  for field, allowed in fixed.items():
    if field in found and found[field] not in allowed:
      raise ValueError(f'{source}: {field}={found[field]!r} is not supported, only {allowed[0]!r}')
  if kind != 'qwen2' and found.get('attention_bias'):
    raise ValueError(f'{source}: attention_bias=True of {kind} is not supported')
  theta, scaling = _rope(found, source)
  try:
    heads = found['num_attention_heads']
    special = {'window': found['sliding_window']} if kind == 'mistral' else {}
    if kind in GEMMA:
      special = huggingface_gemma.read(found, source)
    elif kind == 'qwen3_moe':
      special = _experts(found)
    return DecoderConfig(
      vocab_size=found['vocab_size'],
      num_layers=found['num_hidden_layers'],
      d_model=found['hidden_size'],
      num_heads=heads,
      num_kv_heads=found.get('num_key_value_heads') or heads,
      head_dim=found.get('head_dim') or found['hidden_size'] // heads,
      d_ff=found['intermediate_size'],
      rope_theta=theta,
      rope_scaling=scaling,
      qkv_bias=kind == 'qwen2',
      **{'qk_norm': kind in ('qwen3', 'qwen3_moe'), **special},
      tie_embeddings=bool(found.get('tie_word_embeddings', False)),
      norm_eps=found.get('rms_norm_eps', 1e-6),
    )
  except KeyError as error:
    raise ValueError(f'{source}: the field {error.args[0]!r} is missing') from None


def _check_counts(found: Mapping[str, Any], source: str) -> None:
  for field, most in COUNTS.items():
    value = found.get(field)
    given = field in found and not (value is None and field in OPTIONAL)
    if given and not (type(value) is int and 1 <= value <= most):
      raise ValueError(f'{source}: {field}={str(value)[:80]} is no number from 1 to {most}')


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
  """(theta, scaling). Newer files keep both in `rope_parameters`, older ones at the top.

  Where layers are of two kinds, of those that see all tokens.
  """
  newer = found.get('rope_parameters') or {}
  newer = newer.get(huggingface_gemma.GLOBAL) or newer
  rope = {**(found.get('rope_scaling') or {}), **newer}
  theta = float(rope.get('rope_theta') or found.get('rope_theta') or 10000.0)
  kind = rope.get('rope_type', rope.get('type', 'default'))
  if rope.get('partial_rotary_factor', 1.0) != 1.0:
    raise ValueError(f'{source}: partial_rotary_factor={rope["partial_rotary_factor"]} of the RoPE')
  if kind == 'default':
    return theta, None
  if kind not in ('linear', 'llama3'):
    raise ValueError(f"{source}: RoPE scaling {kind!r} is not supported, only 'linear', 'llama3'")
  names = LLAMA3 if kind == 'llama3' else LLAMA3[:1]
  missing = [name for name in names if name not in rope]
  if missing:
    raise ValueError(f'{source}: the RoPE scaling lacks {missing[0]!r}')
  return theta, tuple(float(rope[name]) for name in names)


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
  special = {}
  if config.norm_plus_one:
    special = huggingface_gemma.write(config)
  elif config.num_experts:
    special = {
      'model_type': 'qwen3_moe',
      'num_experts': config.num_experts,
      'num_experts_per_tok': config.experts_per_token,
      'moe_intermediate_size': config.d_expert,
      'norm_topk_prob': config.norm_topk,
      'decoder_sparse_step': 1,
      'mlp_only_layers': list(config.dense_layers),
    }
  elif config.window is not None:
    special = {'model_type': 'mistral', 'sliding_window': config.window}
  plain = 'qwen3' if config.qk_norm else 'qwen2' if config.qkv_bias else 'llama'
  kind = special.get('model_type', plain)
  scaling = None
  if config.rope_scaling is not None:
    scaling = {'rope_type': 'llama3' if len(config.rope_scaling) > 1 else 'linear'}
    scaling.update(zip(LLAMA3, config.rope_scaling))
    if LLAMA3[3] in scaling:
      scaling[LLAMA3[3]] = int(scaling[LLAMA3[3]])
  out = {
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
    **special,
    **token_ids,
  }
  _check(config, read(out, 'export'), kind)
  return out


def _check(config: DecoderConfig, back: DecoderConfig, kind: str) -> None:
  """Refuses a model that a file cannot describe: what is read of the file is another one."""
  wanted, said = dataclasses.asdict(config), dataclasses.asdict(back)
  free = NOT_OF_THE_MODEL if config.num_experts else (*NOT_OF_THE_MODEL, *OF_EXPERTS)
  for field, value in wanted.items():
    if field not in free and value != said[field]:
      raise ValueError(
        f'export: no supported model type has {field}={value!r} beside its other fields; as '
        f'{kind} it would be {said[field]!r}'
      )
