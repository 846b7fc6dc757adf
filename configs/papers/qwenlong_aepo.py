"""QwenLong-L1.5: tasks in equal shares and in units of their own, and negative advantages gated.

QwenLong-L1.5: Post-Training Recipe for Long-Context Reasoning and Memory Management, 2025. Every
batch holds each task in a fixed share; an advantage is divided by the deviation of its task; while
entropy is too high, what is worse than its group is masked (AEPO). Differs from
`presets/mixed_tasks`: the curriculum, the advantage and what shapes it. Recalled: the scale, and
when the gate turns. Not here: the memory agent. Expected: steady entropy, and neither task left
behind.

  rljax train --config=papers/qwenlong_aepo
"""

import rljax

METHOD = dict(
  paper=(
    'QwenLong-L1.5: Post-Training Recipe for Long-Context Reasoning and Memory Management (2025)'
  ),
  scope='CORE',
  stage='advantages',
  functions=(
    'advantages.source_normalize',
    'advantages.entropy_gate',
    'curriculum.domains',
  ),
  fidelity='recalled',
  baseline='presets/mixed_tasks',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('presets/mixed_tasks')
  config.rl.curriculum = dict(
    name='curriculum.domains', shares=dict(sorting=1.0, reversing=1.0)
  )
  config.rl.advantage = dict(
    name='advantages.source_normalize', sources=('sorting', 'reversing')
  )
  config.rl.advantage_shaping.aepo = dict(name='advantages.entropy_gate')
  return config
