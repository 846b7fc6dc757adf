"""LUSPO: the sequence ratio of GSPO without its bias towards short samples.

Length-Unbiased Sequence Policy Optimization, 2026. GSPO divides the gradient of a token by the
length of its sample; here each sample counts times its length. Differs from `presets/gspo`: the sum
over tokens in place of their mean. Expected: lengths that do not shrink.

  rljax train --config=papers/luspo
"""

import rljax

METHOD = dict(
  paper=(
    'Length-Unbiased Sequence Policy Optimization: Revealing and Controlling Response Length '
    'Variation in RLVR (2026)'
  ),
  scope='CORE',
  stage='weighting',
  functions=('losses.gspo_token', 'weighting.seq_mean_token_sum'),
  fidelity='recalled',
  baseline='presets/gspo',
  differs='weights',
)


def get_config():
  config = rljax.load_config('presets/luspo')
  return config
