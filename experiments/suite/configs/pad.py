"""Suite, `pad`: sums after 0 to 8 filler tokens.

  PYTHONPATH=experiments rljax train --config=experiments/suite/configs/pad.py
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='suite.pad.pad')
  config.tokenizer.alphabet = '0123456789+=.'
  config.model.update(d_model=64, num_heads=4, num_kv_heads=4, d_ff=160)
  config.rewards.workers = 0  # the reward costs less than a process
  config.evaluation.update(num_prompts=1024)

  config.sft.update(iterations=800, prompts=256, max_length=18)
  config.sft.update(stop_accuracy=0.33, stop_every=25)
  config.sft.optimizer.update(learning_rate=3e-3, warmup_steps=20)

  config.rl.update(iterations=50, prompts=32, samples=16, max_prompt=6, max_new_tokens=16)
  config.rl.minibatches = 1
  config.rl.optimizer.learning_rate = 3e-4
  config.sft.update(rows=128, row_length=18, packed=False)
  config.rl.update(rows=128, row_length=22, packed=False)
  return config
