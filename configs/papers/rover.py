"""ROVER: the policy's log-ratio is the value of drawing at random, and Bellman's equation its loss.

Random Policy Valuation is Enough for LLM Reasoning with Verifiable Rewards (2025). Where a reward
comes at the end of a tree, the values of the uniform policy rank actions as the optimal ones do. A
token's log-ratio to the policy before the update is its value; it is regressed on the centred
reward plus the mean value at the next token. No clip, no KL, no value network. Differs from
`presets/grpo_off_policy`: advantages without a scale, loss. The formula is recalled. The first step
of a rollout is that of REINFORCE, so several minibatches are needed. Expected: a higher pass@k at
large k, more different right answers.

  rljax train --config=papers/rover
"""

import rljax

METHOD = dict(
  paper='Random Policy Valuation is Enough for LLM Reasoning with Verifiable Rewards (2025)',
  scope='CORE',
  stage='losses',
  functions=('losses.rover', 'advantages.group_normalize'),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.advantage = dict(name='advantages.group_normalize', scale='none')
  config.rl.loss = dict(name='losses.rover')
  return config
