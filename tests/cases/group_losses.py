"""Regressions of whole completions, alone or within groups: losses of [N]."""

import functools

from reference import group_losses as reference

from cases import Case
from rljax import losses

ARRAYS = {
  'optimal_values': lambda batch, rng: rng.normal(size=len(batch['rewards'])),
  'log_partition': lambda batch, rng: rng.normal(size=len(batch['rewards'])),
}

CASES = {
  'a_star': Case(losses.a_star, reference.a_star),
  'a_star, kl_coef': Case(losses.a_star, reference.a_star, {'kl_coef': 0.3}),
  'oapl': Case(losses.oapl, reference.oapl, {'kl_coef': 0.3}),
  'oapl, nearly the maximum': Case(
    losses.oapl, reference.oapl, {'value_temperature': 0.02, 'kl_coef': 0.1}
  ),
  'rebel': Case(losses.rebel, reference.rebel),
  'rebel, eta': Case(losses.rebel, reference.rebel, {'eta': 0.4}),
  'gvpo': Case(losses.gvpo, reference.gvpo),
  'gvpo, beta': Case(losses.gvpo, reference.gvpo, {'beta': 0.8}),
  'reg_grpo': Case(losses.reg_grpo, reference.reg_grpo, {'beta': 0.6, 'epsilon': 1e-3}),
  'reg_grpo, normalised': Case(
    losses.reg_grpo, reference.reg_grpo, {'scale_log_ratio': True, 'min_std': 0.5}
  ),
  'pacs': Case(losses.pacs, reference.pacs),
  'pacs, not balanced': Case(
    losses.pacs, reference.pacs, {'beta': 0.7, 'threshold': 0.0, 'class_weight': 'none'}
  ),
  'flow_rl': Case(losses.flow_rl, reference.flow_rl, {'beta': 1.0}),
  'flow_rl, learned partition': Case(
    losses.flow_rl,
    functools.partial(reference.flow_rl, learned=True),
    {'beta': 2.0, 'clip_low': 0.5, 'clip_high': 1.0, 'epsilon': 1e-3},
    optional=('log_partition',),
  ),
}
