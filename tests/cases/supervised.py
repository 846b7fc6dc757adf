"""Losses on given tokens: SFT and distillation."""

import functools

from reference import losses as reference
from reference import supervised

from cases import Case
from rljax import losses, regularizers

CASES = {
  'nll': Case(losses.nll, reference.nll),
  'dynamic_nll': Case(losses.dynamic_nll, supervised.dynamic_nll),
  'importance_weighted_nll': Case(
    losses.importance_weighted_nll, supervised.importance_weighted_nll
  ),
  'importance_weighted_nll, narrow': Case(
    losses.importance_weighted_nll,
    functools.partial(supervised.importance_weighted_nll, low=0.9, high=1.1),
    {'low': 0.9, 'high': 1.1},
  ),
  'selective_nll': Case(losses.selective_nll, supervised.selective_nll),
  'selective_nll, strict': Case(
    losses.selective_nll,
    functools.partial(supervised.selective_nll, max_entropy=0.6, max_kl=0.2),
    {'max_entropy': 0.6, 'max_kl': 0.2},
  ),
  'pear_nll': Case(losses.pear_nll, supervised.pear_nll),
  'pear_nll, blocks': Case(
    losses.pear_nll, supervised.pear_nll, {'level': 'block', 'block_size': 2, 'high': 1.5}
  ),
  'pear_nll, tokens': Case(
    losses.pear_nll,
    lambda logprobs, policy_logprobs, **_: supervised.importance_weighted_nll(
      logprobs, policy_logprobs, low=0.1, high=10.0
    ),
    {'level': 'token'},
    couples='token',
  ),
  'forward_distillation': Case(
    losses.forward_distillation, functools.partial(supervised.handed_on, 'teacher_forward_kl')
  ),
  'reverse_distillation': Case(
    losses.reverse_distillation, functools.partial(supervised.handed_on, 'teacher_reverse_kl')
  ),
  'generalized_jsd': Case(
    losses.generalized_jsd,
    functools.partial(supervised.handed_on, 'teacher_jsd', factor=0.25),
    {'scale': 0.25},
  ),
  'top_k_distillation': Case(
    losses.top_k_distillation, functools.partial(supervised.handed_on, 'teacher_top_k_kl')
  ),
  'stored_distillation': Case(
    losses.stored_distillation, functools.partial(supervised.handed_on, 'stored_kl')
  ),
  'sampled_distillation': Case(
    regularizers.sampled_distillation, supervised.sampled_distillation
  ),
}
