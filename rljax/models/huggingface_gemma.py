"""The part of config.json that Gemma 2 and Gemma 3 have for themselves ↔ `DecoderConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax.models.config import DecoderConfig

GEMMA = ('gemma2', 'gemma3_text')
LOCAL, GLOBAL = 'sliding_attention', 'full_attention'
EVERY = {'gemma2': 2, 'gemma3_text': 6}  # layers, where a file names no pattern
LOCAL_THETA = 10000.0
# Files leave out what is as in the first release.
_BOTH = {
  'num_attention_heads': 8,
  'num_key_value_heads': 4,
  'head_dim': 256,
  'hidden_activation': 'gelu_pytorch_tanh',
  'query_pre_attn_scalar': 256,
  'sliding_window': 4096,
  'tie_word_embeddings': True,
}
DEFAULTS = {
  'gemma2': {
    **_BOTH,
    'vocab_size': 256000,
    'attn_logit_softcapping': 50.0,
    'final_logit_softcapping': 30.0,
  },
  'gemma3_text': {**_BOTH, 'vocab_size': 262208, 'rope_theta': 1e6},
}
# Fields that would change the maths, and the only values of them that the decoder computes.
FIXED = {
  'hidden_activation': ('gelu_pytorch_tanh',),
  'use_bidirectional_attention': (False, None),
}
# Of models of images and text.
IMAGES = ('vision_tower.', 'multi_modal_projector.')
# In the decoder's words.
SWITCHES = {
  'activation': 'gelu_tanh',
  'norm_plus_one': True,
  'post_norms': True,
  'scale_embeddings': True,
}


def read(found: Mapping[str, Any], source: str) -> dict[str, Any]:
  """The fields of `DecoderConfig` that only Gemma has.

  Args:
    found: the content of config.json, with `DEFAULTS`.
    source: its path, for messages.

  Raises:
    ValueError: layers whose order is no repetition, or scores that transformers computes in no way.
  """
  kind, window = found['model_type'], found['sliding_window']
  cap = found.get('attn_logit_softcapping')
  if kind == 'gemma3_text' and cap is not None:
    raise ValueError(f'{source}: attn_logit_softcapping={cap} of {kind} is not supported')
  if window is None:
    every = local_theta = None
  else:
    every = _global_every(found, source)
    local_theta = _local_theta(found, source) if kind == 'gemma3_text' else None
  return {
    **SWITCHES,
    'window': window,
    'global_every': every,
    'local_rope_theta': local_theta,
    'query_pre_attn_scalar': found['query_pre_attn_scalar'],
    'attention_softcap': cap,
    'logit_softcap': found.get('final_logit_softcapping'),
    'qk_norm': kind == 'gemma3_text',
  }


def _global_every(found: Mapping[str, Any], source: str) -> int | None:
  every = found.get('sliding_window_pattern') or EVERY[found['model_type']]
  types = found.get('layer_types')
  if types is None:
    return every
  first = types.index(GLOBAL) + 1 if GLOBAL in types else None
  if types != layer_types(first, found['num_hidden_layers']):
    raise ValueError(
      f'{source}: layer_types is not {LOCAL!r} with {GLOBAL!r} at every so-manieth layer: {types}'
    )
  return first


def text_name(name: str) -> str | None:
  """What a tensor of a model of images and text is called in one of text; None = of the images."""
  if any(name.removeprefix('model.').startswith(part) for part in IMAGES):
    return None
  name = name.replace('model.language_model.', 'model.', 1)
  return name.removeprefix('language_model.')


def layer_types(global_every: int | None, num_layers: int) -> list[str]:
  """What transformers calls the layers."""
  return [
    GLOBAL if global_every and (i + 1) % global_every == 0 else LOCAL for i in range(num_layers)
  ]


def _local_theta(found: Mapping[str, Any], source: str) -> float:
  """Newer files keep the RoPE of both kinds of layers in `rope_parameters`."""
  rope = (found.get('rope_parameters') or {}).get(LOCAL) or {}
  if rope.get('rope_type', 'default') != 'default':
    raise ValueError(
      f'{source}: RoPE scaling {rope["rope_type"]!r} of {LOCAL} is not supported, only of {GLOBAL}'
    )
  return float(rope.get('rope_theta') or found.get('rope_local_base_freq') or LOCAL_THETA)


def write(config: DecoderConfig) -> dict[str, Any]:
  """The fields of config.json that only Gemma has, the model type with them."""
  scalar = config.query_pre_attn_scalar
  out = {
    'model_type': 'gemma3_text' if config.qk_norm else 'gemma2',
    'hidden_act': 'gelu_pytorch_tanh',
    'hidden_activation': 'gelu_pytorch_tanh',
    'query_pre_attn_scalar': int(scalar) if scalar == int(scalar) else scalar,
    'sliding_window': config.window,
    'layer_types': layer_types(config.global_every, config.num_layers),
    'attn_logit_softcapping': config.attention_softcap,
    'final_logit_softcapping': config.logit_softcap,
  }
  if config.window is None:
    out['layer_types'] = [GLOBAL] * config.num_layers
  if config.qk_norm:
    out['rope_local_base_freq'] = config.local_rope_theta or config.rope_theta
    if config.global_every is not None:
      out['sliding_window_pattern'] = config.global_every
  return out
