"""Suite, `mixed`: words to sort and marked words to reverse, told apart in a batch.

  rljax train --config=experiments/suite/configs/mixed.py
"""

import rljax


def get_config():
  config = rljax.load_config('presets/mixed_tasks')
  config.model.update(d_model=64, num_heads=2, num_kv_heads=2, d_ff=160)
  config.rewards.workers = 0  # the reward costs less than a process
  config.rl.update(iterations=40, prompts=16, minibatches=1, rows=32)
  config.rl.optimizer.learning_rate = 3e-4
  return config
