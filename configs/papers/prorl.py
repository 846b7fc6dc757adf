"""ProRL: when training stalls, the reference becomes the policy, and the optimizer begins anew.

Liu et al. 2025, arXiv 2505.24864. A KL to a reference keeps a long run stable until it stands in
its way; renewing the reference, with fresh moments, lets the run go on for thousands of steps.
Differs from `presets/dapo`: kl_coef, and a reference that is renewed where ten iterations gain less
than a point over the ten before. The rule is recalled, and the training reward stands for
validation; clip and temperature are those of the baseline (the paper: 0.4 above, 1.2), the tasks
one. Expected: gains go on where the baseline has come to rest; above the start at every k.

  rljax train --config=papers/prorl
"""

import rljax

METHOD = dict(
  paper=(
    'ProRL: Prolonged Reinforcement Learning Expands Reasoning Boundaries in Large Language '
    'Models (2025)'
  ),
  scope='CORE',
  stage='schedule',
  functions=(
    'regularizers.reward_stalls',
    'regularizers.reference_average',
    'rollouts.dynamic_sampling',
  ),
  fidelity='recalled',
  baseline='presets/dapo',
  differs='gradient',
)


def get_config():
  config = rljax.load_config('presets/dapo')
  config.rl.kl_coef = 0.05
  config.rl.reference_trigger = dict(name='regularizers.reward_stalls', patience=10)
  config.rl.reference_update.rate = 1.0
  config.rl.reference_resets_optimizer = True
  return config
