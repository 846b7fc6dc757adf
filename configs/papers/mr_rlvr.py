"""MR-RLVR: before right results are rewarded, hidden steps are filled in and steps put in order.

Masked-and-Reordered Self-Supervision for Reinforcement Learning from Verifiable Rewards, 2025. A
first stage of RL is on tasks made of solutions, whose rewards look at the process: the share of
hidden steps that are met, the share of pairs of steps in their right order. Differs from
`presets/solution_steps`: the first third of RL is on these prompts. Matchers are recalled; SFT has
shown all three kinds to both. Expected: a higher accuracy than with as much RL on results alone.

  rljax train --config=papers/mr_rlvr
"""

import rljax

METHOD = dict(
  paper=(
    'Masked-and-Reordered Self-Supervision for Reinforcement Learning from Verifiable Rewards '
    '(2025)'
  ),
  scope='CORE',
  stage='curriculum',
  functions=('tasks.self_supervised', 'curriculum.domains'),
  fidelity='recalled',
  baseline='presets/solution_steps',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('presets/solution_steps')
  config.process = config.rl.copy_and_resolve_references()
  config.stages = ('sft', 'process', 'rl')
  config.process.curriculum.shares = dict(fill=1.0, order=1.0)
  config.process.iterations = config.rl.iterations // 3
  config.rl.iterations -= config.process.iterations
  return config
