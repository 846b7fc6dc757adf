"""The control of the quick start without RL: its SFT goes on for the time that RL would take.

Differs from `quickstart`: the second stage is SFT again, with a fresh optimizer as every stage has
and without the early stop. `run.py` measures how many iterations fit.

  rljax train --config=experiments/quickstart/config.py --config.more.iterations=1000
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.stages = ('sft', 'more')
  config.more = config.sft.copy_and_resolve_references()
  config.more.stop_accuracy = 0.0
  return config
