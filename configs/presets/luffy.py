"""LUFFY: a demonstration in every group, its rare tokens learnt through a shaped probability.

Yan et al. 2025, arXiv 2504.14945. Differs from `presets/grpo_off_policy`: one of the 16 members of
a group is the task's demonstration, and the loss of its tokens.

  rljax train --config=presets/luffy
"""

import rljax


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.sources.task = dict(name='rollouts.sources.demonstrations')
  config.rl.rollout = dict(name='rollouts.with_external')
  config.rl.loss = dict(name='losses.luffy')
  return config
