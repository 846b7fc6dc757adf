"""Countdown on two CPU cores in five minutes: SFT on worked steps, then group-relative RL.

A policy of 0.4 M parameters learns to reach a target from three numbers (`7,3,12>33=` is answered
by `7*3=21,21+12=33`): first from demonstrations, until it solves a third of the problems, then by
reinforcement. The held-out problems share no problem with training, in whatever order.

  rljax train --config=quickstart
"""

import rljax


def get_config():
  config = rljax.load_config('default')
  config.task = dict(name='tasks.countdown', num_numbers=3, high=20)
  config.tokenizer = dict(name='tokenization.characters', alphabet='0123456789+-*=,>')
  config.model.update(num_layers=2, d_model=128, num_heads=4, num_kv_heads=2)

  config.sft.iterations = 1200
  config.sft.max_length = 32
  config.sft.optimizer.update(learning_rate=2e-3, decay='cosine', warmup_steps=20)

  config.rl.iterations = 150
  config.rl.max_prompt = 12
  config.rl.max_new_tokens = 20
  config.rl.optimizer.learning_rate = 4e-4  # a thousand times that of a large model
  return config
