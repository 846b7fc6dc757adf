"""KL and entropy terms."""

import functools

from reference import regularizers as reference

from cases import Case
from rljax import regularizers


def case(name, optional=(), **hyper):
  """A regularizer with hyper-parameters that its reference takes by the same names."""
  found = getattr(reference, name)
  # A reference of the whole batch gets them from the suite.
  found = found if name == 'sequence_kl' else functools.partial(found, **hyper)
  return Case(getattr(regularizers, name), found, hyper, optional=optional)


CASES = {
  'reverse_kl': case('reverse_kl'),
  'reverse_kl, bounded': case('reverse_kl', max_ratio=1.1, max_value=0.05),
  'reverse_kl, mismatch': case('reverse_kl', ('policy_logprobs',), mismatch_correction=True),
  'reverse_kl, no mismatch': case('reverse_kl', ('policy_logprobs',)),
  'full_reverse_kl': case('full_reverse_kl'),
  'k1_in_loss': case('k1_in_loss'),
  'k2_in_loss': case('k2_in_loss'),
  'k2_in_loss, k1+': case('k2_in_loss', value='k1'),
  'k2_in_loss, k3+': case('k2_in_loss', value='k3'),
  'k2_in_loss, value |d|': case('k2_in_loss', value='absolute'),
  'forward_k3': case('forward_k3'),
  'absolute_in_loss': case('absolute_in_loss'),
  'ratio_k1': case('ratio_k1'),
  'ratio_k3': case('ratio_k3'),
  'sequence_kl': case('sequence_kl'),
  'sequence_kl, k1': case('sequence_kl', estimator='k1'),
  **{
    f'f_divergence, {kind}': case('f_divergence', kind=kind)
    for kind in (*reference.DIVERGENCES, 'alpha')
  },
  'f_divergence, alpha 2': case('f_divergence', kind='alpha', alpha=2.0),
  'f_divergence, alpha −½': case('f_divergence', kind='alpha', alpha=-0.5),
  'f_divergence, bounded': case('f_divergence', max_ratio=1.1, max_value=0.05),
  'kl_reward': case('kl_reward'),
  'k3_reward': case('k3_reward'),
  'entropy_bonus': case('entropy_bonus'),
  'sampled_entropy_bonus': case('sampled_entropy_bonus'),
  'peak_entropy': case('peak_entropy'),
  'reward_aware_kl': case('reward_aware_kl'),
  'rehearsal': case('rehearsal'),
  'rehearsal, both': case('rehearsal', kind='jensen_shannon'),
  'rehearsal, alpha': case('rehearsal', kind='alpha', alpha=0.3),
}
ARRAYS = {
  'nucleus_entropy': lambda batch, rng: rng.random(batch['logprobs'].shape),
  'peaks': lambda batch, rng: 3.0 * (rng.random(batch['logprobs'].shape) < 0.3),
  'full_forward_kl': lambda batch, rng: rng.random(batch['logprobs'].shape),
  'reward_weight': lambda batch, rng: rng.random(batch['logprobs'].shape),
}
OTHERS = {
  *('peak_positions', 'anchored_entropy', 'anchored_entropy_init'),
  *('reward_softmax', 'reward_stalls', 'kl_exceeds'),
}
