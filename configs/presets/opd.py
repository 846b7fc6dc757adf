"""On-policy distillation in reward form.

Public implementations; Thinking Machines 2025. Differs from `distill`: an advantage from the
teacher for each token, one step. Needs a teacher:
--config.distill.teacher.path=<work directory of a run>.

  rljax train --config=presets/opd
"""

import rljax


def get_config():
  config = rljax.load_config('distill')
  config.distill.minibatches = 1  # strictly on-policy: one sample a token is noisy
  config.distill.loss = dict(name='losses.clipped_surrogate')
  config.distill.advantage = dict(name='advantages.teacher_advantage')
  return config
