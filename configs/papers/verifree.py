"""VeriFree: reasoning is reinforced by how likely it makes the reference, which is learnt with it.

Reinforcing General Reasoning without Verifiers, 2025. The reward is π(y*|x, z) at the place of the
answer; its exact gradient is that of a policy on the reasoning z (baseline: the mean of the others)
and a likelihood of y*, weighted by the reward. Differs from `presets/worked_steps`: rewards, which
need no verifier, samples that end with the reference in place of what the policy said, and the
loss of the two parts. Formulas are recalled. Expected: as accurate as with a verifier.

  rljax train --config=papers/verifree
"""

import rljax

METHOD = dict(
  paper='Reinforcing General Reasoning without Verifiers (2025)',
  scope='CORE',
  stage='rewards',
  functions=('rollouts.reference_likelihood', 'losses.verifree'),
  fidelity='recalled',
  baseline='presets/worked_steps',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('presets/worked_steps')
  config.rl.rollout = dict(name='rollouts.reference_likelihood', marker='=', splice=True)
  config.rl.extras = ('reference_mask',)
  config.rl.loss = dict(name='losses.verifree')
  return config
