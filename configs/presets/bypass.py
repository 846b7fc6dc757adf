"""The log-probs of the sampler serve as the old ones: one forward pass less.

Public implementations: verl, slime, prime-rl. Differs from the off-policy regime: old_logprobs.

  rljax train --config=presets/bypass
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.old_logprobs = 'sampler'
  return config
