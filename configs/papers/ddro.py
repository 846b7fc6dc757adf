"""DDRO: document identifiers learn from pairs of a relevant and an irrelevant one, without RL.

Lightweight and Direct Document Relevance Optimization for Generative Information Retrieval (2025).
The policy answers a query by the identifier of a document; after supervised fine-tuning DPO on
(query, relevant, irrelevant) takes the place of a reward model and RL. Differs from `preference`:
the task, whose irrelevant identifiers are those of other documents in the prompt. Adapted: keys of
two letters that stand in the prompt for identifiers of a corpus that is in the parameters; decoding
is not constrained; loss and order of stages are recalled. Expected: the relevant one first more
often than after fine-tuning alone.

  rljax train --config=papers/ddro
"""

import rljax
from rljax.tasks.lookup import ALPHABET

METHOD = dict(
  paper=(
    'Lightweight and Direct Document Relevance Optimization for Generative Information '
    'Retrieval (2025)'
  ),
  scope='ADAPT',
  stage='losses',
  functions=('losses.dpo', 'tasks.lookup'),
  fidelity='adapted',
  baseline='preference',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('preference')
  config.task = dict(name='tasks.lookup', chain=1, num_pairs=6)
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.update(iterations=2000, max_length=43)
  config.preference.max_length = 43
  config.rl.update(max_prompt=39, max_new_tokens=4)
  for stage in (config.sft, config.preference, config.rl):
    stage.row_length = 44
  return config
