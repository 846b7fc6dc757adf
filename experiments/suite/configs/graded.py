"""The suite's graded rewards, strictly on-policy: six digits to sort, the sum of three components.

SFT on noisy demonstrations ends at 25 % wholly right. For methods that see the components:
`config.rl.reward_components = ('place', 'format', 'length')`.

  python experiments/compare.py CONFIG --baseline=experiments/suite/configs/graded.py --out=…
"""

import rljax


def get_config():
  config = rljax.load_config('default')
  config.task = dict(name='suite.graded.graded', num_test=1152)  # SFT looks behind the 1,024
  config.tokenizer = dict(name='tokenization.characters', alphabet='0123456789[]>')
  config.model.update(num_layers=2, d_model=64, num_heads=4, num_kv_heads=4, d_ff=160)

  config.sft.update(iterations=1500, prompts=128, max_length=18)
  config.sft.update(stop_accuracy=0.25, stop_every=100)
  config.sft.optimizer.update(learning_rate=3e-3, warmup_steps=20)

  config.rl.update(iterations=40, prompts=32, samples=16, max_prompt=7, max_new_tokens=11)
  config.rl.optimizer.learning_rate = 3e-4
  for stage in (config.sft, config.rl):
    stage.update(rows=128, row_length=18, packed=False)  # samples are short and of like length
  return config
