"""A-LoL: a policy gradient on given completions, of those that the reference would not better.

Baheti et al. 2023, arXiv 2305.14718. A whole completion is one action; what has a positive
advantage is learnt, weighted by the clipped ratio of policy and reference. Differs from
`presets/grpo_off_policy`: loss, and an advantage without a scale. The formula is recalled; the
group's mean reward stands in for the value head of the reference, completions are sampled instead
of given, and none is drawn more often for its advantage. Expected: slower and steadier than GRPO,
with more diversity, as nothing is pushed down.

  rljax train --config=papers/a_lol
"""

import rljax

METHOD = dict(
  paper='Improving Language Models with Advantage-based Offline Policy Gradients (2023)',
  scope='CORE',
  stage='losses',
  functions=('losses.a_lol',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.advantage = dict(name='advantages.group_normalize', scale='none')
  config.rl.loss = dict(name='losses.a_lol')
  return config
