"""Suite, `arithmetic`: expressions of three operands in worked steps, from a start of one in three.

  rljax train --config=experiments/suite/configs/arithmetic.py
"""

import rljax


def get_config():
  config = rljax.load_config('presets/worked_steps')
  config.model.update(d_model=64, num_heads=4, num_kv_heads=4, d_ff=160)
  config.rewards.workers = 0  # the reward costs less than a process
  config.task.num_test = 1536  # SFT looks at those behind the 1,024 of the evaluation
  config.sft.update(iterations=1500, prompts=128, stop_every=50)
  config.rl.update(iterations=40, prompts=16)
  for stage in (config.sft, config.rl):
    stage.update(rows=64, packed=False)
  config.rl.optimizer.learning_rate = 3e-4
  return config
