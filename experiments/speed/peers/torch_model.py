"""The policy of a work in transformers, and a tokenizer whose words are the ids themselves."""

import os

os.environ |= {'HF_HUB_OFFLINE': '1', 'TRANSFORMERS_OFFLINE': '1'}
os.environ['TOKENIZERS_PARALLELISM'] = 'false'

import torch
import transformers


def set_up(work):
  """Seeds, threads; the device."""
  torch.manual_seed(0)
  if torch.cuda.is_available() and work['device'] != 'cpu':
    return 'cuda'
  torch.set_num_threads(work['threads'])
  return 'cpu'


def make_model(work, device, attention='sdpa'):
  """Random weights; Qwen3 or, with biases, Qwen2."""
  shape = work['shape']
  kind = transformers.Qwen3Config if shape['qk_norm'] else transformers.Qwen2Config
  head = {'head_dim': shape['head_dim']} if shape['qk_norm'] else {}
  config = kind(
    vocab_size=shape['vocab_size'],
    hidden_size=shape['d_model'],
    intermediate_size=shape['d_ff'],
    num_hidden_layers=shape['num_layers'],
    num_attention_heads=shape['num_heads'],
    num_key_value_heads=shape['num_kv_heads'],
    tie_word_embeddings=shape['tie_embeddings'],
    max_position_embeddings=max(512, work['prompt'] + work['completion']),
    rope_parameters={'rope_type': 'default', 'rope_theta': shape['rope_theta']},
    pad_token_id=0,
    bos_token_id=None,
    eos_token_id=None,
    **head,
  )
  dtype = getattr(torch, shape['dtype'])
  model = transformers.AutoModelForCausalLM.from_config(
    config, attn_implementation=attention, dtype=dtype
  )
  return model.to(device)


def versions():
  return {'torch': torch.__version__, 'transformers': transformers.__version__}
