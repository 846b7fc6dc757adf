"""Anchors and explorers: tokens weigh by the entropy of the attention that they were drawn with.

Not All Tokens Learn Alike: Attention Entropy Reveals Heterogeneous Signals in RL Reasoning, 2026.
Where attention is narrow gradients are steady and agree with the whole; where it is wide they are
large and volatile. Weights lean on the former at first and then on all. Differs from
`presets/grpo_off_policy`: the weights of tokens. Recalled: their formula, the schedule, the mean
over heads. Control: `presets/random_tokens`, a fifth of the tokens by chance. Expected: somewhat
higher accuracy; the control keeps most of what all tokens give.

  rljax train --config=papers/attention_entropy
"""

import rljax

METHOD = dict(
  paper=(
    'Not All Tokens Learn Alike: Attention Entropy Reveals Heterogeneous Signals in RL '
    'Reasoning (2026)'
  ),
  scope='CORE',
  stage='weighting',
  functions=('weighting.attention_mean',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='weights',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.weights = dict(
    name='weighting.attention_mean',
    focus=dict(schedule='linear', start=2.0, end=0.0, steps=100),
  )
  return config
