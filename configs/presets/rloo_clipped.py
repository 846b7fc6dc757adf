"""RLOO with a clipped ratio of whole sequences, as TRL has it.

Public implementation: TRL, RLOOTrainer. Differs from the off-policy regime: advantage, loss,
aggregation.

  rljax train --config=presets/rloo_clipped
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.advantage = dict(name='advantages.leave_one_out')
  config.rl.loss = dict(name='losses.sequence_clipped')
  config.rl.weights = dict(name='weighting.seq_mean_token_mean')
  return config
