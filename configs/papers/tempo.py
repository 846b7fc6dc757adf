"""TEMPO: the completions of a prompt are a tree, and a token gets what its branch is better by.

Exploiting Tree Structure for Credit Assignment in RL Training of LLMs (2025). The value of a prefix
is the mean reward of the completions that begin with it; its differences are added to the group's
advantage at the tokens where completions part. Differs from `presets/grpo_off_policy`: advantages.
The formula is recalled. Expected: faster than GRPO where completions share prefixes, as they do
with 27 letters; next to nothing with a large vocabulary and independent samples.

  rljax train --config=papers/tempo
"""

import rljax

METHOD = dict(
  paper='Exploiting Tree Structure for Credit Assignment in RL Training of LLMs (2025)',
  scope='CORE',
  stage='advantages',
  functions=('advantages.prefix_tree',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.advantage = dict(name='advantages.prefix_tree')
  return config
