"""ACE: wrong answers that the policy has grown sure of are pushed down harder.

Overconfident Errors Need Stronger Correction: Asymmetric Confidence Penalties for Reinforcement
Learning, 2026. A negative advantage is multiplied by 1 + α·softplus(c), c the log-ratio of the
completion to the reference; right answers are left alone. Differs from
`presets/grpo_off_policy`: advantages. The factor is recalled; c is of the policy before the update.
Expected: a higher pass@k over the whole range of k.

  rljax train --config=papers/ace
"""

import rljax

METHOD = dict(
  paper=(
    'Overconfident Errors Need Stronger Correction: Asymmetric Confidence Penalties for '
    'Reinforcement Learning (2026)'
  ),
  scope='CORE',
  stage='advantages',
  functions=('advantages.confidence_penalty',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.advantage_shaping.ace = dict(name='advantages.confidence_penalty')
  return config
