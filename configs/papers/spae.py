"""SPAE: the policy is asked for its answer behind each step, and a step earns what that gains.

Step Potential Advantage Estimation: Harnessing Intermediate Confidence and Correctness for
Efficient Mathematical Reasoning, 2026. Probes need no training: at each boundary the answer is
forced, and how sure and how right it is makes a potential. Its rises raise the advantage, and steps
that come once it is high are charged for. Differs from `presets/worked_steps`: what shapes the
advantage, and the probes. Recalled: how potential and advantage are made; the likelihood of the
reference stands for sampled answers. Expected: higher accuracy with shorter completions.

  rljax train --config=papers/spae
"""

import rljax

METHOD = dict(
  paper=(
    'Step Potential Advantage Estimation: Harnessing Intermediate Confidence and Correctness for '
    'Efficient Mathematical Reasoning (2026)'
  ),
  scope='CORE',
  stage='advantages',
  functions=('advantages.step_potential', 'rollouts.probed'),
  fidelity='recalled',
  baseline='presets/worked_steps',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/worked_steps')
  config.rl.rollout = dict(name='rollouts.probed', separator='=')
  config.rl.extras = ('potential_gains', 'idle_steps')
  config.rl.advantage_shaping.potential = dict(name='advantages.step_potential')
  return config
