"""SRFT: demonstrations and own completions in one stage, weighted by the policy's entropy.

Fu et al. 2025, arXiv 2506.19767. Differs from `presets/grpo_on_policy`: one of the 16 members of a
group is the task's demonstration; loss, whose two parts have averages of their own.

  rljax train --config=presets/srft
"""

import rljax


def get_config():
  config = rljax.load_config('presets/grpo_on_policy')
  config.rl.sources.task = dict(name='rollouts.sources.demonstrations')
  config.rl.rollout = dict(name='rollouts.with_external')
  config.rl.weights = dict(name='weighting.apart')
  config.rl.loss = dict(name='losses.srft')
  return config
