"""RL4LMs (NLPO): PPO over the few tokens that a lagged copy of the policy holds likely.

Is Reinforcement Learning (Not) for Natural Language Processing: Benchmarks, Baselines, and Building
Blocks for Natural Language Policy Optimization, 2022, arXiv 2210.01241. The mask is a copy of the
policy, renewed now and then; only tokens of its top-p set are sampled, and log-probs are of the
masked distribution. Rewards bear a KL to the start with an adaptive coefficient. Differs from
`presets/ppo_kl`: the mask. Recalled: how it acts in the loss; sizes are of this task. Expected:
more stable than PPO, at least as good.

  rljax train --config=papers/rl4lms
"""

import rljax

METHOD = dict(
  paper=(
    'Is Reinforcement Learning (Not) for Natural Language Processing: Benchmarks, Baselines, and '
    'Building Blocks for Natural Language Policy Optimization (2022)'
  ),
  scope='CORE',
  stage='rollouts',
  functions=('regularizers.kl_reward', 'regularizers.adaptive_kl', 'advantages.gae'),
  fidelity='recalled',
  baseline='presets/ppo_kl',
  differs='requests',
)


def get_config():
  config = rljax.load_config('presets/ppo_kl')
  config.rl.update(kind='masked_rl', mask_top_p=0.9, mask_every=40)
  return config
