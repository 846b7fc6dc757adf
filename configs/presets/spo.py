"""SPO: a running estimate of each prompt's pass rate in place of a group.

Xu and Ding 2025, arXiv 2509.13232. Differs from `quickstart`: one sample of each prompt, advantage;
few enough prompts that each comes up often.

  rljax train --config=presets/spo
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.task.num_train = 2048
  config.rl.update(samples=1, prompts=512)
  config.rl.advantage = dict(name='advantages.single_stream', num_prompts=2048)
  return config
