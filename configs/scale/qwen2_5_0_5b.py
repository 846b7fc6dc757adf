"""Qwen2.5-0.5B on GSM8K, laid out for v5e:2x4 (v5e-8).

  rljax train --config=scale/qwen2_5_0_5b --config.model.path=hf://Qwen/Qwen2.5-0.5B-Instruct
  rljax plan --config=scale/qwen2_5_0_5b --topology=v5e:2x4

Differs from `scale/base`: the model, its mesh and the size of an iteration.
Expected result: none measured; `experiments/scale` has the plans.
"""

import rljax


def get_config():
  config = rljax.load_config('scale/base')
  config.model.update(
    vocab_size=151936,
    num_layers=24,
    d_model=896,
    num_heads=14,
    num_kv_heads=2,
    d_ff=4864,
    rope_theta=1000000.0,
    qkv_bias=True,
    tie_embeddings=True,
  )
  config.mesh.update(fsdp=8, tensor=1)
  config.rl.update(prompts=32, samples=8, rows=32)
  config.rl.sampler.slots = 128  # 16 for each group of chips that holds a copy of the weights
  return config
