"""What the campaign breaks: a run of seconds that remembers much.

SFT, then RL on two domains with a curriculum that learns which to draw, rollouts that wait for
their update, a reference that moves, two minibatches, a reward in a worker process.

  rljax train --config=experiments/reliability/small.py
"""

import rljax

ROWS = dict(rows=8, row_length=16)


def get_config():
  config = rljax.load_config('default')
  words = dict(name='tasks.reverse_text', letters='abcd', num_train=64, num_test=24)
  words['test_fraction'] = 0.4
  config.task = dict(
    name='tasks.mixture',
    sources=dict(
      short=dict(task=dict(words, min_length=2, max_length=2, num_train=8, num_test=4)),
      long=dict(task=dict(words, min_length=3, max_length=4)),
    ),
  )
  config.tokenizer = dict(name='tokenization.characters', alphabet='abcd>')
  config.model.update(num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32)
  config.rewards.update(reward=dict(name='watched.judged', seconds=0.002), workers=1)
  config.evaluation.update(num_prompts=8, samples=2, ks=(1, 2), batch=16, overlap=0)
  config.writers = ('jsonl', 'tensorboard')
  config.checkpoint_every = 3
  config.health_check = False
  config.sft.update(iterations=5, prompts=8, max_length=10, **ROWS)
  config.rl.update(
    iterations=10, prompts=4, samples=4, max_prompt=5, max_new_tokens=5, minibatches=2,
    max_staleness=1, old_logprobs='sampler', kl_coef=0.01, reference_every=4,
    curriculum=dict(
      name='curriculum.domains', shares=dict(short=0.5, long=0.5), adaptive=True, high=0.9
    ),
    optimizer=dict(name='optimizers.adamw', learning_rate=1e-3), **ROWS,
  )  # fmt: skip
  return config
