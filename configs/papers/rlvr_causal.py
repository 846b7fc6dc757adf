"""RLVR-causal: RL on one rung of the ladder of causation, measured on all three and on size.

Generalization of RLVR Using Causal Reasoning as a Testbed, 2025. Probabilities in causal graphs
that are seen, made or imagined, with more or less to sum over; how far does what was learnt at one
level and size carry? Differs from `quickstart`: task. Adapted: one family of small graphs; training
at another level moves the weight to it (weights of `--config.task.sources`). Accuracy before RL, on
which the paper finds that all depends, stands at the start of the summary. SFT alone:
`--config.stages="('sft',)"`. Expected: gains at the level of training, and less the further away.

  rljax train --config=papers/rlvr_causal
"""

import rljax
from rljax.tasks.causes import ALPHABET, LEVELS

METHOD = dict(
  paper='Generalization of RLVR Using Causal Reasoning as a Testbed (2025)',
  scope='RECIPE',
  stage='recipe',
  functions=('tasks.causes', 'tasks.mixture'),
  fidelity='adapted',
  baseline='quickstart',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(
    name='tasks.mixture',
    sources={
      f'{level}_{size}': dict(
        task=dict(name='tasks.causes', level=level, num_values=size),
        weight=float((level, size) == ('association', 2)),
      )
      for level in LEVELS
      for size in (2, 3)
    },
  )
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.max_length = 72
  config.rl.update(max_prompt=50, max_new_tokens=22)
  for stage in (config.sft, config.rl):
    stage.row_length = 72
  return config
