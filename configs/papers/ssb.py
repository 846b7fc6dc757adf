"""SSB: the policy teaches itself what it says with a right and a wrong answer before its eyes.

Semantic Soft Bootstrapping: Long Context Reasoning in LLMs without Reinforcement Learning, 2025. A
right answer and the most common wrong one of a prompt make a context in which the same policy
answers again; what is right of that is learnt behind the bare prompt, by the KL to the stored best
entries of its distribution, all others in one bucket. No reward is learnt from. Differs from
`presets/hindsight`: samples, loss, no advantage. Formulas are recalled. Expected: a higher accuracy
than RL at as many samples, since every kept token has a whole distribution as its target.

  rljax train --config=papers/ssb
"""

import rljax

METHOD = dict(
  paper=(
    'Semantic Soft Bootstrapping: Long Context Reasoning in LLMs without Reinforcement Learning '
    '(2025)'
  ),
  scope='CORE',
  stage='rollouts',
  functions=('rollouts.soft_bootstrap', 'losses.stored_distillation'),
  fidelity='recalled',
  baseline='presets/hindsight',
  differs='requests',
)


def get_config():
  config = rljax.load_config('presets/hindsight')
  # Half of the samples are first draws, half the teacher's.
  config.rl.samples //= 2
  config.rl.rollout = dict(
    name='rollouts.soft_bootstrap',
    template='{prompt}{wrong}!{right}=',
    num_top=8,
    max_context=36,
  )
  config.rl.extras = ('stored_ids', 'stored_logprobs')
  config.rl.loss = dict(name='losses.stored_distillation')
  config.rl.advantage = None
  return config
