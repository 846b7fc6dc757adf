"""KTO: good and bad answers, unpaired; the KL is measured on mismatched ones.

Ethayarajh et al. 2024, arXiv 2402.01306. Differs from `preference`: loss, mean over the samples
with feedback. All samples of a step are compared, so they stand in one micro-batch.

  rljax train --config=presets/kto
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.kto')
  config.preference.update(labels='sign', weights=dict(name='weighting.sample_mean'))
  config.preference.selections.judged = dict(name='selection.with_feedback')
  config.preference.mismatched = True
  return config
