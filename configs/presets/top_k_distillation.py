"""Forward KL on the teacher's likeliest tokens.

Public implementations: verl. Differs from `distill`: loss; four of 28 tokens. Needs a teacher:
--config.distill.teacher.path=<work directory of a run>.

  rljax train --config=presets/top_k_distillation
"""

import rljax


def get_config():
  config = rljax.load_config('distill')
  config.distill.loss = dict(name='losses.top_k_distillation')
  config.distill.teacher_top_k = 4
  return config
