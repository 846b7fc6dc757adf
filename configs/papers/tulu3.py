"""Tülu 3: SFT, then DPO on mean log-ratios, then PPO on verified rewards.

TÜLU 3: Pushing Frontiers in Open Language Model Post-Training, 2024, arXiv 2411.15124. A verified
answer earns α = 10, any other 0, less a KL to the policy that DPO left; the critic begins as a
reward model. What is developed on and what is not even looked at before the end are measured
apart, and prompts that training and evaluation share are reported. Differs from `ppo`: stages,
rewards, the start of the critic, the task. Adapted: sorting words of one length is developed on,
another length is unseen; preferences are the task's. Recalled: α, β and the order of the stages.
Expected: RL adds to DPO, and the critic explains its returns sooner.

  rljax train --config=papers/tulu3
"""

import rljax

METHOD = dict(
  paper='TÜLU 3: Pushing Frontiers in Open Language Model Post-Training (2024)',
  scope='CORE',
  stage='recipe',
  functions=('losses.dpo', 'shaping.scale_reward', 'regularizers.kl_reward', 'advantages.gae'),
  fidelity='adapted',
  baseline='ppo',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('ppo')
  config.stages = ('sft', 'preference', 'reward_model', 'rl')
  config.task = dict(
    name='tasks.mixture',
    sources=dict(
      dev=dict(task=dict(name='tasks.sorting', length=10)),
      unseen=dict(task=dict(name='tasks.sorting', length=8), weight=0.0),
    ),
  )
  config.evaluation.overlap = 8  # words in a row that held-out and training prompts may share
  config.preference = rljax.load_config('presets/dpo_normalized').preference
  config.reward_model = rljax.load_config('reward_model').reward_model
  config.rl.critic_start = 'reward_model'
  config.rl.reward_shaping.verified = dict(name='shaping.scale_reward', scale=10.0)
  config.rl.update(kl_coef=0.05, kl_placement='reward')
  config.rl.kl = dict(name='regularizers.kl_reward')
  config.rl.value.clip = None  # returns are of the size of α
  return config
