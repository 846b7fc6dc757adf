"""CHORD: (1 − μ)·RL + μ·SFT on demonstrations, μ falling from 0.9 to 0.05.

Zhang et al. 2025, arXiv 2508.11408 (CHORD-φ). Differs from `presets/grpo_off_policy`: one of 16
samples is the task's demonstration, in no group statistic, and an auxiliary loss on its tokens.

  rljax train --config=presets/chord
"""

import rljax


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.sources.task = dict(name='rollouts.sources.demonstrations')
  # A group of its own has the advantage 0: the policy loss passes over it.
  config.rl.rollout = dict(name='rollouts.with_external', place='alone')
  config.rl.weights = dict(
    name='weighting.apart',
    own_coef=dict(schedule='linear', start=0.1, end=0.95, steps=120),
    external_coef=dict(schedule='linear', start=0.9, end=0.05, steps=120),
  )
  config.rl.auxiliary = dict(name='losses.chord_sft')
  config.rl.auxiliary_coef = 1.0
  return config
