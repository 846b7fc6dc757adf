"""RAPO: the KL is the forward one, and of the reference as rewards reweight it.

Unlocking Reasoning Capabilities in LLMs via Reinforcement Learning Exploration (2025). The forward
KL lets the policy go where the reference never was; within what the reference can do, completions
of a prompt count by the softmax of their rewards. Differs from `presets/kl_reverse`: kl. All of it
is recalled: the most natural reading of an abstract, with the whole vocabulary for the divergence
and weights normalised within the group. Expected: a higher pass@k at large k, above the start.

  rljax train --config=papers/rapo_reward_aware
"""

import rljax

METHOD = dict(
  paper=(
    'Unlocking Reasoning Capabilities in LLMs via Reinforcement Learning Exploration (2025)'
  ),
  scope='CORE',
  stage='regularizers',
  functions=('regularizers.reward_aware_kl', 'regularizers.reward_softmax'),
  fidelity='recalled',
  baseline='presets/kl_reverse',
  differs='gradient',
)


def get_config():
  config = rljax.load_config('presets/kl_reverse')
  config.rl.kl = dict(name='regularizers.reward_aware_kl')
  config.rl.derived.reward_weight = dict(name='regularizers.reward_softmax')
  return config
