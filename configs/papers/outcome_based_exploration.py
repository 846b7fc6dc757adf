"""Outcome-based exploration: a bonus for final answers that are rare, in the run and in the group.

Outcome-based Exploration for LLM Reasoning, 2025. b = min(1, 1/√N) over how often the prompt had
the answer, and a cost for giving what others of the group give. Differs from `quickstart`: shaping
of the reward, and 320 training prompts, so that each comes up about twelve times. Recalled: the
divisor of the cost within a group; counts are by hash. Expected: more different answers, higher
pass@k at large k.

  rljax train --config=papers/outcome_based_exploration
"""

import rljax

METHOD = dict(
  paper='Outcome-based Exploration for LLM Reasoning (2025)',
  scope='CORE',
  stage='shaping',
  functions=('shaping.outcome_bonus', 'shaping.repeated_outcome', 'rewards.coded'),
  fidelity='recalled',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task.num_train = 320
  config.rewards.reward = dict(name='rewards.coded', reward='tasks.words.reward')
  config.rl.reward_components = ('answer_code',)
  config.rl.reward_shaping.batch = dict(name='shaping.repeated_outcome', coefficient=0.1)
  config.rl.reward_shaping.history = dict(name='shaping.outcome_bonus', coefficient=0.1)
  return config
