"""MiniLLM: the reverse KL of whole sequences as a return.

Gu et al. 2023, arXiv 2306.08543. Differs from `distill`: an advantage from the teacher,
undiscounted, one step. Needs a teacher: --config.distill.teacher.path=<work directory of a run>.

  rljax train --config=presets/mini_llm
"""

import rljax


def get_config():
  config = rljax.load_config('distill')
  config.distill.minibatches = 1  # strictly on-policy: one sample a token is noisy
  config.distill.loss = dict(name='losses.clipped_surrogate')
  config.distill.advantage = dict(name='advantages.teacher_advantage', gamma=1.0)
  return config
