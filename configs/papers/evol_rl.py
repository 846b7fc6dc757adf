"""EVOL-RL: without labels, the majority says what is right and novelty how much it is worth.

Evolving Language Models without Labels: Majority Drives Selection, Novelty Promotes Variation,
2025. Completions with the most frequent answer get ½ to 1, the others −1 to −½, by how much they
differ from those of their side; with a clip that is higher above and an entropy bonus. Differs from
`arithmetic`: rewards, clip, entropy. Its like without novelty is TTRL:
--config.rewards.reward.name=rewards.groups.majority. Recalled: the formula, the coefficients.
N-grams of the steps stand for an encoder. Expected: a higher pass@k and entropy than the majority
alone.

  rljax train --config=papers/evol_rl
"""

import rljax

METHOD = dict(
  paper=(
    'Evolving Language Models without Labels: Majority Drives Selection, Novelty Promotes '
    'Variation (2025)'
  ),
  scope='CORE',
  stage='rewards',
  functions=('rewards.novelty.majority_novelty', 'regularizers.entropy_bonus'),
  fidelity='recalled',
  baseline='arithmetic',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('arithmetic')
  config.rewards.reward = dict(name='rewards.novelty.majority_novelty')
  config.rl.loss.clip_high = 0.28
  config.rl.entropy_coef = 0.003
  return config
