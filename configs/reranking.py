"""Reranking on two CPU cores: five documents in the order of their relevance to a query.

The policy thinks of the relevance of each document and lists them (`abc:dbca,ffff>` is answered by
`<t>3,0</t><a>1>2</a>`); the reward is the NDCG of the list. `--config.task.form=scores` has it give
the scores alone, `points` one document at a time.

  rljax train --config=reranking
"""

import rljax
from rljax.tasks.reranking import ALPHABET


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='tasks.reranking')
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.max_length = 64
  config.rl.update(max_prompt=29, max_new_tokens=35)
  for stage in (config.sft, config.rl):
    stage.row_length = 64
  return config
