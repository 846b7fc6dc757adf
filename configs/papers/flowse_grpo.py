"""FlowSE-GRPO: metrics that compete are optimised together, and one that is not paid watches.

FlowSE-GRPO: Training Flow Matching Speech Enhancement via Online Reinforcement Learning, 2026. A
single metric is soon hacked; each is normalised in its group before the weighted sum. Differs from
`quickstart`: rewards and advantage. Adapted: sorting in place of speech. How well the letters are
in order is won alone by `aaaa`, which letters are kept by the prompt itself; right or wrong has no
weight and shows which it is (`reward/right`). The hacked control:
--config.rl.advantage.weights='(("in_order",1.0),)'. Recalled: equal weights. Expected:
`reward/right` rises with both metrics, and falls to 0 with one.

  rljax train --config=papers/flowse_grpo
"""

import rljax

METHOD = dict(
  paper=(
    'FlowSE-GRPO: Training Flow Matching Speech Enhancement via Online Reinforcement Learning '
    '(2026)'
  ),
  scope='ADAPT',
  stage='advantages',
  functions=(
    'rewards.weighted',
    'tasks.sorting.in_order',
    'tasks.sorting.kept',
    'advantages.multi_reward',
  ),
  fidelity='adapted',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.rewards.reward = dict(
    name='rewards.weighted',
    rewards=dict(
      in_order=dict(name='tasks.sorting.in_order'),
      kept=dict(name='tasks.sorting.kept'),
      right='tasks.words.reward',
    ),
    weights=dict(right=0.0),
  )
  config.rl.reward_components = ('in_order', 'kept')
  config.rl.advantage = dict(
    name='advantages.multi_reward', weights=(('in_order', 0.5), ('kept', 0.5)), whiten=False
  )
  return config
