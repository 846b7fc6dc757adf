"""Sorting by a policy that can make use of an answer: what self-distillation is compared with.

RL is of bare prompts alone. Differs from `presets/grpo_on_policy`: half of the demonstrations have
a wrong answer and the right one before them.

  rljax train --config=presets/hindsight
"""

import rljax


def get_config():
  config = rljax.load_config('presets/grpo_on_policy')
  config.task = dict(
    name='tasks.with_feedback',
    task=config.task.to_dict(),
    feedback='tasks.words.whole_answer',
    speech=('!', '='),
    ends=False,
  )
  config.tokenizer.alphabet = 'abcdefghijklmnopqrstuvwxyz>!='
  config.sft.update(max_length=46, row_length=46)
  return config
