"""Shaped rewards from the formulas: one sample after the other."""

import math

import numpy as np


def _alone(rewards, one):
  """`one` of each sample whose reward is finite."""
  return np.array([one(i) if math.isfinite(r) else r for i, r in enumerate(rewards)])


def _in_groups(rewards, group_ids, one):
  """`one` of (sample, places of its group) for each used sample whose reward is finite."""
  out = np.array(rewards, float)
  scored = [i for i, r in enumerate(rewards) if math.isfinite(r) and group_ids[i] >= 0]
  for i in scored:
    out[i] = one(i, [j for j in scored if group_ids[j] == group_ids[i]])
  return out


def _actions(i, action_mask, segment_ids, sample_ids, sample_slots):
  """Places of the action tokens of sample i in order, [] where it is not in the batch."""
  if sample_slots[i] < 0:
    return []
  *row, segment = np.unravel_index(sample_slots[i], sample_ids.shape)
  slots = np.flatnonzero(segment_ids[tuple(row)] == segment)
  return [(*row, t) for t in slots if action_mask[(*row, t)]]


def clip_reward(rewards, *, low=-10.0, high=10.0):
  return _alone(rewards, lambda i: min(max(rewards[i], low), high))


def model_score(rewards, reward_scores, *, weight=1.0, rule=0.0, shift=0.0, scale=1.0):
  return _alone(
    rewards, lambda i: rule * rewards[i] + weight * (reward_scores[i] - shift) / scale
  )


def scale_reward(rewards, *, bias=0.0, scale=1.0):
  return _alone(rewards, lambda i: (rewards[i] + bias) * scale)


def overlong_penalty(
  rewards, completion_length, *, max_length=20480.0, buffer=4096.0, factor=1.0, cap=True
):
  def one(i):
    penalty = min(0, -(completion_length[i] - (max_length - buffer)) / buffer) * factor
    return rewards[i] + (max(penalty, -factor) if cap else penalty)

  return _alone(rewards, one)


def stop_properly(rewards, truncated, *, coefficient=0.0):
  def one(i):
    if not truncated[i]:
      return rewards[i]
    return coefficient if coefficient < 0 else coefficient * rewards[i]

  return _alone(rewards, one)


def no_eos_zero(rewards, truncated):
  return _alone(rewards, lambda i: 0.0 if truncated[i] else rewards[i])


def difficulty_limit(
  rewards,
  group_ids,
  completion_length,
  *,
  easy_length=1000.0,
  hard_length=2000.0,
  threshold=0.5,
):
  def one(i, group):
    rate = sum(rewards[j] >= threshold for j in group) / len(group)
    limit = rate * easy_length + (1 - rate) * hard_length
    return 0.0 if completion_length[i] > limit else rewards[i]

  return _in_groups(rewards, group_ids, one)


def lcpo_exact(rewards, completion_length, target_length=None, *, target=1000.0, alpha=3e-4):
  def one(i):
    wanted = target if target_length is None else target_length[i]
    return rewards[i] - alpha * abs(wanted - completion_length[i])

  return _alone(rewards, one)


def lcpo_max(
  rewards, completion_length, target_length=None, *, target=1000.0, alpha=3e-4, delta=0.5
):
  def one(i):
    wanted = target if target_length is None else target_length[i]
    return rewards[i] * min(max(alpha * (wanted - completion_length[i]) + delta, 0), 1)

  return _alone(rewards, one)


def kimi_length(rewards, group_ids, completion_length, *, weight=1.0, threshold=0.5):
  def one(i, group):
    lengths = [completion_length[j] for j in group]
    if min(lengths) == max(lengths):
      return rewards[i]
    score = 0.5 - (completion_length[i] - min(lengths)) / (max(lengths) - min(lengths))
    return rewards[i] + weight * (score if rewards[i] >= threshold else min(0, score))

  return _in_groups(rewards, group_ids, one)


def alp(rewards, group_ids, completion_length, *, beta=1e-7, threshold=0.5):
  def one(i, group):
    rate = sum(rewards[j] >= threshold for j in group) / len(group)
    return rewards[i] - beta * completion_length[i] * max(rate, 1 / len(group))

  return _in_groups(rewards, group_ids, one)


def shorter_better(
  rewards, group_ids, completion_length, *, alpha=2.0, beta=1e-3, threshold=0.5
):
  def one(i, group):
    right = [completion_length[j] for j in group if rewards[j] >= threshold]
    best = min(right) if right else np.mean([completion_length[j] for j in group])
    return alpha * rewards[i] - beta * abs(completion_length[i] - best)

  return _in_groups(rewards, group_ids, one)


def cosine_length(
  rewards,
  completion_length,
  *,
  max_length=1000.0,
  right_short=1.0,
  right_long=0.5,
  wrong_short=-1.0,
  wrong_long=-0.5,
  threshold=0.5,
):
  def one(i):
    right = rewards[i] >= threshold
    low, high = (right_long, right_short) if right else (wrong_long, wrong_short)
    angle = math.pi * min(completion_length[i] / max_length, 1)
    return low + 0.5 * (high - low) * (1 + math.cos(angle))

  return _alone(rewards, one)


def step_bonus(
  rewards, completion_length, *, target=1000.0, alpha=0.5, explore=0.0, threshold=0.5
):
  def one(i):
    if rewards[i] >= threshold:
      return rewards[i] + (alpha if completion_length[i] <= target else 0)
    return rewards[i] + (explore if completion_length[i] > target else 0)

  return _alone(rewards, one)


def repetition_penalty(
  rewards,
  tokens,
  action_mask,
  segment_ids,
  sample_ids,
  sample_slots,
  *,
  n=3,
  max_penalty=-1.0,
):
  def one(i):
    places = _actions(i, action_mask, segment_ids, sample_ids, sample_slots)
    grams = []
    for start in range(len(places) - n + 1):
      chosen = places[start : start + n]
      if chosen[-1][-1] - chosen[0][-1] == n - 1:  # nothing masked between them
        grams.append(tuple(int(tokens[p]) for p in chosen))
    return rewards[i] + (max_penalty * (1 - len(set(grams)) / len(grams)) if grams else 0)

  return _alone(rewards, one)


def loop_penalty(
  rewards,
  tokens,
  action_mask,
  segment_ids,
  sample_ids,
  sample_slots,
  *,
  coefficient=0.5,
  max_period=32,
  repeats=3,
  min_length=16,
):
  def loops(said):
    """Whether the end of a text is one pattern, again and again."""
    for period in range(1, max_period + 1):
      length = max(repeats * period, min_length)
      tail = said[-length:]
      if len(tail) == length and all(a == b for a, b in zip(tail, tail[period:])):
        return True
    return False

  def one(i):
    places = _actions(i, action_mask, segment_ids, sample_ids, sample_slots)
    said = []
    for number, place in enumerate(places):
      if said and place[-1] != places[number - 1][-1] + 1:
        said = []  # something masked stands between them
      said.append(int(tokens[place]))
      if loops(said):
        return rewards[i] - coefficient * (len(places) - number) / len(places)
    return rewards[i]

  return _alone(rewards, one)


def unlikeliness(rewards, group_ids, sequence_policy_logprobs, *, beta=0.25):
  def one(i, group):
    likelier = [j for j in group if sequence_policy_logprobs[j] > sequence_policy_logprobs[i]]
    factor = 1 - beta * (len(group) - len(likelier)) / len(group)
    return rewards[i] * factor if rewards[i] > 0 else rewards[i]

  return _in_groups(rewards, group_ids, one)


def majority_vote(rewards, group_ids, answer_ids):
  def one(i, group):
    answers = [int(answer_ids[j]) for j in group if answer_ids[j] >= 0]
    if not answers:
      return 0.0
    winner = max(sorted(set(answers)), key=answers.count)
    return float(answer_ids[i] == winner)

  return _in_groups(rewards, group_ids, one)


def vote_share(rewards, group_ids, answer_ids):
  def one(i, group):
    same = sum(answer_ids[j] == answer_ids[i] for j in group)
    return same / len(group) if answer_ids[i] >= 0 else 0.0

  return _in_groups(rewards, group_ids, one)


def self_certainty_reward(
  rewards, old_self_certainty, action_mask, segment_ids, sample_ids, sample_slots, *, external=0.0
):
  def one(i):
    places = _actions(i, action_mask, segment_ids, sample_ids, sample_slots)
    mean = np.mean([old_self_certainty[p] for p in places]) if places else 0.0
    return external * rewards[i] + mean

  return _alone(rewards, one)


def entropy_reward(
  rewards, entropy, action_mask, segment_ids, sample_ids, sample_slots, *, external=0.0
):
  maps = (action_mask, segment_ids, sample_ids, sample_slots)
  return self_certainty_reward(rewards, -entropy, *maps, external=external)


def running_normalize(rewards, group_ids, *, state, center=True, epsilon=1e-6):
  """`state` is the list of all rewards before; returns (rewards, the list after)."""
  here = [r for r, g in zip(rewards, group_ids, strict=True) if g >= 0 and math.isfinite(r)]
  seen = [*state, *here]
  mean, sigma = np.mean(seen), np.std(seen)

  def one(i, _):
    return (rewards[i] - (mean if center else 0)) / (sigma + epsilon)

  return _in_groups(rewards, group_ids, one), seen


def adaptive_targets(
  rewards, group_ids, completion_length, *, max_length, needed=1.0, easy=0.667, hard=0.333
):
  """Targets of easy, medium and hard groups, None where there is no such group."""
  levels = [[], [], []]
  for group in sorted({int(g) for g, r in zip(group_ids, rewards) if g >= 0 and np.isfinite(r)}):
    members = [i for i, g in enumerate(group_ids) if g == group and math.isfinite(rewards[i])]
    right = [completion_length[i] for i in members if rewards[i] >= 0.5]
    rate = len(right) / len(members)
    levels[0 if rate >= easy else 2 if rate < hard else 1].append(right)

  def target(level):
    for length in sorted({x for right in level for x in right}):
      if np.mean([sum(x <= length for x in right) for right in level]) >= needed:
        return min(length, max_length)
    return max_length

  return [target(level) if level else None for level in levels]
