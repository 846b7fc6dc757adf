"""No-Thinking-CLS-RL: rewarded only if the whole output is the label, so nothing is thought.

CLS-RL: Image Classification with Rule-Based Reinforcement Learning, 2025. One more word makes a
right label wrong, and there is no reward for form. The thinking variant compares what stands in
`<answer>` marks (`tag='answer'`) and adds `rewards.layout.think_answer`. Differs from `quickstart`:
task and reward. Adapted: a key that is looked up in a short text stands for the label of an image.
Expected: completions of the label's length from the start, in much less time.

  rljax train --config=papers/cls_rl
"""

import rljax
from rljax.tasks.lookup import ALPHABET

METHOD = dict(
  paper='CLS-RL: Image Classification with Rule-Based Reinforcement Learning (2025)',
  scope='ADAPT',
  stage='rewards',
  functions=('rewards.matching.exact',),
  fidelity='adapted',
  baseline='quickstart',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='tasks.lookup', chain=1, num_pairs=8)
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.max_length = 64
  config.rl.update(max_prompt=56, max_new_tokens=8)
  for stage in (config.sft, config.rl):
    stage.row_length = 64
  config.rewards.reward = dict(name='rewards.matching.exact', tag='')
  return config
