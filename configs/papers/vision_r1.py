"""Vision-R1 (PTST): short answers from many samples first, then longer ones from fewer.

Vision-R1: Incentivizing Reasoning Capability in Multimodal Large Language Models, 2025. After a
cold start the length is held tight, so that what is needless goes, and is released by stages, at a
constant number of tokens; the reward is 1 only if both form and answer are right. Differs from
`arithmetic`: three stages of RL with limits and group sizes of their own, the last with those of
the baseline. Adapted: steps of arithmetic stand for reasoning about images. Recalled: the schedule.
Expected: shorter completions at the accuracy of the baseline.

  rljax train --config=papers/vision_r1
"""

import rljax

METHOD = dict(
  paper=(
    'Vision-R1: Incentivizing Reasoning Capability in Multimodal Large Language Models (2025)'
  ),
  scope='ADAPT',
  stage='schedule',
  functions=('rewards.all_of', 'tasks.steps.well_formed', 'rewards.short_answer'),
  fidelity='adapted',
  baseline='arithmetic',
  differs='schedule',
)


def get_config():
  config = rljax.load_config('arithmetic')
  config.rewards.reward = dict(
    name='rewards.all_of',
    rewards=dict(
      format=dict(name='tasks.steps.well_formed'),
      answer=dict(name='rewards.short_answer', lenient_credit=1.0, symbolic=False),
    ),
  )
  config.rl.iterations = 40
  for name, tokens, samples in (('rl_short', 14, 32), ('rl_mid', 19, 24)):
    config[name] = config.rl.copy_and_resolve_references()
    config[name].update(max_new_tokens=tokens, samples=samples)
  config.stages = ('sft', 'rl_short', 'rl_mid', 'rl')
  return config
