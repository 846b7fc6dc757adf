"""ReMax: the reward of the greedy completion is the baseline.

Li et al. 2023, arXiv 2310.10505. Differs from `quickstart`: one sample of each prompt beside the
greedy one, REINFORCE on-policy.

  rljax train --config=presets/remax
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_on_policy')
  config.rl.update(samples=1, prompts=256, extras=('baseline_rewards',))
  config.rl.rollout = dict(name='rollouts.greedy_baseline')
  config.rl.advantage = dict(name='advantages.remax')
  config.rl.loss = dict(name='losses.reinforce')
  return config
