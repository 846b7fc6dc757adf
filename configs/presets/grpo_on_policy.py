"""GRPO advantages strictly on-policy: what other on-policy presets are compared with.

Differs from `quickstart`: the regime alone.

  rljax train --config=presets/grpo_on_policy
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_on_policy')
  return config
