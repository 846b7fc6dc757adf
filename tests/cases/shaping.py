"""Shaped rewards."""

import functools

import numpy as np
from reference import batches
from reference import shaping as reference

from cases import Case
from rljax import shaping


def samples(seed=3):
  """A packed batch with rewards that are right, wrong, partly right, bad and unscorable."""
  batch, rng = batches.packed(seed), np.random.default_rng(seed)
  num, used = len(batch['group_ids']), batch['group_ids'] >= 0
  rewards = rng.choice([1.0, 0.0, 0.3, -1.0, 0.7], num)
  rewards[np.flatnonzero(used)[:2]] = np.nan, np.inf
  return batch | {
    'rewards': np.where(used, rewards, 0),
    'tokens': rng.integers(0, 2, batch['tokens'].shape).astype(np.int32),
    'completion_length': np.where(used, rng.integers(1, 9, num), 0).astype(float),
    'reward_scores': 2 * rng.normal(size=num),
    'target_length': rng.integers(1, 9, num).astype(float),
    'answer_ids': rng.integers(-1, 3, num).astype(np.int32),
    'old_self_certainty': 3 * rng.random(batch['tokens'].shape),
  }


def case(function, optional=(), **hyper):
  bound = functools.partial(getattr(reference, function.__name__), **hyper)
  return Case(function, bound, hyper, optional=optional)


CASES = {
  'clip_reward': case(shaping.clip_reward),
  'clip_reward, narrow': case(shaping.clip_reward, low=-0.5, high=0.6),
  'scale_reward': case(shaping.scale_reward, bias=-0.5, scale=10.0),
  'scale_reward, as it is': case(shaping.scale_reward),
  'overlong_penalty': case(shaping.overlong_penalty),
  'overlong_penalty, short': case(
    shaping.overlong_penalty, max_length=6.0, buffer=4.0, factor=0.5
  ),
  'overlong_penalty, no cap': case(
    shaping.overlong_penalty, max_length=5.0, buffer=2.0, cap=False
  ),
  'stop_properly': case(shaping.stop_properly),
  'stop_properly, half': case(shaping.stop_properly, coefficient=0.5),
  'stop_properly, negative': case(shaping.stop_properly, coefficient=-0.25),
  'no_eos_zero': case(shaping.no_eos_zero),
  'difficulty_limit': case(shaping.difficulty_limit),
  'difficulty_limit, short': case(
    shaping.difficulty_limit, easy_length=2.0, hard_length=6.0, threshold=0.25
  ),
  'lcpo_exact': case(shaping.lcpo_exact),
  'lcpo_exact, array': case(shaping.lcpo_exact, optional=('target_length',), alpha=0.1),
  'lcpo_max': case(shaping.lcpo_max, target=4.0, alpha=0.2),
  'lcpo_max, array': case(
    shaping.lcpo_max, optional=('target_length',), alpha=0.1, delta=0.3
  ),
  'kimi_length': case(shaping.kimi_length),
  'kimi_length, partly': case(shaping.kimi_length, weight=0.2, threshold=0.25),
  'alp': case(shaping.alp),
  'alp, short': case(shaping.alp, beta=0.05, threshold=0.8),
  'shorter_better': case(shaping.shorter_better),
  'shorter_better, partly': case(
    shaping.shorter_better, alpha=1.0, beta=0.2, threshold=0.9
  ),
  'cosine_length': case(shaping.cosine_length),
  'cosine_length, short': case(
    shaping.cosine_length,
    max_length=6.0,
    right_short=2.0,
    right_long=1.0,
    wrong_short=-3.0,
    wrong_long=0.0,
    threshold=0.25,
  ),
  'step_bonus': case(shaping.step_bonus),
  'step_bonus, exploring': case(
    shaping.step_bonus, target=4.0, alpha=0.3, explore=0.2, threshold=0.25
  ),
  'model_score': case(shaping.model_score),
  'model_score, mixed': case(
    shaping.model_score, weight=0.5, rule=2.0, shift=-1.0, scale=3.0
  ),
  'repetition_penalty': case(shaping.repetition_penalty),
  'repetition_penalty, one': case(shaping.repetition_penalty, n=1, max_penalty=-0.5),
  'repetition_penalty, two': case(shaping.repetition_penalty, n=2),
  'loop_penalty': case(shaping.loop_penalty, min_length=2),
  'loop_penalty, short': case(
    shaping.loop_penalty, coefficient=1.0, max_period=2, repeats=2, min_length=3
  ),
  'unlikeliness': case(shaping.unlikeliness),
  'unlikeliness, strong': case(shaping.unlikeliness, beta=0.8),
  'majority_vote': case(shaping.majority_vote),
  'vote_share': case(shaping.vote_share),
  'self_certainty_reward': case(shaping.self_certainty_reward),
  'self_certainty_reward, mixed': case(shaping.self_certainty_reward, external=0.3),
  'entropy_reward': case(shaping.entropy_reward),
  'entropy_reward, mixed': case(shaping.entropy_reward, external=0.5),
}
