"""WiNGPT-3.0: SFT from general to medical to clinical, then RL by rules and a reward model.

WiNGPT-3.0 Technical Report, 2025. Each stage narrows the domain; RL needs few prompts, and a reward
model speaks where a rule cannot. Differs from `quickstart`: stages, task, reward. Adapted: longer
expressions stand for narrower fields, and the simulated chain of diagnosis is their worked steps.
Recalled: the weights of rule and model. Expected: the last domain gains from RL without loss on the
first.

  rljax train --config=papers/wingpt_3_0
"""

import rljax
from rljax.tasks.steps import ALPHABET

METHOD = dict(
  paper='WiNGPT-3.0 Technical Report (2025)',
  scope='RECIPE',
  stage='recipe',
  functions=('curriculum.domains', 'shaping.model_score', 'losses.bradley_terry'),
  fidelity='adapted',
  baseline='quickstart',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.stages = ('sft', 'medical', 'clinical', 'reward_model', 'rl')
  operands = dict(general=2, medical=3, clinical=4)
  config.task = dict(
    name='tasks.mixture',
    sources={
      name: dict(task=dict(name='tasks.arithmetic', num_operands=n, num_test=64))
      for name, n in operands.items()
    },
  )
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.update(iterations=150, max_length=56, stop_accuracy=0.0)
  config.rl.update(iterations=40, max_prompt=16, max_new_tokens=40)
  config.reward_model.update(iterations=200, max_length=56, rows=64, packed=False)
  config.reward_model.optimizer.learning_rate = 1e-3
  config.reward_model.loss = dict(name='losses.bradley_terry')
  for stage in (config.sft, config.reward_model, config.rl):
    stage.row_length = 56
  config.medical = config.sft.copy_and_resolve_references()
  config.clinical = config.sft.copy_and_resolve_references()
  for stage, domain in (('sft', 'general'), ('medical', 'medical'), ('clinical', 'clinical')):
    config[stage].curriculum = dict(name='curriculum.domains', shares={domain: 1.0})
  config.rl.reward_shaping.mixed = dict(name='shaping.model_score', rule=1.0, weight=0.2)
  return config
