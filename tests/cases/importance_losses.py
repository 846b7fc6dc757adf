"""Importance-weighted, off-policy and hybrid losses per token."""

import functools

import numpy as np
from reference import importance_losses as reference

from cases import Case
from rljax import losses, regularizers


def proxy(batch, rng):
  """A little more probable than the policy, or dropped."""
  near = batch['logprobs'] + rng.uniform(-0.2, 0.5, batch['logprobs'].shape)
  return np.where(rng.random(near.shape) < 0.2, -np.inf, near)


ARRAYS = {
  'proxy_logprobs': proxy,
  'low_probability': lambda batch, rng: rng.random(batch['logprobs'].shape) < 0.6,
}
REINFORCE = {'on_policy_is_reinforce'}


def token(function, per_token, names=None, **hyper):
  """A case whose reference takes some hyper-parameters under shorter names."""
  renamed = {(names or {}).get(name, name): value for name, value in hyper.items()}
  return Case(function, functools.partial(per_token, **renamed), hyper, couples='token')


def divergence(name):
  return token(
    losses.regularized_policy_gradient,
    reference.regularized_policy_gradient,
    {'clip_low': 'low', 'clip_high': 'high'},
    divergence=name,
    kl_coef=0.5,
    clip_low=0.3,
    clip_high=0.6,
    max_ratio=1.4,
  )


CASES = {
  'importance_sampling': Case(losses.importance_sampling, reference.importance_sampling),
  'truncated_reinforce': Case(losses.truncated_reinforce, reference.truncated_reinforce),
  'truncated_reinforce, both bounds': token(
    losses.truncated_reinforce,
    reference.truncated_reinforce,
    {'min_ratio': 'low', 'max_ratio': 'high'},
    min_ratio=0.8,
    max_ratio=1.1,
  ),
  'truncated_reinforce, completions': Case(
    losses.truncated_reinforce,
    reference.truncated_sequence,
    {'level': 'sequence', 'min_ratio': 0.7, 'max_ratio': 1.5},
    couples='sequence',
  ),
  'calibrated_importance': Case(
    losses.calibrated_importance, reference.calibrated_importance
  ),
  'calibrated_importance, wide': token(
    losses.calibrated_importance,
    reference.calibrated_importance,
    {'clip_low': 'low', 'clip_high': 'high'},
    clip_low=0.5,
    clip_high=1.5,
  ),
  'opmd': Case(losses.opmd, reference.opmd),
  'opmd, tau': Case(losses.opmd, reference.opmd, {'tau': 0.7}),
  'opmd, tokens': Case(
    losses.opmd,
    functools.partial(reference.opmd_token, tau=0.3),
    {'level': 'token', 'tau': 0.3},
    traits=REINFORCE,
    couples='token',
  ),
  'topr': Case(losses.topr, reference.topr),
  'topr, baseline and weights': Case(
    losses.topr,
    reference.topr,
    {'baseline': 0.3, 'positive_weight': 0.5, 'negative_weight': 2.0},
    traits=set(),
  ),
  'topr, tokens': Case(
    losses.topr, reference.topr_token, {'level': 'token'}, couples='token'
  ),
  'vespo': Case(losses.vespo, reference.vespo),
  'vespo, symmetric': Case(
    losses.vespo,
    reference.vespo,
    {'positive_power': 1.0, 'positive_decay': 1.0, 'negative_power': 0.5},
  ),
  'luffy': Case(losses.luffy, reference.luffy),
  'luffy, gamma and band': token(
    losses.luffy,
    reference.luffy,
    {'clip_low': 'low', 'clip_high': 'high'},
    gamma=0.5,
    clip_low=0.05,
    clip_high=0.4,
  ),
  'multiple_importance': Case(losses.multiple_importance, reference.multiple_importance),
  'multiple_importance, hyper': token(
    losses.multiple_importance,
    reference.multiple_importance,
    {'clip_low': 'low', 'clip_high': 'high'},
    exploration=2.0,
    uniform=0.25,
    clip_low=0.05,
    clip_high=0.4,
  ),
  'unified_policy_gradient': Case(
    losses.unified_policy_gradient, reference.unified_policy_gradient
  ),
  'unified_policy_gradient, sure authors': token(
    losses.unified_policy_gradient,
    reference.unified_policy_gradient,
    {'clip_low': 'low', 'clip_high': 'high'},
    reference='one',
    external_advantage=0.7,
    clip_low=0.05,
    clip_high=0.4,
  ),
  'unified_policy_gradient, ratio': token(
    losses.unified_policy_gradient, reference.unified_policy_gradient, reference='old'
  ),
  'a_lol': Case(losses.a_lol, reference.a_lol),
  'a_lol, band': Case(losses.a_lol, reference.a_lol, {'clip': 0.2}),
  'a_lol, tokens': Case(
    losses.a_lol,
    functools.partial(reference.a_lol_token, clip=0.3),
    {'ratio': 'token', 'clip': 0.3},
    couples='token',
  ),
  'a_lol, no ratio': token(losses.a_lol, reference.a_lol_token, ratio='none'),
  'low_probability_kl': token(
    regularizers.low_probability_kl, reference.low_probability_kl, max_probability=0.4
  ),
  'low_probability_kl, given': Case(
    regularizers.low_probability_kl,
    reference.low_probability_kl,
    optional=('low_probability',),
  ),
  'chord_sft': Case(losses.chord_sft, reference.chord_sft),
  'srft': Case(losses.srft, reference.srft),
  'srft, weights': Case(
    losses.srft,
    reference.srft,
    {'sft_weight': 0.2, 'positive_weight': 0.7, 'threshold': 0.0},
  ),
  'positive_nll': Case(losses.positive_nll, reference.positive_nll),
  'positive_nll, advantages': Case(
    losses.positive_nll,
    functools.partial(reference.positive_advantage, threshold=0.2),
    {'of': 'advantages', 'threshold': 0.2},
    couples='token',
    optional=('advantages',),
  ),
  'nft': Case(losses.nft, reference.nft),
  'nft, like grpo': Case(
    losses.nft,
    reference.nft,
    {'prompt_weight': 'grpo', 'threshold': 0.0, 'floor': 0.3, 'negative_weight': 0.5},
  ),
  'nft, no prompt weight': Case(
    losses.nft, reference.nft, {'prompt_weight': 'none', 'floor': 0.05}
  ),
  'regularized_policy_gradient': Case(
    losses.regularized_policy_gradient, reference.regularized_policy_gradient
  ),
  **{
    f'regularized_policy_gradient, {name}': divergence(name)
    for name in ('forward', 'unnormalized_forward', 'reverse', 'unnormalized_reverse')
  },
}
