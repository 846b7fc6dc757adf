"""Advantages: rewards -> [N], or [..., T] per token; a pair means (advantages, returns)."""

from rljax.advantages.asymmetric_baseline import asymmetric_baseline
from rljax.advantages.best_of import best_of
from rljax.advantages.gae import gae
from rljax.advantages.gpg import gpg
from rljax.advantages.greedy_baseline import greedy_baseline
from rljax.advantages.group_normalize import group_normalize
from rljax.advantages.hierarchical import hierarchical
from rljax.advantages.leave_one_out import leave_one_out
from rljax.advantages.length_penalized import length_penalized
from rljax.advantages.length_weighted_baseline import length_weighted_baseline
from rljax.advantages.max_rl import max_rl
from rljax.advantages.multi_reward import multi_reward
from rljax.advantages.optimal_value import optimal_value
from rljax.advantages.pass_at_k import pass_at_k
from rljax.advantages.pkpo import pkpo
from rljax.advantages.quantile_baseline import quantile_baseline
from rljax.advantages.role_baseline import role_baseline, role_baseline_init
from rljax.advantages.signs import positive_only, signs
from rljax.advantages.single_stream import single_stream, single_stream_init
from rljax.advantages.whiten import whiten

__all__ = [
  'asymmetric_baseline',
  'best_of',
  'gae',
  'gpg',
  'greedy_baseline',
  'group_normalize',
  'hierarchical',
  'leave_one_out',
  'length_penalized',
  'length_weighted_baseline',
  'max_rl',
  'multi_reward',
  'optimal_value',
  'pass_at_k',
  'pkpo',
  'positive_only',
  'quantile_baseline',
  'role_baseline',
  'role_baseline_init',
  'signs',
  'single_stream',
  'single_stream_init',
  'whiten',
]
