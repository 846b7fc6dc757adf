"""Image-Styling offline RL: given completions of known quality are learnt as much as they are good.

Agentic Planning with Reasoning for Image Styling via Offline RL (2026). Nothing is sampled: scored
trajectories are learnt by their likelihood, times the standardised reward. Differs from
`preference`: a loss of tokens with an advantage in the place of DPO's pairs, on the same data and
without a reference. Adapted: words with mistakes for plans of image edits; the weights are recalled
with little confidence. `--config.preference.advantage.center=none
--config.preference.advantage.scale=none` is the raw reward,
`--config.preference.advantage.name=advantages.exponential_weights` its exponential. Expected:
better than likelihood of all that is given, behind DPO where differences are small.

  rljax train --config=papers/image_styling_offline_rl
"""

import rljax

METHOD = dict(
  paper='Agentic Planning with Reasoning for Image Styling via Offline RL (2026)',
  scope='ADAPT',
  stage='losses',
  functions=('losses.reinforce', 'advantages.group_normalize'),
  fidelity='adapted',
  baseline='preference',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('preference')
  config.preference.advantage = dict(
    name='advantages.group_normalize', center='batch', scale='batch'
  )
  config.preference.loss = dict(name='losses.reinforce')
  config.preference.weights = dict(name='weighting.token_mean')
  return config
