"""BRPO: each completion is judged against one of its own group, drawn anew each time.

Writing-Zero: Bridge the Gap Between Non-verifiable Problems and Verifiable Rewards (2025). The
verdict, better or worse than the reference, is the advantage itself; groups in which the reference
wins or loses everywhere are left out. Differs from `presets/grpo_off_policy`: advantages. Adapted:
the verdict compares the rewards, where the paper asks a generative model to compare two texts; it
is 0 for a tie. Expected: slower than a mean over the group, whose variance is smaller; as hard to
hack as the comparison is.

  rljax train --config=papers/brpo
"""

import rljax

METHOD = dict(
  paper=(
    'Writing-Zero: Bridge the Gap Between Non-verifiable Problems and Verifiable Rewards (2025)'
  ),
  scope='CORE',
  stage='advantages',
  functions=('advantages.bootstrapped_reference',),
  fidelity='adapted',
  baseline='presets/grpo_off_policy',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.advantage = dict(name='advantages.bootstrapped_reference')
  return config
