"""GSM8K by group-relative RL beside a reference: what the configs of this folder share.

Each of them gives a model's architecture, so that `rljax plan` needs no files, and a mesh for one
topology; a run needs its weights and tokenizer: --config.model.path=<HF directory or gs:// …>.

Differs from `gsm8k`: 2,048 tokens of context, a small KL to the reference, slots that are refilled.
Expected result: none measured; `experiments/scale` has what each takes on its topologies.
"""

import rljax


def get_config():
  config = rljax.load_config('gsm8k')
  config.rl.update(max_prompt=512, max_new_tokens=1536, kl_coef=0.001)
  # The plans were made with it; 'auto' takes kernels on a TPU, which nobody here has run on one.
  config.model.update(attention='xla', cache_attention='xla')
  config.rl.sampler.drains = 0  # a second copy of the decode step would only be compiled
  config.checkpoint_every = 10
  return config
