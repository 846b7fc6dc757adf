"""CAMPO: limits of length that rise stage by stage, and a price on falling into a loop.

MiroMind-M1: An Open-Source Advancement in Mathematical Reasoning via Context-Aware Multi-Stage
Policy Optimization (2025). A short limit first makes the policy brief at little cost; later stages
give room. What a completion repeats is charged by how early the repetition begins. Differs from
`presets/clip_higher`: shaping of the reward, and a first stage in which a completion has room for
the answer and no more. The price is recalled; the limits are those of the task, 11 and 12 tokens,
where the paper has 16K to 49K. Expected: shorter completions and fewer that never end, at the
accuracy of the baseline.

  rljax train --config=papers/campo
"""

import rljax

METHOD = dict(
  paper=(
    'MiroMind-M1: An Open-Source Advancement in Mathematical Reasoning via Context-Aware '
    'Multi-Stage Policy Optimization (2025)'
  ),
  scope='CORE',
  stage='shaping',
  functions=('shaping.loop_penalty',),
  fidelity='recalled',
  baseline='presets/clip_higher',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('presets/clip_higher')
  config.rl.reward_shaping.loops = dict(
    name='shaping.loop_penalty', max_period=3, repeats=4, min_length=4
  )
  config.stages = ('sft', 'short', 'rl')
  config.short = config.rl.copy_and_resolve_references()
  config.short.update(max_new_tokens=11, iterations=60)
  config.rl.iterations = 60
  return config
