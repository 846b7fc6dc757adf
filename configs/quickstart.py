"""Sorting letters on two CPU cores in minutes: SFT on some demonstrations, then group-relative RL.

A policy of 0.4 M parameters learns to sort ten letters (`qkzbwaphcx>` is answered by `abchkpqwxz`):
first from demonstrations, until four words in ten come out right, then by reinforcement, from
nothing but right or wrong. No held-out word has the letters of a training word, in whatever order.

  rljax train --config=quickstart

What to expect, over three seeds and with controls: experiments/quickstart.
"""

import rljax


def get_config():
  config = rljax.load_config('default')
  config.task = dict(name='tasks.sorting', length=10)
  config.tokenizer = dict(name='tokenization.characters', alphabet='abcdefghijklmnopqrstuvwxyz>')
  config.model.update(num_layers=2, d_model=128, num_heads=4, num_kv_heads=4, d_ff=320)

  config.sft.update(iterations=600, prompts=64, max_length=23)
  config.sft.update(stop_accuracy=0.38, stop_every=25)  # a start with room to rise
  config.sft.optimizer.update(learning_rate=2e-3, warmup_steps=20)

  config.rl.update(iterations=120, prompts=32, samples=16, max_prompt=11, max_new_tokens=12)
  config.rl.minibatches = 4  # four steps a rollout learn faster than one, and the clip acts
  config.rl.optimizer.learning_rate = 2e-4  # a few hundred times that of a large model
  for stage in (config.sft, config.rl):
    stage.update(rows=64, row_length=24, packed=False)  # samples are short and of like length
  config.checkpoint_every = 40
  return config
