"""GKD: generalised Jensen-Shannon divergence, half of the samples the student's own.

Agarwal et al. 2023, arXiv 2306.13649. Differs from `distill`: loss, on_policy_fraction. Needs a
teacher: --config.distill.teacher.path=<work directory of a run>.

  rljax train --config=presets/gkd
"""

import rljax


def get_config():
  config = rljax.load_config('distill')
  config.distill.loss = dict(name='losses.generalized_jsd')
  config.distill.on_policy_fraction = 0.5
  return config
