"""DLER: what is not finished within a limit is paid nothing, and the optimisation bears it.

DLER: Doing Length pEnalty Right, 2025. The baseline of a group is over the deviation of the batch,
which the many zeros of cut answers do not distort; the clip is higher above; groups without a
signal are sampled anew. The limit is tighter on easy prompts (DA-DLER). Differs from
`presets/grpo_off_policy` in all of that. Recalled: the formula of the tighter limit. Not here: the
merging of selected updates into the model that training began with. Expected: much shorter
completions at the accuracy of the baseline.

  rljax train --config=papers/dler
"""

import rljax

METHOD = dict(
  paper=(
    'DLER: Doing Length pEnalty Right - Incentivizing More Intelligence per Token via '
    'Reinforcement Learning (2025)'
  ),
  scope='CORE',
  stage='shaping',
  functions=('shaping.difficulty_limit', 'shaping.no_eos_zero', 'advantages.group_normalize'),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.reward_shaping.limit = dict(
    name='shaping.difficulty_limit', easy_length=11.0, hard_length=12.0
  )
  config.rl.reward_shaping.truncated = dict(name='shaping.no_eos_zero')
  config.rl.advantage = dict(name='advantages.group_normalize', scale='batch')
  config.rl.loss.clip_high = 0.28
  config.rl.rollout = dict(name='rollouts.dynamic_sampling', max_rounds=4, on_shortfall='partial')
  return config
