"""Samples are rejected by an estimate of the KL between trainer and sampler.

Public implementations: verl, AReaL. Differs from the off-policy regime: correction. Sampler and
trainer are one program here, so what it corrects comes from staleness alone.

  rljax train --config=presets/divergence_rejection
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.correction = dict(name='corrections.divergence_rejection')
  return config
