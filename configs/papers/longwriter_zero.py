"""LongWriter-Zero: several rewards of writing, each normalised in its group before the average.

LongWriter-Zero: Mastering Ultra-Long Text Generation via Reinforcement Learning, 2025. Length is
paid for by a trapezoid, quality and form by rewards of their own, and no reward's scale drowns
another's. Differs from `quickstart`: task, rewards and advantage. Adapted: short texts; checks of
what the prompt asks stand for the reward model of quality, repetition for that of form
(`rewards.judges.scored` takes a model). Recalled: the trapezoid and the average. Expected: all
three rewards rise together.

  rljax train --config=papers/longwriter_zero
"""

import rljax

METHOD = dict(
  paper=(
    'LongWriter-Zero: Mastering Ultra-Long Text Generation via Reinforcement Learning (2025)'
  ),
  scope='CORE',
  stage='advantages',
  functions=(
    'advantages.multi_reward',
    'rewards.style.length_band',
    'rewards.constraints.follow',
    'rewards.style.repetition',
  ),
  fidelity='adapted',
  baseline='quickstart',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(
    name='tasks.constrained_text',
    max_constraints=2,
    size=2,
    kinds=('keywords', 'forbidden', 'keyword_count', 'no_digits'),  # none that says a length
  )
  config.tokenizer = dict(name='tokenization.byte_level')
  config.sft.max_length = 384
  config.rl.update(max_prompt=192, max_new_tokens=192)
  for stage in (config.sft, config.rl):
    stage.update(rows=16, row_length=384)
  config.rewards.reward = dict(
    name='rewards.combinators.weighted',
    rewards=dict(
      length=dict(name='rewards.style.length_band', low=20, high=30, slack=15.0),
      quality=dict(name='rewards.constraints.follow', partial=True),
      form=dict(name='rewards.style.repetition'),
    ),
  )
  config.rl.reward_components = ('length', 'quality', 'form')
  third = 1 / 3
  config.rl.advantage = dict(
    name='advantages.multi_reward',
    weights=(('form', third), ('length', third), ('quality', third)),
    whiten=False,
  )
  return config
