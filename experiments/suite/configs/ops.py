"""Suite, `ops`: four rules of which 75, 50, 30 and 15 % of the demonstrations are right.

  PYTHONPATH=experiments rljax train --config=experiments/suite/configs/ops.py
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='suite.ops.ops', shares=(0.25, 0.5, 0.7, 0.85))
  config.tokenizer.alphabet = 'abcde0123456789'
  config.model.update(d_model=64, num_heads=4, num_kv_heads=4, d_ff=160)
  config.rewards.workers = 0  # the reward costs less than a process
  config.evaluation.update(num_prompts=1024)

  config.sft.update(iterations=800, prompts=256, max_length=9)
  config.sft.update(stop_accuracy=0.32, stop_every=25)
  config.sft.optimizer.update(learning_rate=3e-3, warmup_steps=20)

  config.rl.update(iterations=40, prompts=16, samples=16, max_prompt=5, max_new_tokens=4)
  config.rl.minibatches = 1
  config.rl.optimizer.learning_rate = 3e-4
  for stage in (config.sft, config.rl):
    stage.update(rows=128, row_length=9, packed=False)  # all samples are of one length
  return config
