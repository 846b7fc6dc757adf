"""GRPO advantages and PPO's clip, off-policy: what other ratio losses are compared with.

Differs from `quickstart`: the regime alone.

  rljax train --config=presets/grpo_off_policy
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  return config
