"""Two tasks at once: words to sort, and marked words to reverse.

What methods that tell tasks apart are compared with. Differs from `quickstart`: the task, and
`reward_components` that say which is whose.

  rljax train --config=presets/mixed_tasks
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  reversed_words = dict(
    name='tasks.reverse_text', min_length=8, max_length=10, instruction='<'
  )
  config.task = dict(
    name='tasks.mixture',
    sources=dict(
      sorting=dict(task=dict(name='tasks.sorting', length=10), weight=0.5),
      reversing=dict(task=reversed_words, weight=0.5),
    ),
  )
  config.tokenizer.alphabet = 'abcdefghijklmnopqrstuvwxyz<>'
  config.sft.max_length = 24
  config.rl.max_prompt = 12
  config.rl.reward_components = ('sorting', 'reversing')
  return config
