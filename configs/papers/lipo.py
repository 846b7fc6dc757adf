"""LiPO-λ: ranked lists by pairwise logistic losses with the weights of LambdaRank.

Liu et al. 2024, arXiv 2402.01878. Lists of four completions in place of pairs, of which DPO is the
case of two. Differs from `preference`: loss, four candidates. Expected: more held-out accuracy than
pairs give.

  rljax train --config=papers/lipo
"""

import rljax

METHOD = dict(
  paper='LiPO: Listwise Preference Optimization through Learning-to-Rank (2024)',
  scope='CORE',
  stage='losses',
  functions=('losses.lipo_lambda',),
  fidelity='recalled',
  baseline='preference',
  differs='requests',
  effect='99.8 % held-out, DPO 92.8 (experiments/stages)',
)


def get_config():
  config = rljax.load_config('presets/lipo_lambda')
  return config
