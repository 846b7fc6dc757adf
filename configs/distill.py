"""Distillation on two CPU cores: a small student learns from a larger policy that RL has trained.

A student of half the width; SFT until a fifth is right, then the reverse KL to the teacher over the
whole vocabulary, on the student's own samples (Agarwal et al. 2023, arXiv 2306.13649).

  rljax train --config=quickstart --workdir=runs/teacher
  rljax train --config=distill --config.distill.teacher.path=runs/teacher

What to expect, over three seeds: experiments/stages.
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.model.update(d_model=64, num_heads=2, num_kv_heads=2, d_ff=160)
  config.sft.stop_accuracy = 0.2
  config.stages = ('sft', 'distill')
  # Many prompts: a teacher says as much of one sample of each as of several.
  config.distill.update(iterations=120, prompts=512, samples=1, max_prompt=11, max_new_tokens=12)
  config.distill.minibatches = 4
  config.distill.update(rows=64, row_length=24, packed=False)
  config.distill.optimizer.learning_rate = 1e-3
  return config
