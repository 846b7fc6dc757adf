"""ReLIFT: prompts that RL does not solve are collected, and learnt from demonstrations in between.

Learning What Reinforcement Learning Can't: Interleaved Online Fine-Tuning for Hardest Questions,
2025. A prompt whose samples are all wrong goes to a buffer; when it is full, supervised steps on
its demonstrations interrupt RL. Differs from `presets/grpo_off_policy`: the schedule. What counts
as hard and the size of the buffer are recalled. Expected: above RL and above SFT then RL on prompts
that RL alone never solves, with few demonstrations; fewer interruptions as the policy learns.

  rljax train --config=papers/relift
"""

import rljax

METHOD = dict(
  paper=(
    "Learning What Reinforcement Learning Can't: Interleaved Online Fine-Tuning for Hardest "
    'Questions (2025)'
  ),
  scope='CORE',
  stage='schedule',
  functions=('rollouts.sources.demonstrations',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='schedule',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.update(kind='interleaved', buffer=64, hard_accuracy=0.0)
  config.rl.tuning = config.interleaved.tuning
  config.rl.sources.task = dict(name='rollouts.sources.demonstrations')
  return config
