"""RECAP: replayed general tasks beside the new one, and weight for those that lag or waver.

Beyond Reasoning Gains: Mitigating General Capabilities Forgetting in Large Reasoning Models, 2025.
General data are mixed into reinforcement; each task's advantages are weighted by how its rewards
have moved of late. Differs from `presets/mixed_tasks`: the advantage. Adapted: words to reverse
stand for the general data, weights are of tasks and not of losses. Recalled: the formula of the
weights. Expected: the task that would be left behind keeps up.

  rljax train --config=papers/recap_replay
"""

import rljax

METHOD = dict(
  paper=(
    'Beyond Reasoning Gains: Mitigating General Capabilities Forgetting in Large Reasoning '
    'Models (2025)'
  ),
  scope='ADAPT',
  stage='advantages',
  functions=('advantages.source_weighted',),
  fidelity='adapted',
  baseline='presets/mixed_tasks',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('presets/mixed_tasks')
  config.rl.advantage = dict(
    name='advantages.source_weighted', sources=('sorting', 'reversing')
  )
  return config
