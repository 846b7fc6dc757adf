"""Divergence from a reference policy and entropy, as token losses with the right gradient."""

from rljax.regularizers.controllers import (
  adaptive_entropy,
  adaptive_entropy_init,
  adaptive_kl,
  adaptive_kl_init,
  reference_average,
)
from rljax.regularizers.distillation import sampled_distillation
from rljax.regularizers.entropy import entropy_bonus, importance_entropy, sampled_entropy_bonus
from rljax.regularizers.estimators import absolute, k1, k1_plus, k2, k3, k3_plus
from rljax.regularizers.f_divergence import f_divergence
from rljax.regularizers.kl import full_reverse_kl, k3_reward, kl_reward, reverse_kl
from rljax.regularizers.kl_in_loss import absolute_in_loss, forward_k3, k1_in_loss, k2_in_loss
from rljax.regularizers.kl_with_ratio import ratio_k1, ratio_k3, sequence_kl
from rljax.regularizers.load_balance import load_balance
from rljax.regularizers.low_probability import low_probability_kl
from rljax.regularizers.peak_entropy import (
  anchored_entropy,
  anchored_entropy_init,
  peak_entropy,
  peak_positions,
)
from rljax.regularizers.rehearsal import rehearsal
from rljax.regularizers.resets import kl_exceeds, reward_stalls
from rljax.regularizers.reward_aware import reward_aware_kl, reward_softmax

__all__ = [
  'absolute',
  'absolute_in_loss',
  'adaptive_entropy',
  'adaptive_entropy_init',
  'adaptive_kl',
  'adaptive_kl_init',
  'anchored_entropy',
  'anchored_entropy_init',
  'entropy_bonus',
  'f_divergence',
  'forward_k3',
  'full_reverse_kl',
  'importance_entropy',
  'k1',
  'k1_in_loss',
  'k1_plus',
  'k2',
  'k2_in_loss',
  'k3',
  'k3_plus',
  'k3_reward',
  'kl_exceeds',
  'kl_reward',
  'load_balance',
  'low_probability_kl',
  'peak_entropy',
  'peak_positions',
  'ratio_k1',
  'ratio_k3',
  'reference_average',
  'rehearsal',
  'reverse_kl',
  'reward_aware_kl',
  'reward_softmax',
  'reward_stalls',
  'sampled_distillation',
  'sampled_entropy_bonus',
  'sequence_kl',
]
