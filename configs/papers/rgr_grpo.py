"""RGR-GRPO: rubrics pay for each criterion, and guide a second try that joins the group.

RGR-GRPO: Reward and Guidance through Rubrics: Promoting Exploration to Improve Multi-Domain
Reasoning, 2025. The best completion of a prompt is tried again with the criteria that it has missed
said once more; what comes out better is learnt as an external member, through a shaped probability.
Differs from `papers/_constrained_text`: second tries, rewards (shares of weighted criteria in place
of all or nothing), and the loss of external tokens. Criteria are checked by rule
(`rewards.judges.graded` takes a judge). How second tries come about and join is recalled. Expected:
more criteria met and a steadier entropy than from an outcome alone.

  rljax train --config=papers/rgr_grpo
"""

import rljax

METHOD = dict(
  paper=(
    'Reward and Guidance through Rubrics: Promoting Exploration to Improve Multi-Domain Reasoning '
    '(2025)'
  ),
  scope='CORE',
  stage='rollouts',
  functions=('rollouts.refined', 'rewards.constraints.rubric', 'losses.luffy'),
  fidelity='recalled',
  baseline='papers/_constrained_text',
  differs='requests',
)


def get_config():
  config = rljax.load_config('papers/_constrained_text')
  config.rewards.reward = dict(
    name='rewards.constraints.rubric', weights=(('keywords', 2.0), ('keyword_count', 2.0))
  )
  config.rl.rollout = dict(
    name='rollouts.refined', guide='tasks.constrained_text.remind', max_prompt=448
  )
  config.rl.loss = dict(name='losses.luffy')
  return config
