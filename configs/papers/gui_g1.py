"""GUI-G1: hard prompts count more, lengths do not, and answers come without thinking.

GUI-G1: Understanding R1-Zero-Like Training for Visual Grounding in GUI Agents, 2025. The divisor of
a completion is a constant, and its advantage is scaled by how hard its prompt is. Differs from
`presets/dr_grpo`: scaling of the advantage. Adapted: difficulty is the group's failures, where the
source has the size of the box that must be hit; the task is answered at once anyway; the bound on
the size of boxes has no like here. Recalled: the formula of the scale. Expected: hard prompts
rise sooner, at the same mean.

  rljax train --config=papers/gui_g1
"""

import rljax

METHOD = dict(
  paper=(
    'GUI-G1: Understanding R1-Zero-Like Training for Visual Grounding in GUI Agents (2025)'
  ),
  scope='ADAPT',
  stage='advantages',
  functions=('advantages.difficulty_scaled', 'weighting.fixed_length'),
  fidelity='adapted',
  baseline='presets/dr_grpo',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/dr_grpo')
  config.rl.advantage_shaping.difficulty = dict(name='advantages.difficulty_scaled')
  return config
