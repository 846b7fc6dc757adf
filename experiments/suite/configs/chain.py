"""The suite's chain, strictly on-policy: a branch and up to eight running results.

SFT on noisy demonstrations ends at 28 % right; then group-relative RL from the outcome. With
`config.rl.rollout = dict(name='rollouts.step_scored', scores='suite.chain.step_scores')` the steps
are scored too.

  python experiments/compare.py CONFIG --baseline=experiments/suite/configs/chain.py --out=…
"""

import rljax


def get_config():
  config = rljax.load_config('default')
  config.task = dict(name='suite.chain.chain')
  config.tokenizer = dict(name='tokenization.characters', alphabet='0123456789+-=xy>')
  config.model.update(num_layers=2, d_model=64, num_heads=4, num_kv_heads=4, d_ff=160)

  config.sft.update(iterations=2500, prompts=64, max_length=52)
  config.sft.update(stop_accuracy=0.28, stop_every=150)
  config.sft.optimizer.update(learning_rate=3e-3, warmup_steps=20)

  config.rl.update(iterations=40, prompts=16, samples=16, max_prompt=18, max_new_tokens=34)
  config.rl.optimizer.learning_rate = 3e-4
  for stage in (config.sft, config.rl):
    stage.update(rows=16, row_length=156, packed=True)
  config.evaluation.overlap = 0  # of words; moves differ in their signs only
  return config
