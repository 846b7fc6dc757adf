"""The suite's two skills, strictly on-policy: RL on digits to choose, words to reverse on the side.

SFT on both is to end at 46 % of all that is held out: words above .9, digits at .4, nothing of the
letter e, which was not shown. With fewer right demonstrations of the digits (shares .3 to .9) it
was at .97 and .17 after 620 steps of 128.
`config.rl.curriculum.shares` with 'never' makes RL try it, a stage 'sft' with shares of 'shown'
shows it.

  python experiments/compare.py CONFIG --baseline=experiments/suite/configs/two_skill.py --out=…
"""

import rljax


def get_config():
  config = rljax.load_config('default')
  config.task = dict(name='suite.two_skill.two_skill')
  config.tokenizer = dict(name='tokenization.characters', alphabet='abcde0123456789fghijklm=')
  config.model.update(num_layers=2, d_model=64, num_heads=4, num_kv_heads=4, d_ff=160)

  config.sft.update(iterations=1500, prompts=256, max_length=10)
  config.sft.update(stop_accuracy=0.46, stop_every=50)  # of all that is held out
  config.sft.optimizer.update(learning_rate=3e-3, warmup_steps=20)
  config.sft.curriculum = dict(
    name='curriculum.domains', by='domain', shares=dict(ops=0.7, reverse=0.3)
  )

  config.rl.update(iterations=40, prompts=32, samples=16, max_prompt=5, max_new_tokens=5)
  config.rl.optimizer.learning_rate = 3e-4
  config.rl.curriculum = dict(name='curriculum.domains', by='domain', shares=dict(ops=1.0))
  for stage in (config.sft, config.rl):
    stage.update(rows=128, row_length=10, packed=False)  # samples are short and of like length
  return config
