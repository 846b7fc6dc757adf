"""DRO: reasoning is paid for those tokens of the reference whose likelihood depends on it.

Direct Reasoning Optimization: LLMs Can Reward And Refine Their Own Reasoning for Open-Ended Tasks,
2025. The reasoning reflection reward (R3) is the mean log-likelihood of the reference behind the
reasoning, each token weighted by its deviation over the group; prompts with little spread are
left out. Differs from `presets/worked_steps`: rewards, which need no verifier, and the filter.
Formulas are recalled; the filter is of the batch at hand, and it looks at spread alone. Expected:
as accurate as with a verifier, and better than with the plain likelihood of long references.

  rljax train --config=papers/dro_r3
"""

import rljax

METHOD = dict(
  paper=(
    'Direct Reasoning Optimization: LLMs Can Reward And Refine Their Own Reasoning for Open-Ended '
    'Tasks (2025)'
  ),
  scope='CORE',
  stage='rewards',
  functions=('rollouts.reference_likelihood', 'shaping.spread_filter'),
  fidelity='recalled',
  baseline='presets/worked_steps',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('presets/worked_steps')
  config.rl.rollout = dict(
    name='rollouts.reference_likelihood', marker='=', measure='group_std'
  )
  config.rl.reward_shaping.spread = dict(name='shaping.spread_filter')
  return config
