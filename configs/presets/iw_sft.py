"""iw-SFT: likelihood weighted by the ratio to the start.

Qin and Springenberg 2025, arXiv 2507.12856. SFT first, then this; differs from `quickstart`: a
second supervised stage in the place of RL.

  rljax train --config=presets/iw_sft
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.more = config.sft.copy_and_resolve_references()
  config.stages = ('sft', 'more')
  config.more.update(stop_accuracy=0.0, iterations=300)
  config.more.loss = dict(name='losses.importance_weighted_nll')
  return config
