"""Dr. GRPO: no division by the standard deviation, none by the length.

Liu et al. 2025, arXiv 2503.20783. Differs from `quickstart`: scale of the advantage and
aggregation, over the limit of 12 tokens.

  rljax train --config=presets/dr_grpo
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.group_normalize', scale='none')
  config.rl.weights = dict(name='weighting.fixed_length', max_completion_length=12)
  return config
