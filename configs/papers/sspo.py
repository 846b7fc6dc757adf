"""SSPO: ratios and bounds of the sentences of a completion, not of its tokens nor of the whole.

SSPO: Subsentence-level Policy Optimization (2025). The geometric mean of a sentence's ratios is
clipped for all its tokens, in a band that is wider where the policy was uncertain. Differs from
`presets/grpo_off_policy`: loss. The formula is recalled; letters have no sentences, so a step ends
where the policy was uncertain of a letter. Expected: steadier than ratios of tokens, and more
samples in use than with ratios of completions.

  rljax train --config=papers/sspo
"""

import rljax

METHOD = dict(
  paper='SSPO: Subsentence-level Policy Optimization (2025)',
  scope='CORE',
  stage='losses',
  functions=('losses.sspo', 'advantages.low_probability_cuts'),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='token loss',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.derived.step_ids = dict(name='advantages.low_probability_cuts', cuts_per_step=1)
  config.rl.loss = dict(name='losses.sspo')
  return config
