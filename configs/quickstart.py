"""Signs on two CPU cores in five minutes: SFT on worked steps, then group-relative RL.

A policy of 0.4 M parameters learns to choose signs so that four numbers make a target (`7532>11=`
is answered by `+5=12-3=9+2=11`): first from demonstrations, until it solves a third of the problems,
then by reinforcement. The held-out problems share no problem with training, in whatever order.

  rljax train --config=quickstart

What to expect, over three seeds and with controls: experiments/quickstart.
"""

import rljax


def get_config():
  config = rljax.load_config('default')
  config.task = dict(name='tasks.signs')
  config.tokenizer = dict(name='tokenization.characters', alphabet='0123456789+-*=,>')
  # Positions are few: a small theta turns all rotary frequencies into something useful.
  config.model.update(num_layers=2, d_model=128, num_heads=4, num_kv_heads=4, rope_theta=50.0)

  config.sft.update(iterations=800, prompts=64, max_length=32)
  config.sft.update(stop_accuracy=0.33, stop_every=25)  # a start with room to rise
  config.sft.optimizer.update(learning_rate=2e-3, b2=0.99, warmup_steps=20)

  config.rl.update(iterations=150, prompts=32, samples=8, max_prompt=12, max_new_tokens=20)
  config.rl.loss.clip_high = 0.28
  # A thousand times the rate of a large model.
  config.rl.optimizer.update(learning_rate=3e-4, b2=0.99, warmup_steps=5)
  for stage in (config.sft, config.rl):
    stage.update(rows=64, row_length=32, packed=False)  # samples are short and of like length
  return config
