"""Conservative DPO: labels may be wrong.

Mitchell 2023, note on conservative DPO. Differs from `preference`: loss.

  rljax train --config=presets/cdpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.dpo', label_smoothing=0.1)
  return config
