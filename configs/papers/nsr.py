"""W-REINFORCE: wrong answers count in full, right ones a tenth.

Zhu et al. 2025, arXiv 2506.01347. Learning from wrong answers alone lifts the whole pass@k curve,
from right ones alone pass@1 only. Differs from `quickstart`: advantage without statistics of the
group; `presets/nsr` has wrong ones alone. The weight 0.1 is recalled. Expected: pass@k at large k
above GRPO's.

  rljax train --config=papers/nsr
"""

import rljax

METHOD = dict(
  paper='The Surprising Effectiveness of Negative Reinforcement in LLM Reasoning (2025)',
  scope='CORE',
  stage='advantages',
  functions=('advantages.signs',),
  fidelity='recalled',
  baseline='quickstart',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.signs', positive=0.1, negative=1.0)
  return config
