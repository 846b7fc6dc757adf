"""Suite, `sorting`: the quick start's task with a smaller policy; more than enough problems.

  rljax train --config=experiments/suite/configs/sorting.py
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.model.update(d_model=64, num_heads=2, num_kv_heads=2, d_ff=160)
  config.task.num_test = 1536  # SFT looks at those behind the 1,024 of the evaluation
  config.rl.update(iterations=40, prompts=16, minibatches=1)
  config.rl.rows = 32
  config.rl.optimizer.learning_rate = 3e-4
  return config
