"""DeepVideo-R1: the log-ratio of a completion regresses its advantage, without clip or minimum.

Park et al. 2025, arXiv 2506.07464. Written for video; completions are text here. Differs from
`presets/grpo_off_policy`: loss of groups, no advantage. Adapted: the log-ratio is centred in its
group and not divided by its deviation, which is 0 in the first step. Samples made easier or harder
by what recent rewards say are not there. Expected: about GRPO's accuracy, and steps on older
samples that are held by the regression and not by a clip.

  rljax train --config=papers/deepvideo_r1
"""

import rljax

METHOD = dict(
  paper='DeepVideo-R1: Video Reinforcement Fine-Tuning via Difficulty-aware Regressive GRPO (2025)',
  scope='ADAPT',
  stage='losses',
  functions=('losses.reg_grpo',),
  fidelity='adapted',
  baseline='presets/grpo_off_policy',
  differs='token loss',
)


def get_config():
  config = rljax.load_config('presets/reg_grpo')
  return config
