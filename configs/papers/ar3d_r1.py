"""AR3D-R1 (Hi-GRPO): stages from coarse to fine, each rewarded and compared by itself.

Are We Ready for RL in Text-to-3D Generation? A Progressive Investigation, 2025. The tokens of a
stage get its reward and what is built on it, normalised among the same stage of the group; every
token counts the same. Differs from `quickstart`: halves of a completion are scored too, and the
advantage. Adapted: the first and the second half of a word stand for shape and texture, letters in
place for the ensembles of rewards. Expected: faster than the outcome alone.

  rljax train --config=papers/ar3d_r1
"""

import rljax

METHOD = dict(
  paper='Are We Ready for RL in Text-to-3D Generation? A Progressive Investigation (2025)',
  scope='ADAPT',
  stage='advantages',
  functions=('advantages.stage_normalize', 'rollouts.step_scored', 'weighting.token_mean'),
  fidelity='adapted',
  baseline='quickstart',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.rollout = dict(name='rollouts.step_scored', scores='tasks.words.half_scores')
  config.rl.extras = ('step_ids',)
  config.rl.advantage = dict(name='advantages.stage_normalize')
  config.rl.weights = dict(name='weighting.token_mean')
  return config
