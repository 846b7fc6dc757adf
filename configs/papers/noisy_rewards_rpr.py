"""Noisy rewards: two of five are flipped, and the words of reasoning calibrate what is left.

The Climb Carves Wisdom Deeper Than the Summit: On the Noisy Rewards in Learning to Reason, 2025.
Learning bears a lot of noise; a reward for reasoning patterns alone lifts answers that the noisy
reward rejects. Differs from `quickstart`: the reward, and the task, whose completions have steps
(the pattern here is that of a step). Recalled: the formula of the calibration. Without it:
`rewards.noisy` alone. Expected: slower than without noise, and nearly as high.

  rljax train --config=papers/noisy_rewards_rpr
"""

import rljax
from rljax.tasks.steps import ALPHABET

METHOD = dict(
  paper=(
    'The Climb Carves Wisdom Deeper Than the Summit: On the Noisy Rewards in Learning to Reason '
    '(2025)'
  ),
  scope='CORE',
  stage='rewards',
  functions=('rewards.noisy', 'rewards.patterns.phrases', 'rewards.calibrated'),
  fidelity='recalled',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='tasks.arithmetic')
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.max_length = 40
  config.rl.update(max_prompt=12, max_new_tokens=28)
  for stage in (config.sft, config.rl):
    stage.row_length = 40
  config.rewards.reward = dict(
    name='rewards.calibrated',
    reward=dict(
      name='rewards.noisy',
      reward='tasks.arithmetic.reward',
      false_positive=0.4,
      false_negative=0.4,
    ),
    pattern=dict(name='rewards.patterns.phrases', phrases=('=',), cap=2),
  )
  return config
