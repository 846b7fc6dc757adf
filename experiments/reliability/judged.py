"""The run of `small.py`, shorter, with a judge behind an endpoint (`endpoint.py`) as its reward.

  python experiments/reliability/endpoint.py limited  # prints its port
  ENDPOINT=http://127.0.0.1:<port>/v1 rljax train --config=experiments/reliability/judged.py
"""

import os

import small


def get_config():
  config = small.get_config()
  client = dict(
    name='rewards.judges.Client', model='judge',
    base_url=os.environ.get('ENDPOINT', 'http://127.0.0.1:9/v1'),
    concurrency=16, timeout_seconds=2.0, retries=2, backoff_seconds=0.1,
  )  # fmt: skip
  config.rewards.reward = dict(name='rewards.judges.verified', with_answer=False, generate=client)
  config.sft.iterations = 2
  config.rl.iterations = 3
  return config
