"""Two stages of fine-tuning, then RL: what ways to fine-tune before RL are compared with.

Differs from `quickstart`: demonstrations are learnt from for 100 iterations more, without an early
stop.

  rljax train --config=presets/sft_twice
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.more = config.sft.copy_and_resolve_references()
  config.stages = ('sft', 'more', 'rl')
  config.more.update(stop_accuracy=0.0, iterations=100)
  return config
