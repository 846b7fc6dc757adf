"""Five kinds of problems as one task on two CPU cores: arithmetic, edits, digits, keys, ranking.

A policy of 0.4 M parameters sees all of them in equal shares, first as demonstrations, then by
reinforcement; every domain has a metric of its own. What recipes for several domains start from.

  rljax train --config=domains
"""

import rljax

ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789+-*=,;:~?>'


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(
    name='tasks.mixture',
    sources=dict(
      math=dict(task=dict(name='tasks.arithmetic')),
      code=dict(task=dict(name='tasks.edits', length=5, num_edits=2)),
      puzzle=dict(task=dict(name='tasks.digits', num_digits=2, num_test=256)),
      logic=dict(task=dict(name='tasks.lookup', num_pairs=5)),
      tables=dict(task=dict(name='tasks.ranking', num_items=3)),
    ),
  )
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.max_length = 64
  config.rl.update(max_prompt=40, max_new_tokens=24)
  for stage in (config.sft, config.rl):
    stage.row_length = 64
  return config
