"""Qwen2.5-32B on GSM8K, laid out for v5p:2x4x4 (v5p-64, 32 chips).

  rljax train --config=scale/qwen2_5_32b --config.model.path=hf://Qwen/Qwen2.5-32B-Instruct
  rljax plan --config=scale/qwen2_5_32b --topology=v5p:2x4x4

Differs from `scale/base`: the model, its mesh and the size of an iteration.
Expected result: none measured; `experiments/scale` has the plans.
"""

import rljax


def get_config():
  config = rljax.load_config('scale/base')
  config.model.update(
    vocab_size=152064,
    num_layers=64,
    d_model=5120,
    num_heads=40,
    num_kv_heads=8,
    d_ff=27648,
    rope_theta=1000000.0,
    qkv_bias=True,
    tie_embeddings=False,
  )
  config.mesh.update(fsdp=4, tensor=8)
  config.rl.update(prompts=32, samples=8, rows=16)
  config.rl.sampler.slots = 64  # 16 for each group of chips that holds a copy of the weights
  return config
