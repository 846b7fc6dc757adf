"""Online DPO: the best and the worst of the samples are the pair.

Guo et al. 2024, arXiv 2402.04792. Differs from the off-policy regime: four samples a prompt, loss
of pairs, one pass.

  rljax train --config=presets/online_dpo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.dpo')
  config.rl.weights = dict(name='weighting.group_mean')
  config.rl.advantage = None
  config.rl.update(samples=4, prompts=128, epochs=1, minibatches=4)
  return config
