"""DPO.

Rafailov et al. 2023, arXiv 2305.18290. The config `preference` under the name of a preset.

  rljax train --config=presets/dpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  return config
