"""On-policy distillation in loss form, on sampled tokens.

Differs from `distill`: loss, one step. Needs a teacher:
--config.distill.teacher.path=<work directory of a run>.

  rljax train --config=presets/opd_sampled
"""

import rljax


def get_config():
  config = rljax.load_config('distill')
  config.distill.minibatches = 1  # strictly on-policy: one sample a token is noisy
  config.distill.loss = dict(name='regularizers.sampled_distillation')
  return config
