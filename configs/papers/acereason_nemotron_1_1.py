"""AceReason-Nemotron 1.1: the temperature of the samples holds their entropy near 0.3.

AceReason-Nemotron 1.1: Advancing Math and Code Reasoning through SFT and RL Synergy, 2025. A low
temperature exploits, a high one explores; around an entropy of 0.3 nats per token (measured at the
temperature) they balance, from whichever SFT one starts. What was cut at the limit of its stage is
not learnt from. Differs from `papers/acereason_nemotron`: temperature, filter of long completions.
Adapted: a controller follows the entropy where the paper chooses a temperature for each stage.
Recalled: the filter. Not here: the scaling of SFT data. Expected: less loss of entropy, and a gap
between starts that narrows.

  rljax train --config=papers/acereason_nemotron_1_1
"""

import rljax

METHOD = dict(
  paper=(
    'AceReason-Nemotron 1.1: Advancing Math and Code Reasoning through SFT and RL Synergy (2025)'
  ),
  scope='RECIPE',
  stage='recipe',
  functions=('rollouts.entropy_temperature', 'selection.overlong_filter'),
  fidelity='adapted',
  baseline='papers/acereason_nemotron',
  differs='requests',
)


def get_config():
  config = rljax.load_config('papers/acereason_nemotron')
  for name in ('math', 'math_longer', 'rl'):
    stage = config[name]
    stage.temperature = 0.8  # at first
    stage.temperature_controller = dict(name='rollouts.entropy_temperature', target=0.3)
    stage.selections.overlong = dict(name='selection.overlong_filter')
  return config
