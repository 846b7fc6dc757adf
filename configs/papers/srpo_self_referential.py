"""SRPO (self-referential): a failure is paid for how near it came to the successes beside it.

SRPO: Self-Referential Policy Optimization for Vision-Language-Action Models, 2025. Successes get 1;
failures σ(−z) of their distance to the nearest success of the batch, so that a sparse reward says
how far they got. Differs from `quickstart`: rewards. Adapted: the edit distance of tokens stands
for that of trajectories in a world model, and the successes are those of the same prompt, since
other prompts have other answers (`pool='batch'` is the source's); a prompt without one gives
nothing. Recalled, with low confidence: the squashed distance. Expected: faster where few samples
succeed.

  rljax train --config=papers/srpo_self_referential
"""

import rljax

METHOD = dict(
  paper=(
    'SRPO: Self-Referential Policy Optimization for Vision-Language-Action Models (2025)'
  ),
  scope='ADAPT',
  stage='rewards',
  functions=('rewards.self_reference.progress',),
  fidelity='adapted',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.rewards.reward = dict(
    name='rewards.self_reference.progress', reward='tasks.words.reward', pool='group'
  )
  return config
