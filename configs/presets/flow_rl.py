"""FlowRL: trajectory balance towards the distribution that rewards induce.

Zhu et al. 2025, arXiv 2509.15207. Differs from the off-policy regime: loss of samples on
standardised rewards; the partition function is estimated from the group.

  rljax train --config=presets/flow_rl
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.flow_rl')
  config.rl.weights = dict(name='weighting.sample_mean')
  return config
