"""80/20: the loss stands on the fifth of the tokens with the highest entropy.

Wang et al. 2025, arXiv 2506.01939. Uncertain tokens fork the reasoning, and training on the others
alone makes it worse. Differs from `presets/grpo_off_policy`: selection. Adapted: quantile over the
whole step, of the old policy's entropies; the denominator counts the tokens that are kept.
Expected: as good as all tokens with a fifth of them; `presets/random_tokens` is the control.

  rljax train --config=papers/forking_tokens
"""

import rljax

METHOD = dict(
  paper=(
    'Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement '
    'Learning for LLM Reasoning (2025)'
  ),
  scope='CORE',
  stage='selection',
  functions=('selection.high_entropy',),
  fidelity='adapted',
  baseline='presets/grpo_off_policy',
  differs='weights',
)


def get_config():
  config = rljax.load_config('presets/high_entropy')
  return config
