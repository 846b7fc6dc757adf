"""SIREN: entropy of likely tokens at uncertain places, pulled back to where training found it.

Rethinking Entropy Regularization in Large Reasoning Models (2025). A bonus on the whole vocabulary
at every position explodes; here the squared distance to the first value is charged, of the entropy
of the nucleus at the highest fifth of each completion. Differs from `presets/grpo_off_policy`: an
entropy term with a controller. The formula is recalled, sizes are guesses; the distance is that of
the update before, and its places are those of the policy before the update. Expected: entropy and
the number of different right answers hold, at no cost in accuracy; a higher maj@k.

  rljax train --config=papers/siren
"""

import rljax

METHOD = dict(
  paper='Rethinking Entropy Regularization in Large Reasoning Models (2025)',
  scope='CORE',
  stage='regularizers',
  functions=(
    'regularizers.peak_entropy',
    'regularizers.peak_positions',
    'regularizers.anchored_entropy',
  ),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='gradient',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.entropy = dict(name='regularizers.peak_entropy')
  config.rl.entropy_top_p = 0.9
  config.rl.derived.peaks = dict(name='regularizers.peak_positions')
  config.rl.entropy_controller = dict(name='regularizers.anchored_entropy')
  return config
