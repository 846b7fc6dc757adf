"""KARL: regression of log-ratios on what a reward is above the soft maximum of its group.

Knowledge Agents via Reinforcement Learning, 2026. Large batches of a lagged policy are learnt from
for many steps, without importance ratios or clips. Differs from `presets/grpo_off_policy`: loss of
samples, no advantage. The objective is recalled. Expected: as many steps on a rollout as one
likes.

  rljax train --config=papers/karl
"""

import rljax

METHOD = dict(
  paper='KARL: Knowledge Agents via Reinforcement Learning (2026)',
  scope='CORE',
  stage='losses',
  functions=('losses.oapl',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='token loss',
)


def get_config():
  config = rljax.load_config('presets/oapl')
  return config
