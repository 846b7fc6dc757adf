"""Llama-3.1-70B on GSM8K, laid out for v5p:4x8x8 (v5p-512, 256 chips).

  rljax train --config=scale/llama3_1_70b --config.model.path=hf://meta-llama/Llama-3.1-70B-Instruct
  rljax plan --config=scale/llama3_1_70b --topology=v5p:4x8x8

Differs from `scale/base`: the model, its mesh and the size of an iteration.
Expected result: none measured; `experiments/scale` has the plans.
"""

import rljax


def get_config():
  config = rljax.load_config('scale/base')
  config.model.update(
    vocab_size=128256,
    num_layers=80,
    d_model=8192,
    num_heads=64,
    num_kv_heads=8,
    d_ff=28672,
    rope_theta=500000.0,
    rope_scaling=(8.0, 1.0, 4.0, 8192),
    norm_eps=1e-05,
    tie_embeddings=False,
  )
  config.mesh.update(fsdp=32, tensor=8)
  config.rl.update(prompts=64, samples=8, rows=64)
  config.rl.sampler.slots = 512  # 16 for each group of chips that holds a copy of the weights
  return config
