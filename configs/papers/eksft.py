"""EKSFT: demonstrations teach no token of high entropy, nor one that has left the start already.

Entropy-KL Divergence-based Token Masking: A Novel Approach for Selective Fine-tuning of Large
Language Models, 2026. Supervised fine-tuning that keeps what the policy could do otherwise, so that
RL has something to explore. Differs from `presets/iw_sft`: loss of the second supervised stage, and
RL after it, by which it is judged. The masks are recalled, their thresholds guessed. Expected: less
than plain fine-tuning before RL, more after it.

  rljax train --config=papers/eksft
"""

import rljax

METHOD = dict(
  paper=(
    'Entropy-KL Divergence-based Token Masking: A Novel Approach for Selective Fine-tuning '
    'of Large Language Models (2026)'
  ),
  scope='CORE',
  stage='losses',
  functions=('losses.selective_nll',),
  fidelity='recalled',
  baseline='presets/iw_sft',
  differs='token loss',
)


def get_config():
  config = rljax.load_config('presets/iw_sft')
  config.stages = ('sft', 'more', 'rl')
  config.more.loss = dict(name='losses.selective_nll')
  return config
