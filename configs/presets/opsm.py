"""OPSM of DeepSeek-V3.2: bad samples that have moved far are left out.

DeepSeek 2025, arXiv 2512.02556. Differs from the off-policy regime: selection.

  rljax train --config=presets/opsm
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.selections.stale = dict(name='selection.opsm')
  return config
