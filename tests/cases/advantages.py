"""Advantages of samples, and a batch of samples that has what each of them must cope with."""

import functools

import numpy as np
from reference import advantages as reference

from cases import Case
from rljax import advantages

# Ragged groups in no order: 2 and 5 are large, 1 has equal rewards, 3 is one sample, 4 are two.
GROUPS = np.array(
  [2, 0, 2, 1, 0, 2, -1, 1, 0, 3, 2, 4, 4, 5, 2, 0, 5, 1, 2, 5, -1, 0, 2, 5], np.int32
)
USED = GROUPS >= 0
NUM_PROMPTS = 7


def samples():
  """dict of the sample arrays by name; what belongs to the group is equal in it."""
  rng = np.random.default_rng(0)
  num, flat = len(GROUPS), np.isin(GROUPS, (1, 3))
  rewards = np.round(rng.normal(size=num), 2)
  rewards[GROUPS == 2] = [1, 0, 1, 0, 0.2, 0, 1]
  rewards[GROUPS == 0] = [0.5, -1, 0.3, 0.9, 0.2]
  rewards[GROUPS == 5] = [-1, 0, -0.5, 0.3]  # the mean is below 0
  rewards[GROUPS == 1], rewards[GROUPS == 3], rewards[GROUPS == 4] = 2, -0.4, (0.1, 0.2)
  rewards[~USED] = 9
  per_group = {name: rng.normal(size=7) for name in ('baseline_rewards', 'optimal_values')}
  lengths = rng.integers(1, 9, num)
  return {
    'rewards': rewards,
    'group_ids': GROUPS,
    'reward_components': {
      'correct': np.where(flat, 2.0, rng.integers(0, 2, num)),
      'format': np.where(flat, -1.0, 10 * rng.random(num)),
    },
    'completion_length': lengths.astype(float),
    'num_tokens': (lengths + rng.integers(2, 6, num)).astype(np.int32),
    'num_turns': rng.integers(1, 4, num).astype(np.int32),
    'role_ids': rng.integers(0, 2, num).astype(np.int32),
    'is_external': np.arange(num) % 3 == 1,
    'episode_ids': rng.integers(0, 2, num).astype(np.int32),
    'prompt_ids': np.array([3, 0, 6, 2, 5, 3, 1], np.int32)[GROUPS],  # 2 and 5 share a prompt
    **{name: x[GROUPS] for name, x in per_group.items()},
  }


# What a function that remembers is given as its state.
STATES = {
  'role_baseline': np.array([0.4, -0.2]),
  'single_stream': {
    'right': np.linspace(1, 5, NUM_PROMPTS),
    'wrong': np.linspace(4, 2, NUM_PROMPTS),
  },
  'source_weighted': {
    'count': np.array([[3.0, 0.0], [2.0, 4.0], [0.0, 1.0], [5.0, 2.0]]),
    'mean': np.array([[0.2, 0.0], [0.4, 0.7], [0.0, 0.3], [0.6, 0.5]]),
    'squares': np.array([[0.3, 0.0], [0.2, 0.5], [0.0, 0.0], [0.9, 0.1]]),
  },
}


def case(function, traits=None, couples=None, optional=(), **hyper):
  bound = functools.partial(getattr(reference, function.__name__), **hyper)
  return Case(function, bound, hyper, traits, couples, optional)


normalize = functools.partial(case, advantages.group_normalize)
SHIFT, SCALE, MEAN = {'shift_invariant'}, {'scale_invariant'}, {'zero_mean_in_group'}
RELATIVE = {'group_relative'}
CENTRED = SHIFT | MEAN | RELATIVE

CASES = {
  'grpo': normalize(),
  'grpo, ddof 0': normalize(ddof=0, epsilon=1e-4),
  'dr_grpo': normalize(traits=CENTRED, scale='none'),
  'batch_std': normalize(traits=MEAN | RELATIVE | SCALE, couples='batch', scale='batch'),
  'whitened': normalize(traits=SCALE, couples='batch', center='batch', scale='batch'),
  'batch_mean': normalize(traits=set(), couples='batch', center='batch', scale='none'),
  'std_only': normalize(traits=SCALE | RELATIVE, center='none'),
  'raw': normalize(traits=set(), couples='sequence', center='none', scale='none'),
  'rloo': case(advantages.leave_one_out),
  'own_baseline': case(advantages.own_baseline),
  'opo': case(advantages.length_weighted_baseline),
  'gpg': case(advantages.gpg),
  'exponential_weights': case(advantages.exponential_weights),
  'exponential_weights, bounded': case(
    advantages.exponential_weights, temperature=0.5, max_weight=2.0
  ),
  'gpg, nonzero rewards': case(
    advantages.gpg, traits=MEAN | RELATIVE, alpha='nonzero_rewards', f_norm=0.5
  ),
  'gdpo': case(advantages.multi_reward),
  'gdpo, weighted': case(
    advantages.multi_reward, weights=(('format', 0.3), ('correct', 2.0)), epsilon=1e-4
  ),
  'gdpo, one, not whitened': case(
    advantages.multi_reward, couples='group', weights=(('correct', 2.0),), whiten=False
  ),
  'best_of': case(advantages.best_of),
  'best_of, std': case(
    advantages.best_of, traits=SHIFT | RELATIVE | SCALE, scale='group', epsilon=1e-5
  ),
  'pkpo': case(advantages.pkpo),
  'pkpo, loo': case(advantages.pkpo, traits=CENTRED, k=3, baseline='loo'),
  'pkpo, loo, one': case(advantages.pkpo, traits=CENTRED, k=1),
  'pkpo, loo, all': case(advantages.pkpo, traits=CENTRED, k=9, baseline='loo'),
  'pkpo, two': case(advantages.pkpo, k=2),
  'pkpo, all': case(advantages.pkpo, k=9),
  'pkpo, none': case(advantages.pkpo, traits=set(), k=3, baseline='none'),
  'pkpo, none, all': case(advantages.pkpo, traits=set(), k=9, baseline='none'),
  'pass_at_k': case(advantages.pass_at_k),
  'pass_at_k, two': case(advantages.pass_at_k, k=2),
  'pass_at_k, no std': case(advantages.pass_at_k, k=2, scale='none', threshold=0.25),
  'max_rl': case(advantages.max_rl),
  'max_rl, order G': case(advantages.max_rl, traits=SCALE, all_wrong=-1.0),
  'qae': case(advantages.quantile_baseline),
  'qae, no std': case(
    advantages.quantile_baseline, traits=SHIFT | RELATIVE, quantile=0.75, scale='none'
  ),
  'rae': case(advantages.role_baseline),
  'rae, slower': case(advantages.role_baseline, decay=0.99),
  'hierarchical': case(advantages.hierarchical),
  'hierarchical, both': case(advantages.hierarchical, episode_roles=(0, 1)),
  'length_penalized': case(advantages.length_penalized),
  'length_penalized, turns': case(
    advantages.length_penalized,
    optional=('num_turns',),
    output_weight=0.4,
    input_weight=0.2,
    turns_weight=0.3,
  ),
  'remax': case(advantages.greedy_baseline),
  'asym_re': case(advantages.asymmetric_baseline),
  'asym_re, lower': case(advantages.asymmetric_baseline, delta_v=-0.5),
  'brpo': case(advantages.bootstrapped_reference),
  'brpo, all groups': case(advantages.bootstrapped_reference, max_share=1.0),
  'optimal_value': case(advantages.optimal_value),
  'optimal_value, sharp': case(advantages.optimal_value, beta=0.05),
  'optimal_value, given': case(
    advantages.optimal_value, traits=set(), couples='sequence', optional=('optimal_values',)
  ),
  'raft': case(advantages.positive_only),
  'raft, threshold': case(advantages.positive_only, threshold=0.25),
  'w_reinforce': case(advantages.signs),
  'nsr': case(advantages.signs, positive=0.0, threshold=0.25),
  'qwenlong': case(advantages.source_normalize, sources=('format', 'correct')),
  'recap': case(advantages.source_weighted, sources=('correct', 'format'), window=4),
  'spo': case(advantages.single_stream, num_prompts=NUM_PROMPTS),
  'spo, not whitened': case(
    advantages.single_stream,
    couples='sequence',
    num_prompts=NUM_PROMPTS,
    rho=0.8,
    normalize=False,
  ),
}
