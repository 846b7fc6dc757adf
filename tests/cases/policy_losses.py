"""Policy losses with a clipped ratio, and REINFORCE."""

import functools

import numpy as np
from reference import losses as plain
from reference import policy_losses as reference

from cases import Case
from rljax import losses

partial = functools.partial

CASES = {
  'clipped_surrogate': Case(losses.clipped_surrogate, plain.clipped_surrogate),
  'clipped_surrogate, all bounds': Case(
    losses.clipped_surrogate,
    partial(plain.clipped_surrogate, low=0.1, high=0.28, dual=1.5),
    {'clip_low': 0.1, 'clip_high': 0.28, 'dual_clip': 1.5},
  ),
  'reinforce': Case(losses.reinforce, plain.reinforce),
  'rltf': Case(losses.rltf, reference.rltf),
  'rltf, feedback': Case(
    losses.rltf,
    partial(reference.rltf, distill=0.5, feedback=2.0),
    {'distill_coef': 0.5, 'feedback_coef': 2.0},
  ),
  'verifree': Case(losses.verifree, reference.verifree),
  'gspo': Case(losses.gspo, reference.gspo),
  'gspo, wide': Case(losses.gspo, reference.gspo, {'clip_low': 0.1, 'clip_high': 0.2}),
  'gspo_token': Case(losses.gspo_token, reference.gspo_token),
  'gspo_token, wide': Case(
    losses.gspo_token, reference.gspo_token, {'clip_low': 0.1, 'clip_high': 0.2}
  ),
  'sequence_clipped': Case(losses.sequence_clipped, reference.sequence_clipped),
  'sequence_clipped, wide': Case(
    losses.sequence_clipped, reference.sequence_clipped, {'clip_low': 0.5, 'clip_high': 1.0}
  ),
  'sspo': Case(losses.sspo, reference.sspo),
  'sspo, one width': Case(
    losses.sspo, reference.sspo, {'clip_low': 0.2, 'clip_high': 0.3, 'max_width': 1.0}
  ),
  'gmpo': Case(losses.gmpo, reference.gmpo),
  'gmpo, narrow': Case(losses.gmpo, reference.gmpo, {'clip_low': 0.1, 'clip_high': 0.2}),
  'cispo': Case(losses.cispo, reference.cispo),
  'cispo, both bounds': Case(
    losses.cispo, partial(reference.cispo, low=0.8, high=1.3), {'clip_low': 0.8, 'clip_high': 1.3}
  ),
  'sapo': Case(losses.sapo, reference.sapo),
  'sapo, steep': Case(
    losses.sapo,
    partial(reference.sapo, positive=2.0, negative=5.0),
    {'tau_positive': 2.0, 'tau_negative': 5.0},
  ),
  'kl_cov': Case(losses.kl_cov, reference.kl_cov),
  'kl_cov, weak': Case(losses.kl_cov, partial(reference.kl_cov, penalty=0.1), {'penalty': 0.1}),
  'dppo_tv': Case(losses.dppo_tv, reference.dppo_tv),
  'dppo_tv, narrow': Case(
    losses.dppo_tv,
    partial(reference.dppo_tv, low=0.05, high=0.1),
    {'clip_low': 0.05, 'clip_high': 0.1},
  ),
  'dppo_tv, both': Case(
    losses.dppo_tv,
    partial(reference.dppo_tv, low=0.05, high=0.1, both=True),
    {'clip_low': 0.05, 'clip_high': 0.1, 'drop': 'both'},
  ),
  'dppo_kl': Case(losses.dppo_kl, reference.dppo_kl),
  'dppo_kl, narrow': Case(
    losses.dppo_kl,
    partial(reference.dppo_kl, low=0.001, high=0.01),
    {'clip_low': 0.001, 'clip_high': 0.01},
  ),
  'prime_rl': Case(losses.prime_rl, reference.prime_rl),
  'prime_rl, ipo': Case(
    losses.prime_rl,
    partial(reference.prime_rl, low=0.1, high=0.1, both=True, penalty=0.1),
    {'clip_low': 0.1, 'clip_high': 0.1, 'drop': 'both', 'penalty': 0.1},
  ),
  'bounded_gradient_clip': Case(losses.bounded_gradient_clip, reference.bounded_gradient_clip),
  'bounded_gradient_clip, ce-gppo': Case(
    losses.bounded_gradient_clip,
    partial(reference.bounded_gradient_clip, beta_low=0.5, high=0.28, dual=1.5),
    {'beta_low': 0.5, 'clip_high': 0.28, 'dual_clip': 1.5},
  ),
  'aspo': Case(losses.aspo, reference.aspo),
  'aspo, low dual clip': Case(
    losses.aspo, partial(reference.aspo, high=0.1, dual=1.4), {'clip_high': 0.1, 'dual_clip': 1.4}
  ),
  'dcpo': Case(losses.dcpo, reference.dcpo),
  'dcpo, low top': Case(
    losses.dcpo,
    partial(reference.dcpo, low=0.02, high=0.1, top=1.3),
    {'clip_low': 0.02, 'clip_high': 0.1, 'max_ratio': 1.3},
  ),
  'bapo': Case(losses.bapo, reference.bapo),
  'rover': Case(losses.rover, reference.rover),
  'rover, small': Case(losses.rover, reference.rover, {'rho': 0.3}),
  'approximate_prox_surrogate': Case(
    losses.approximate_prox_surrogate, reference.approximate_prox_surrogate
  ),
  'approximate_prox_surrogate, bounded weight': Case(
    losses.approximate_prox_surrogate,
    partial(reference.approximate_prox_surrogate, low=0.05, high=0.1, top=1.1),
    {'clip_low': 0.05, 'clip_high': 0.1, 'max_weight': 1.1},
  ),
}
ARRAYS = {
  'covariance_selected': lambda batch, rng: rng.random(batch['logprobs'].shape) < 0.4,
  'feedback_mask': lambda batch, rng: rng.random(batch['logprobs'].shape) < 0.3,
  'reference_mask': lambda batch, rng: rng.random(batch['logprobs'].shape) < 0.4,
  'ratio_low': lambda batch, rng: np.full(batch['logprobs'].shape, 0.7),
  'ratio_high': lambda batch, rng: np.full(batch['logprobs'].shape, 1.3),
}
OTHERS = {'balanced_bound'}
