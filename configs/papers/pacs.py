"""PACS: the reward is a label, and the policy's own log-ratio learns to predict it.

Implicit Actor Critic Coupling via a Supervised Learning Framework for RLVR (2025). The score of a
completion is its log-ratio to the reference, less that of the others of its prompt; cross-entropy
with right or wrong gives a policy gradient in which the score is the critic. Differs from
`presets/grpo_off_policy`: the loss, of whole completions and without an advantage. The formula is
recalled; classes are balanced within the group. Expected: a higher pass@k at large k, since what
is predicted with certainty is not pushed on.

  rljax train --config=papers/pacs
"""

import rljax

METHOD = dict(
  paper='Implicit Actor Critic Coupling via a Supervised Learning Framework for RLVR (2025)',
  scope='CORE',
  stage='losses',
  functions=('losses.pacs',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='token loss',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.loss = dict(name='losses.pacs')
  config.rl.weights = dict(name='weighting.sample_mean')
  config.rl.advantage = None
  return config
