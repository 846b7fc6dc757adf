"""Clip and delta: rewards of steps that cannot be farmed by taking good steps again and again.

On Designing Effective RL Reward at Training Time for LLM Reasoning, 2024. A step that is good
enough earns nothing, and differences of scores sum to the present one, so the return of a
trajectory is bounded. Differs from `quickstart`: the steps of a completion are scored too, and the
advantage. Adapted: a step is a letter, whose place a program checks, where the source has a
process reward model; whitened returns for PPO. Recalled: both formulas. Expected: faster than the
outcome alone; with the scores as they are (`advantages.step_returns`) completions grow long.

  rljax train --config=papers/prm_clip_delta
"""

import rljax

METHOD = dict(
  paper='On Designing Effective RL Reward at Training Time for LLM Reasoning (2024)',
  scope='CORE',
  stage='advantages',
  functions=('advantages.refined_step_returns', 'rollouts.step_scored'),
  fidelity='adapted',
  baseline='quickstart',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.rollout = dict(name='rollouts.step_scored', scores='tasks.words.step_scores')
  config.rl.advantage = dict(name='advantages.refined_step_returns', mode='clip+delta', eta=0.5)
  config.rl.advantage_shaping.whiten = dict(name='advantages.whiten')
  return config
