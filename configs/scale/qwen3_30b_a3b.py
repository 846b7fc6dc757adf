"""Qwen3-30B-A3B on GSM8K, laid out for v5p:2x4x4 (v5p-64, 32 chips).

  rljax train --config=scale/qwen3_30b_a3b --config.model.path=hf://Qwen/Qwen3-30B-A3B
  rljax plan --config=scale/qwen3_30b_a3b --topology=v5p:2x4x4

Differs from `scale/base`: the model, its mesh and the size of an iteration.
Expected result: none measured; `experiments/scale` has the plans.
"""

import rljax


def get_config():
  config = rljax.load_config('scale/base')
  config.model.update(
    vocab_size=151936,
    num_layers=48,
    d_model=2048,
    num_heads=32,
    num_kv_heads=4,
    head_dim=128,
    d_ff=6144,
    num_experts=128,
    experts_per_token=8,
    d_expert=768,
    rope_theta=1000000.0,
    qk_norm=True,
    tie_embeddings=False,
  )
  config.mesh.update(fsdp=4, tensor=1, expert=8)
  config.rl.update(prompts=32, samples=8, rows=32)
  config.rl.sampler.slots = 64  # 16 for each group of chips that holds a copy of the weights
  return config
