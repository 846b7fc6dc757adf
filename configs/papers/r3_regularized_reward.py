"""R3: relevance to the prompt, held in check by length and repetition; no preferences.

Preference-free Alignment Learning with Regularized Relevance Reward, 2024. Relevance alone is won
by saying the prompt again, so open prompts are paid for length too and charged for repetition, and
closed ones are compared with a reference. Differs from `quickstart`: task and reward. Adapted:
words in common stand for the retriever (`embed` takes one), the source of a prompt for the
classifier of queries, group-relative advantages for PPO. Recalled: which terms are mixed. Expected:
relevant texts that do not shrink and do not repeat themselves.

  rljax train --config=papers/r3_regularized_reward
"""

import rljax

METHOD = dict(
  paper='Preference-free Alignment Learning with Regularized Relevance Reward (2024)',
  scope='CORE',
  stage='rewards',
  functions=(
    'rewards.relevance.relevance',
    'rewards.style.length_band',
    'rewards.style.repetition',
    'rewards.routed',
  ),
  fidelity='adapted',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(
    name='tasks.mixture',
    sources=dict(
      open=dict(task=dict(name='tasks.constrained_text', max_constraints=1, size=2), weight=0.5),
      closed=dict(task=dict(name='tasks.retrieval', num_facts=200), weight=0.5),
    ),
  )
  config.tokenizer = dict(name='tokenization.byte_level')
  config.sft.max_length = 384
  config.rl.update(max_prompt=192, max_new_tokens=192)
  for stage in (config.sft, config.rl):
    stage.update(rows=16, row_length=384)
  open_ended = dict(
    name='rewards.combinators.weighted',
    rewards=dict(
      relevance='rewards.relevance.relevance',
      length=dict(name='rewards.style.length_band', low=20, slack=20.0),
      repetition=dict(name='rewards.style.repetition'),
    ),
    weights=dict(length=0.5),
  )
  closed_ended = dict(name='rewards.relevance.relevance', to='answer')
  config.rewards.reward = dict(
    name='rewards.routed', rewards=dict(open=open_ended, closed=closed_ended)
  )
  return config
