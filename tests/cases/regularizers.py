"""KL and entropy terms."""

import functools

from reference import losses as reference

from cases import Case
from rljax import regularizers

CASES = {
  'reverse_kl': Case(regularizers.reverse_kl, reference.reverse_kl),
  'reverse_kl, bounded': Case(
    regularizers.reverse_kl,
    functools.partial(reference.reverse_kl, max_ratio=1.1, max_value=0.05),
    {'max_ratio': 1.1, 'max_value': 0.05},
  ),
  'full_reverse_kl': Case(regularizers.full_reverse_kl, reference.full_reverse_kl),
  'forward_k3': Case(regularizers.forward_k3, reference.forward_k3),
  'k1_in_loss': Case(regularizers.k1_in_loss, reference.k1_in_loss),
  'kl_reward': Case(regularizers.kl_reward, reference.kl_reward),
  'entropy_bonus': Case(regularizers.entropy_bonus, reference.entropy_bonus),
  'sampled_entropy_bonus': Case(
    regularizers.sampled_entropy_bonus, reference.sampled_entropy_bonus
  ),
}
