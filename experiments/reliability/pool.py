"""The run of `small.py` with a pool: what the policy of the start of RL said is rehearsed.

  rljax train --config=experiments/reliability/pool.py
"""

import small


def get_config():
  config = small.get_config()
  config.stages = ('sft', 'rehearsal')
  names = (
    'iterations', 'prompts', 'samples', 'max_prompt', 'max_new_tokens', 'minibatches',
    'old_logprobs', 'max_staleness', 'curriculum', 'optimizer',
  )  # fmt: skip
  shared = {name: config.rl[name] for name in names}
  config.rehearsal.update(**shared, pool_prompts=8, pool_solved=0.1, **small.ROWS)
  return config
