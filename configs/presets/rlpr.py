"""RLPR: the mean probability of the reference answer behind the reasoning, in place of a verifier.

"Extrapolating RLVR to General Domains without Verifiers", 2025. Less what the reference has without
reasoning, in [0, 1]; groups whose rewards hardly differ are left out. Differs from
`presets/worked_steps`: rewards, and the filter. Formulas are recalled.

  rljax train --config=presets/rlpr
"""

import rljax


def get_config():
  config = rljax.load_config('presets/worked_steps')
  config.rl.rollout = dict(
    name='rollouts.reference_likelihood', marker='=', measure='mean_probability', debias=True
  )
  config.rl.reward_shaping.spread = dict(name='shaping.spread_filter')
  return config
