"""Echo Chamber: which of the forms that pretraining has left does RL converge to?

Echo Chamber: RL Post-training Amplifies Behaviors Learned in Pretraining, 2025. Small models are
trained from nothing on a known mixture of forms, and RL ends at one of them; easy questions carry
over to hard ones. Half of the demonstrations show worked steps and half the value alone; RL draws
easy questions only, and `reward/steps` and `reward/direct` are the shares of the forms. Differs
from `quickstart`: task, reward, curriculum. Adapted: two forms of arithmetic. Expert iteration in
place of GRPO: `--config.rl.loss.name=losses.positive_nll --config.rl.advantage=None`; PPO: `ppo`.
Expected: one form takes nearly all samples within some iterations.

  rljax train --config=papers/echo_chamber
"""

import rljax
from rljax.tasks.steps import ALPHABET

METHOD = dict(
  paper='Echo Chamber: RL Post-training Amplifies Behaviors Learned in Pretraining (2025)',
  scope='RECIPE',
  stage='recipe',
  functions=('rewards.forms', 'curriculum.domains'),
  fidelity='adapted',
  baseline='quickstart',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(
    name='tasks.mixture',
    sources={
      name: dict(
        task=dict(name='tasks.arithmetic', num_operands=n, direct_share=0.5, num_test=64)
      )
      for name, n in dict(easy=2, hard=3).items()
    },
  )
  config.evaluation.num_prompts = 64  # the other half is for `stop_accuracy`
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.max_length = 40
  config.rl.update(max_prompt=12, max_new_tokens=28)
  for stage in (config.sft, config.rl):
    stage.row_length = 40
  config.rl.curriculum = dict(name='curriculum.domains', shares=dict(easy=1.0))
  config.rewards.reward = dict(
    name='rewards.forms',
    reward=dict(name='tasks.arithmetic.reward', direct=True),
    patterns=dict(steps='[^=]+=.*', direct='[0-9]+'),
  )
  return config
