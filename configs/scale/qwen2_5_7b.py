"""Qwen2.5-7B on GSM8K, laid out for v5e:4x4 (v5e-16).

  rljax train --config=scale/qwen2_5_7b --config.model.path=hf://Qwen/Qwen2.5-7B-Instruct
  rljax plan --config=scale/qwen2_5_7b --topology=v5e:4x4

Differs from `scale/base`: the model, its mesh and the size of an iteration.
Expected result: none measured; `experiments/scale` has the plans.
"""

import rljax


def get_config():
  config = rljax.load_config('scale/base')
  config.model.update(
    vocab_size=152064,
    num_layers=28,
    d_model=3584,
    num_heads=28,
    num_kv_heads=4,
    d_ff=18944,
    rope_theta=1000000.0,
    qkv_bias=True,
    tie_embeddings=False,
  )
  config.mesh.update(fsdp=4, tensor=4)
  config.rl.update(prompts=32, samples=8, rows=8)
  config.rl.sampler.slots = 64  # 16 for each group of chips that holds a copy of the weights
  return config
