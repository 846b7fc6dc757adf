"""VD post-training study: SFT on one's own right samples, then DPO, then GRPO on graded verdicts.

From SFT to RL: Demystifying the Post-Training Pipeline for LLM-based Vulnerability Detection, 2026.
Samples that reach the right verdict by themselves teach more than reasons made for a known label;
a verdict for the wrong reasons is worth half; prompts that nobody solves are left out. Differs from
`quickstart`: stages, task, reward, rollout strategy. Adapted: the value of an expression stands for
the verdict, and whether every step holds for the judge of root causes. Binary rewards:
`--config.rewards.reward=tasks.arithmetic.reward`. More epochs of SFT: `--config.sft.iterations`.
Expected: fewer right values by wrong steps than with binary rewards.

  rljax train --config=papers/vd_post_training_study
"""

import rljax
from rljax.tasks.steps import ALPHABET

METHOD = dict(
  paper=(
    'From SFT to RL: Demystifying the Post-Training Pipeline for LLM-based Vulnerability '
    'Detection (Feb 15, year not shown; likely 2026)'
  ),
  scope='RECIPE',
  stage='recipe',
  functions=(
    'losses.positive_nll',
    'losses.dpo',
    'rewards.combinators.weighted',
    'rewards.combinators.all_of',
    'rollouts.dynamic_sampling',
  ),
  fidelity='adapted',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.stages = ('sft', 'rejection', 'preference', 'rl')
  config.task = dict(name='tasks.arithmetic')
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.max_length = 40
  config.preference.update(iterations=100, prompts=32, max_length=40, rows=64, packed=False)
  config.preference.loss = dict(name='losses.dpo')
  config.rl.update(max_prompt=12, max_new_tokens=28)
  for stage in (config.sft, config.preference, config.rl):
    stage.row_length = 40
  verdict = 'tasks.arithmetic.reward'
  config.rewards.reward = dict(
    name='rewards.combinators.weighted',
    rewards=dict(
      verdict=verdict,
      reasoned=dict(
        name='rewards.combinators.all_of',
        rewards=dict(verdict=verdict, cause='tasks.steps.sound'),
      ),
    ),
    weights=dict(verdict=0.5, reasoned=0.5),
  )
  config.rejection = config.rl.copy_and_resolve_references()
  config.rejection.iterations = 40
  config.rejection.advantage = None
  config.rejection.loss = dict(name='losses.positive_nll', threshold=0.25)  # a right verdict
  config.rl.rollout = dict(
    name='rollouts.dynamic_sampling', keep='band', low=0.0, high=1.5, max_rounds=4
  )
  return config
