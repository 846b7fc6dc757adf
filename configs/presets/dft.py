"""DFT: likelihood weighted by the probability.

Wu et al. 2025, arXiv 2508.05629. SFT alone, without an early stop; differs from `quickstart`: loss.

  rljax train --config=presets/dft
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.stages = ('sft',)
  config.sft.stop_accuracy = 0.0
  config.sft.loss = dict(name='losses.dynamic_nll')
  return config
