"""Rewards [N] -> rewards [N]: lengths, repetition, limits, running scales, no labels."""

from rljax.shaping.crowd import collective_vote
from rljax.shaping.exploration import outcome_bonus, outcome_bonus_init, repeated_outcome
from rljax.shaping.label_free import (
  entropy_reward,
  majority_vote,
  self_certainty_reward,
  vote_share,
)
from rljax.shaping.length import (
  alp,
  cosine_length,
  kimi_length,
  lcpo_exact,
  lcpo_max,
  shorter_better,
)
from rljax.shaping.limits import difficulty_limit, no_eos_zero, overlong_penalty, stop_properly
from rljax.shaping.loop_penalty import loop_penalty
from rljax.shaping.model_score import model_score
from rljax.shaping.repetition_penalty import repetition_penalty
from rljax.shaping.running_normalize import running_normalize, running_normalize_init
from rljax.shaping.scaling import clip_reward, scale_reward
from rljax.shaping.spread_filter import spread_filter, spread_filter_init
from rljax.shaping.step_bonus import (
  adaptive_step_bonus,
  adaptive_step_bonus_init,
  step_bonus,
)
from rljax.shaping.think_modes import think_modes
from rljax.shaping.unlikeliness import unlikeliness

__all__ = [
  'adaptive_step_bonus',
  'adaptive_step_bonus_init',
  'alp',
  'clip_reward',
  'collective_vote',
  'cosine_length',
  'difficulty_limit',
  'entropy_reward',
  'kimi_length',
  'lcpo_exact',
  'lcpo_max',
  'loop_penalty',
  'majority_vote',
  'model_score',
  'no_eos_zero',
  'outcome_bonus',
  'outcome_bonus_init',
  'overlong_penalty',
  'repeated_outcome',
  'repetition_penalty',
  'running_normalize',
  'running_normalize_init',
  'scale_reward',
  'self_certainty_reward',
  'shorter_better',
  'spread_filter',
  'spread_filter_init',
  'step_bonus',
  'stop_properly',
  'think_modes',
  'unlikeliness',
  'vote_share',
]
