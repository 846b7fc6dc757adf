"""Lite PPO: mean of the group, standard deviation of the batch, mean over tokens.

Liu et al. 2025, arXiv 2508.08221. Of the tricks of the field these two let a plain clip without a
critic surpass GRPO and DAPO. Differs from `quickstart`: scale of the advantage. Expected: as good
as GRPO or better.

  rljax train --config=papers/lite_ppo
"""

import rljax

METHOD = dict(
  paper='Part I: Tricks or Traps? A Deep Dive into RL for LLM Reasoning (2025)',
  scope='RECIPE',
  stage='recipe',
  functions=('advantages.group_normalize',),
  fidelity='recalled',
  baseline='quickstart',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/lite_ppo')
  return config
