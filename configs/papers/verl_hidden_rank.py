"""VERL: a bonus for completions whose hidden states fill many directions, or ever more of them.

Beyond the Exploration-Exploitation Trade-off: A Hidden State Approach for LLM Reasoning in RLVR,
2025. The effective rank of the states measures exploration, its growth along the completion
exploitation, and its acceleration which of the two is paid for. Differs from
`presets/grpo_off_policy`: what shapes the advantage. Recalled: all formulas. Expected: a higher
pass@k.

  rljax train --config=papers/verl_hidden_rank
"""

import rljax

METHOD = dict(
  paper=(
    'Beyond the Exploration-Exploitation Trade-off: A Hidden State Approach for LLM Reasoning in '
    'RLVR (2025)'
  ),
  scope='CORE',
  stage='advantages',
  functions=('advantages.hidden_rank',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.advantage_shaping.verl = dict(name='advantages.hidden_rank', stride=2)
  return config
