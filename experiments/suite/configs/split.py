"""Suite, `split`: two numbers that add up to a given one, from uniformly drawn right answers.

  PYTHONPATH=experiments rljax train --config=experiments/suite/configs/split.py
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='suite.split.split')
  config.tokenizer.alphabet = '0123456789+='
  config.model.update(d_model=64, num_heads=4, num_kv_heads=4, d_ff=160)
  config.rewards.workers = 0  # the reward costs less than a process
  config.evaluation.update(num_prompts=636, overlap=0)  # each number four times; none is held out

  config.sft.update(iterations=600, prompts=256, max_length=10)
  config.sft.update(stop_accuracy=0.33, stop_every=25)  # after 200 to 300
  config.sft.optimizer.update(learning_rate=3e-3, warmup_steps=20)

  config.rl.update(iterations=50, prompts=32, samples=16, max_prompt=4, max_new_tokens=6)
  config.rl.minibatches = 1
  config.rl.optimizer.learning_rate = 3e-4
  for stage in (config.sft, config.rl):
    stage.update(rows=128, row_length=10, packed=False)  # all samples are of one length
  return config
