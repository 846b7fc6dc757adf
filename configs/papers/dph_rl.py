"""DPH-RL: what the start solved is rehearsed, by a divergence that covers it.

The Choice of Divergence: A Neglected Key to Mitigating Diversity Collapse in Reinforcement Learning
with Verifiable Reward (2025). The policy of the start is sampled once. Prompts that it solved
nearly always are rehearsed: the forward KL on its own completions, or
`--config.rl.auxiliary.kind=jensen_shannon`; the others get the policy gradient, without a KL.
Differs from `presets/grpo_off_policy`: a quarter of the groups come from the pool, with the
divergence as auxiliary term. The formula is recalled, shares and coefficient are guesses. Expected:
pass@k does not fall with training, and pass@1 rises as it does without.

  rljax train --config=papers/dph_rl
"""

import rljax

METHOD = dict(
  paper=(
    'The Choice of Divergence: A Neglected Key to Mitigating Diversity Collapse in '
    'Reinforcement Learning with Verifiable Reward (2025)'
  ),
  scope='CORE',
  stage='regularizers',
  functions=('regularizers.rehearsal', 'selection.own_samples'),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='requests',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.update(kind='rehearsal', pool_prompts=512, pool_solved=0.8, pool_share=0.25)
  config.rl.auxiliary = dict(name='regularizers.rehearsal')
  config.rl.auxiliary_coef = 0.1
  config.rl.selections.own = dict(name='selection.own_samples')
  return config
