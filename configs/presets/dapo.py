"""DAPO: clip-higher, mean over prompts, dynamic sampling, soft penalty of overlong answers.

Yu et al. 2025, arXiv 2503.14476. Differs from the off-policy regime in all of that; lengths are
those of the task: 12 tokens, a buffer of 1.

  rljax train --config=presets/dapo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss.clip_high = 0.28
  config.rl.weights = dict(name='weighting.prompt_mean')
  config.rl.rollout = dict(name='rollouts.dynamic_sampling', max_rounds=4, on_shortfall='partial')
  config.rl.reward_shaping.overlong = dict(
    name='shaping.overlong_penalty', max_length=12.0, buffer=1.0
  )
  return config
