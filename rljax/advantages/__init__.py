"""Advantages: rewards -> [N], or [..., T] per token; a pair means (advantages, returns)."""

from rljax.advantages.asymmetric_baseline import asymmetric_baseline
from rljax.advantages.best_of import best_of
from rljax.advantages.bootstrapped_reference import bootstrapped_reference
from rljax.advantages.clip_advantages import clip_advantages
from rljax.advantages.confidence_penalty import confidence_penalty
from rljax.advantages.difficulty_scaled import difficulty_scaled
from rljax.advantages.distillation_penalty import distillation_penalty
from rljax.advantages.entropy_gate import entropy_gate, entropy_gate_init
from rljax.advantages.entropy_shaped import entropy_shaped
from rljax.advantages.exponential_weights import exponential_weights
from rljax.advantages.gae import gae
from rljax.advantages.gigpo import gigpo, step_reinforce, turn_leave_one_out
from rljax.advantages.gpg import gpg
from rljax.advantages.greedy_baseline import greedy_baseline
from rljax.advantages.group_normalize import group_normalize
from rljax.advantages.hidden_rank import hidden_rank
from rljax.advantages.hierarchical import hierarchical
from rljax.advantages.implicit_process_rewards import implicit_process_rewards
from rljax.advantages.leave_one_out import leave_one_out
from rljax.advantages.length_penalized import length_penalized
from rljax.advantages.length_weighted_baseline import length_weighted_baseline
from rljax.advantages.max_rl import max_rl
from rljax.advantages.multi_reward import multi_reward
from rljax.advantages.optimal_baseline import optimal_baseline
from rljax.advantages.optimal_token_baseline import optimal_token_baseline
from rljax.advantages.optimal_value import optimal_value
from rljax.advantages.own_baseline import own_baseline
from rljax.advantages.pass_at_k import pass_at_k
from rljax.advantages.pkpo import pkpo
from rljax.advantages.prefix_tree import prefix_tree
from rljax.advantages.quantile_baseline import quantile_baseline
from rljax.advantages.refined_step_returns import refined_step_returns
from rljax.advantages.reinforce_pp_baseline import reinforce_pp_baseline
from rljax.advantages.reward_to_go import reinforce_pp, remax, reward_to_go
from rljax.advantages.role_baseline import role_baseline, role_baseline_init
from rljax.advantages.signs import positive_only, signs
from rljax.advantages.single_stream import single_stream, single_stream_init
from rljax.advantages.source_normalize import source_normalize
from rljax.advantages.source_weighted import source_weighted, source_weighted_init
from rljax.advantages.stage_normalize import stage_normalize
from rljax.advantages.state_values import low_probability_cuts, state_value_differences
from rljax.advantages.step_potential import step_potential
from rljax.advantages.teacher_advantage import teacher_advantage
from rljax.advantages.turn_returns import step_returns, turn_returns
from rljax.advantages.whiten import whiten

__all__ = [
  'asymmetric_baseline',
  'best_of',
  'bootstrapped_reference',
  'clip_advantages',
  'confidence_penalty',
  'difficulty_scaled',
  'distillation_penalty',
  'entropy_gate',
  'entropy_gate_init',
  'entropy_shaped',
  'exponential_weights',
  'gae',
  'gigpo',
  'gpg',
  'greedy_baseline',
  'group_normalize',
  'hidden_rank',
  'hierarchical',
  'implicit_process_rewards',
  'leave_one_out',
  'length_penalized',
  'length_weighted_baseline',
  'low_probability_cuts',
  'max_rl',
  'multi_reward',
  'optimal_baseline',
  'optimal_token_baseline',
  'optimal_value',
  'own_baseline',
  'pass_at_k',
  'pkpo',
  'positive_only',
  'prefix_tree',
  'quantile_baseline',
  'refined_step_returns',
  'reinforce_pp',
  'reinforce_pp_baseline',
  'remax',
  'reward_to_go',
  'role_baseline',
  'role_baseline_init',
  'signs',
  'single_stream',
  'single_stream_init',
  'source_normalize',
  'source_weighted',
  'source_weighted_init',
  'stage_normalize',
  'state_value_differences',
  'step_potential',
  'step_reinforce',
  'step_returns',
  'teacher_advantage',
  'turn_leave_one_out',
  'turn_returns',
  'whiten',
]
