"""Advantages of tokens, and what shapes them."""

import functools

import numpy as np
from reference import batches, credit
from reference import token_advantages as reference

from cases import Case
from rljax import advantages


def case(name, traits=None, couples=None, **hyper):
  """The function of a name with its reference, both with these hyper-parameters."""
  module = reference if hasattr(reference, name) else credit
  slow = functools.partial(getattr(module, name), **hyper)
  return Case(getattr(advantages, name), slow, hyper, traits, couples)


CASES = {
  'gae': case('gae'),
  'gae, not whitened': case('gae', couples='sequence', whiten=False),
  'gae, discounted': case('gae', gamma=0.9, gae_lambda=0.7, bootstrap_truncated=True),
  'vc_ppo': case('gae', critic_lambda=1.0),
  'vapo': case('gae', couples='sequence', critic_lambda=1.0, length_alpha=0.5, whiten=False),
  'reward_to_go': case('reward_to_go'),
  'reward_to_go, discounted': case('reward_to_go', gamma=0.9),
  'reinforce_pp': case('reinforce_pp'),
  'reinforce_pp, all': case('reinforce_pp', set(), gamma=0.9, ddof=0, no_std=True),
  'reinforce_pp_baseline': case('reinforce_pp_baseline'),
  'reinforce_pp_baseline, of peers': case(
    'reinforce_pp_baseline',
    {'shift_invariant', 'scale_invariant'},
    keep_zero_variance=True,
    ddof=0,
  ),
  'reinforce_pp_baseline, no std': case(
    'reinforce_pp_baseline', {'shift_invariant', 'group_relative'}, no_std=True
  ),
  'remax': case('remax'),
  'optimal_token_baseline': case('optimal_token_baseline'),
  'optimal_token_baseline, all': case(
    'optimal_token_baseline', set(), max_ratio=1.2, handle_zero_tail=True, epsilon=1e-2
  ),
  'optimal_baseline': case('optimal_baseline'),
  'prefix_tree': case('prefix_tree'),
  'prefix_tree, no std': case(
    'prefix_tree', {'shift_invariant', 'group_relative'}, scale='none'
  ),
  'turn_returns': case('turn_returns'),
  'turn_returns, discounted': case('turn_returns', gamma=0.8),
  'step_returns': case('step_returns'),
  'step_returns, discounted': case('step_returns', gamma=0.8),
  'refined_step_returns': case('refined_step_returns'),
  'refined_step_returns, clip': case('refined_step_returns', mode='clip', eta=0.2, alpha=0.5),
  'refined_step_returns, delta': case('refined_step_returns', mode='delta'),
  'gigpo': case('gigpo'),
  'gigpo, centred': case('gigpo', set(), no_std=True, step_gamma=0.8, episode_weight=0.5),
  'gigpo, steps': case('gigpo', episode_weight=0.0, step_weight=2.0, ddof=0, epsilon=1e-5),
  'step_reinforce': case('step_reinforce'),
  'step_reinforce, batch': case('step_reinforce', couples='batch', scope='batch', ddof=0),
  'step_reinforce, centred': case('step_reinforce', set(), no_std=True, step_gamma=0.5),
  'turn_leave_one_out': case('turn_leave_one_out'),
  'turn_leave_one_out, discounted': case('turn_leave_one_out', set(), gamma=0.8),
  'stage_normalize': case('stage_normalize'),
  'stage_normalize, each for itself': case(
    'stage_normalize', {'scale_invariant'}, downstream=0.5, ddof=0, epsilon=1e-5
  ),
  'state_value_differences': case('state_value_differences'),
  'state_value_differences, discounted': case('state_value_differences', gamma=0.8),
  'implicit_process_rewards': case('implicit_process_rewards'),
  'implicit_process_rewards, discounted': case('implicit_process_rewards', beta=0.5, gamma=0.8),
}
# advantages -> advantages, and what comes from a teacher instead of rewards
SHAPING = {
  'whiten': case('whiten'),
  'whiten, all': case('whiten', ddof=0, no_std=True),
  'clip_advantages': case('clip_advantages', low=-0.5, high=0.7),
  'clip_advantages, below': case('clip_advantages', low=0.1),
  'entropy_shaped': case('entropy_shaped'),
  'entropy_shaped, all': case('entropy_shaped', alpha=3.0, kappa=1.5),
  'entropy_gate': case('entropy_gate'),
  'entropy_gate, open': case('entropy_gate', low=0.6, high=0.9),
  'confidence_penalty': case('confidence_penalty'),
  'confidence_penalty, of tokens': case('confidence_penalty', alpha=0.5, length_norm=True),
  'difficulty_scaled': case('difficulty_scaled'),
  'difficulty_scaled, half': case('difficulty_scaled', strength=0.5, threshold=0.0),
  'hidden_rank': case('hidden_rank', stride=1),
  'hidden_rank, sparse': case('hidden_rank', stride=2, kappa=1.2),
  'step_potential': case('step_potential'),
  'step_potential, both stronger': case('step_potential', alpha=2.0, beta=0.5),
  'distillation_penalty': case('distillation_penalty'),
  'distillation_penalty, weaker': case('distillation_penalty', coef=0.3),
  'teacher_advantage': case('teacher_advantage'),
  'teacher_advantage, of sequences': case('teacher_advantage', couples='sequence', gamma=1.0),
}
# What a function that remembers is given as its state.
STATES = {'entropy_gate': np.array(True)}
# Where samples are cut into steps.
CUTS = {
  'low_probability_cuts': case('low_probability_cuts', cuts_per_step=2),
  'low_probability_cuts, each': case(
    'low_probability_cuts', max_probability=0.3, cuts_per_step=1
  ),
}


def _numbers(batch, rng):
  """Numbers that rise from 0 along each sample, anything where the policy did not act."""
  out = rng.integers(-5, 50, batch['action_mask'].shape).astype(np.int32)
  for _, places in batches.samples(batch):
    number = 0
    for place in places:
      if batch['action_mask'][place]:
        out[place] = number
        number += rng.random() < 0.5
  return out


ARRAYS = {
  'tokens': lambda batch, rng: rng.integers(0, 2, batch['action_mask'].shape).astype(np.int32),
  'baseline_rewards': lambda batch, rng: rng.normal(size=batch['rewards'].shape),
  'prm_logprobs': lambda batch, rng: -3 * rng.random(batch['action_mask'].shape),
  'state_values': lambda batch, rng: rng.normal(size=batch['action_mask'].shape),
  'old_hidden': lambda batch, rng: rng.normal(size=(*batch['action_mask'].shape, 8)),
  'potential_gains': lambda batch, rng: rng.normal(size=batch['action_mask'].shape),
  'idle_steps': lambda batch, rng: 1.0 * (rng.random(batch['action_mask'].shape) < 0.3),
  'turn_ids': lambda batch, rng: _numbers(batch, rng),
  'step_ids': lambda batch, rng: _numbers(batch, rng),
  'state_ids': lambda batch, rng: rng.integers(-1, 2, batch['action_mask'].shape).astype(np.int32),
}
