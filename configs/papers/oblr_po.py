"""OBLR-PO: the baseline of least variance, the mean reward weighted by the norms of scores.

OBLR-PO: A Theoretical Framework for Stable Reinforcement Learning, 2025. What a completion adds to
the variance of the gradient grows with the squared norm of its score, so its reward counts more in
the baseline. Differs from `presets/opo`: advantages, whose weights are lengths there. The formula
is recalled, the norm is a proxy in the logits, and the learning rate by the signal-to-noise ratio
of the gradient is not there. Expected: a smaller variance of the gradient, steadier learning.

  rljax train --config=papers/oblr_po
"""

import rljax

METHOD = dict(
  paper='OBLR-PO: A Theoretical Framework for Stable Reinforcement Learning (2025)',
  scope='CORE',
  stage='advantages',
  functions=('advantages.optimal_baseline',),
  fidelity='recalled',
  baseline='presets/opo',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/opo')
  config.rl.advantage = dict(name='advantages.optimal_baseline')
  return config
