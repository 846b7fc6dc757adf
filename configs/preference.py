"""DPO on two CPU cores: pairs of sorted words of which one has fewer mistakes.

SFT as in `quickstart`, then direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)
on synthetic pairs of known order.

  rljax train --config=preference

What to expect, over three seeds: experiments/stages.
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.stages = ('sft', 'preference')
  config.preference.update(iterations=300, prompts=64, max_length=23)
  config.preference.update(rows=192, row_length=24, packed=False)
  config.preference.optimizer.learning_rate = 3e-4
  return config
