"""Divergence from a reference policy and entropy, as token losses with the right gradient."""

from rljax.regularizers.entropy import entropy_bonus, sampled_entropy_bonus
from rljax.regularizers.estimators import k1, k2, k3
from rljax.regularizers.kl import (
  forward_k3,
  full_reverse_kl,
  k1_in_loss,
  kl_reward,
  reverse_kl,
)

__all__ = [
  'entropy_bonus',
  'forward_k3',
  'full_reverse_kl',
  'k1',
  'k1_in_loss',
  'k2',
  'k3',
  'kl_reward',
  'reverse_kl',
  'sampled_entropy_bonus',
]
