"""RLTF: what the policy says after feedback in words, it learns to say without.

Expanding the Capabilities of Reinforcement Learning via Text Feedback, 2026. Half of the samples
are second attempts, each after feedback on a first one; they are learnt behind the bare prompt,
with advantages over the first ones (RLTF-SD), and the feedback itself is learnt behind the first
attempt (RLTF-FM). Differs from `presets/feedback`: samples, baseline and loss. Weights and baseline
are recalled. Expected: a higher accuracy of first attempts, where few of them are right above all.

  rljax train --config=papers/rltf
"""

import rljax

METHOD = dict(
  paper='Expanding the Capabilities of Reinforcement Learning via Text Feedback (2026)',
  scope='CORE',
  stage='rollouts',
  functions=('rollouts.feedback_turn', 'losses.rltf', 'advantages.own_baseline'),
  fidelity='recalled',
  baseline='presets/feedback',
  differs='requests',
)


def get_config():
  config = rljax.load_config('presets/feedback')
  config.rl.rollout = dict(
    name='rollouts.feedback_turn',
    feedback=config.task.feedback,
    speech=config.task.speech,
    max_feedback=12,
  )
  config.rl.extras = ('feedback_mask',)
  config.rl.advantage = dict(name='advantages.own_baseline')
  config.rl.loss = dict(name='losses.rltf')
  return config
