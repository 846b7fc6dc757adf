"""PEAR: demonstrations count by how likely the policy is to say them, beside who wrote them.

Good SFT Optimizes for SFT, Better SFT Prepares for Reinforcement Learning. Fine-tuning is seen as
off-policy evaluation: the likelihood is weighted by the ratio of the policy to the author of the
data, of whole demonstrations here (`more.loss.level`: also of blocks or tokens). It is judged by RL
after it. Differs from `presets/sft_twice`: the loss of the second supervised stage. The formula is
recalled, its bounds guessed; nobody has recorded log-probs of these demonstrations, so the policy
at the start of the stage stands for their author. Expected: a higher pass@k after the same RL.

  rljax train --config=papers/pear
"""

import rljax

METHOD = dict(
  paper='PEAR: Good SFT Optimizes for SFT, Better SFT Prepares for Reinforcement Learning (n/s)',
  scope='CORE',
  stage='losses',
  functions=('losses.pear_nll',),
  fidelity='recalled',
  baseline='presets/sft_twice',
  differs='token loss',
)


def get_config():
  config = rljax.load_config('presets/sft_twice')
  config.more.loss = dict(name='losses.pear_nll')
  return config
