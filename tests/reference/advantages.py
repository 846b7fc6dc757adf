"""Advantages from the formulas: loops over samples and tokens."""

import itertools
import math

import jax
import numpy as np


def _members(rewards, group_ids, i):
  return [
    float(r)
    for r, g in zip(rewards, group_ids, strict=True)
    if g == group_ids[i] and math.isfinite(r)
  ]


def _std(values, ddof):
  if len(values) <= ddof:
    return 0.0
  mean = sum(values) / len(values)
  return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - ddof))


def _constant(values):
  return max(values) - min(values) <= 1e-6 * max(1, max(abs(v) for v in values))


def group_normalize(rewards, group_ids, *, center='group', scale='group', epsilon=1e-6, ddof=1):
  everything = [float(r) for r, g in zip(rewards, group_ids, strict=True) if g >= 0]
  everything = [r for r in everything if math.isfinite(r)]
  out = np.zeros(len(rewards))
  for i, (reward, group) in enumerate(zip(rewards, group_ids, strict=True)):
    if group < 0 or not math.isfinite(reward):
      continue
    scopes = {'group': _members(rewards, group_ids, i), 'batch': everything}
    if any(_constant(scopes[s]) for s in {center, scale} - {'none'}):
      continue
    mean = 0.0 if center == 'none' else sum(scopes[center]) / len(scopes[center])
    std = 1.0 if scale == 'none' else _std(scopes[scale], ddof) + epsilon
    out[i] = (reward - mean) / std
  return out


def exponential_weights(rewards, group_ids, *, temperature=1.0, max_weight=20.0):
  used = [i for i, g in enumerate(group_ids) if g >= 0 and math.isfinite(rewards[i])]
  mean = sum(rewards[i] for i in used) / max(len(used), 1)
  out = np.zeros(len(rewards))
  for i in used:
    out[i] = min(math.exp((rewards[i] - mean) / temperature), max_weight)
  return out


def leave_one_out(rewards, group_ids):
  out = np.zeros(len(rewards))
  for i, (reward, group) in enumerate(zip(rewards, group_ids, strict=True)):
    if group < 0 or not math.isfinite(reward):
      continue
    members = _members(rewards, group_ids, i)
    if not _constant(members):
      out[i] = reward - (sum(members) - reward) / (len(members) - 1)
  return out


def own_baseline(rewards, group_ids, is_external):
  out = np.zeros(len(rewards))
  for i, (reward, group) in enumerate(zip(rewards, group_ids, strict=True)):
    if group < 0 or not math.isfinite(reward) or _constant(_members(rewards, group_ids, i)):
      continue
    own = [j for j in np.flatnonzero(group_ids == group) if j != i and not is_external[j]]
    own = [rewards[j] for j in own if math.isfinite(rewards[j])]
    if own:
      out[i] = reward - sum(own) / len(own)
  return out


def _groups(rewards, group_ids):
  """[places of the scored samples] of each group."""
  groups = {}
  for i, (reward, group) in enumerate(zip(rewards, group_ids, strict=True)):
    if group >= 0 and math.isfinite(reward):
      groups.setdefault(int(group), []).append(i)
  return list(groups.values())


def _by_group(rewards, group_ids, one):
  """`one` of the places of each group that has a signal -> their advantages."""
  out = np.zeros(len(rewards))
  for places in _groups(rewards, group_ids):
    if not _constant([rewards[i] for i in places]):
      out[places] = one(places)
  return out


def _mean(values):
  return sum(values) / len(values)


def length_weighted_baseline(rewards, group_ids, completion_length):
  def one(places):
    weighted = sum(completion_length[i] * rewards[i] for i in places)
    baseline = weighted / sum(completion_length[i] for i in places)
    return [rewards[i] - baseline for i in places]

  return _by_group(rewards, group_ids, one)


def gpg(rewards, group_ids, *, alpha='groups', f_norm=1.0):
  groups = _groups(rewards, group_ids)
  everything = [rewards[i] for places in groups for i in places]
  if alpha == 'groups':
    signal = sum(len(p) for p in groups if not _constant([rewards[i] for i in p]))
  else:
    signal = sum(r != 0 for r in everything)
  centred = group_normalize(rewards, group_ids, scale='none')
  return centred * (len(everything) / max(signal, 1)) / f_norm


def multi_reward(
  rewards, group_ids, reward_components, *, weights=None, whiten=True, epsilon=1e-6
):
  chosen = dict(weights) if weights is not None else {name: 1.0 for name in reward_components}
  scored = [i for places in _groups(rewards, group_ids) for i in places]
  groups = np.full(len(group_ids), -1)
  groups[scored] = np.asarray(group_ids)[scored]
  total, keep = np.zeros(len(groups)), np.zeros(len(groups), bool)
  for name, weight in chosen.items():
    component = np.asarray(reward_components[name])
    total = total + weight * group_normalize(component, groups, epsilon=epsilon)
    for places in _groups(component, groups):
      keep[places] |= not _constant([component[i] for i in places])
  if whiten:
    values = [total[i] for i in scored]
    total = (total - _mean(values)) / (_std(values, 1) + epsilon)
  return np.where(keep, total, 0)


def best_of(rewards, group_ids, *, scale='none', epsilon=1e-6):
  def one(places):
    values = [float(rewards[i]) for i in places]
    first, second = sorted(values, reverse=True)[:2]
    won = (first - second) / (_std(values, 1) + epsilon if scale == 'group' else 1)
    return [won if v == first else 0 for v in values]

  return _by_group(rewards, group_ids, one)


def _max_of_sets(values, own, k):
  """Mean over the sets of k places with `own` among them of the largest value."""
  others = [j for j in range(len(values)) if j != own]
  sets = itertools.combinations(others, k - 1)
  return _mean([max(values[j] for j in (own, *chosen)) for chosen in sets])


def _max_of_others(values, own, k):
  others = [v for j, v in enumerate(values) if j != own]
  return _mean([max(chosen) for chosen in itertools.combinations(others, k)])


def pkpo(rewards, group_ids, *, k=4, baseline='loo_minus_one'):
  out = np.zeros(len(rewards))
  for places in _groups(rewards, group_ids):
    values = [float(rewards[i]) for i in places]
    size = len(values)
    if baseline != 'none' and _constant(values):
      continue
    rule = 'loo' if k == 1 and baseline == 'loo_minus_one' else baseline
    drawn = min(k, size - 1 if rule == 'loo' else size)
    for own, i in enumerate(places):
      less = 0.0
      if rule != 'none':
        less = _max_of_others(values, own, drawn if rule == 'loo' else drawn - 1)
      out[i] = drawn * (_max_of_sets(values, own, drawn) - less)
  return out


def pass_at_k(rewards, group_ids, *, k=4, threshold=0.5, scale='group'):
  def one(places):
    right = [rewards[i] >= threshold for i in places]
    size, wrong = len(places), right.count(False)
    if size <= k:
      return [0.0] * size
    rho = 1 - math.comb(wrong, k) / math.comb(size, k)
    sigma = math.sqrt(rho * (1 - rho)) if scale == 'group' else 1
    if sigma == 0:
      return [0.0] * size
    failed = math.comb(wrong - 1, k - 1) / math.comb(size - 1, k - 1) if wrong else 0
    return [(1 - rho) / sigma if r else (1 - rho - failed) / sigma for r in right]

  return _by_group(rewards, group_ids, one)


def max_rl(rewards, group_ids, *, all_wrong=0.0):
  out = np.zeros(len(rewards))
  for places in _groups(rewards, group_ids):
    mean = _mean([rewards[i] for i in places])
    for i in places:
      out[i] = (rewards[i] - mean) / mean if mean > 0 else all_wrong
  return out


def quantile_baseline(rewards, group_ids, *, quantile=0.4, scale='group', epsilon=1e-6):
  def one(places):
    values = [float(rewards[i]) for i in places]
    enough = [v for v in values if sum(w <= v for w in values) >= quantile * len(values) - 1e-9]
    sigma = _std(values, 1) + epsilon if scale == 'group' else 1
    return [(v - min(enough)) / sigma for v in values]

  return _by_group(rewards, group_ids, one)


def role_baseline(rewards, group_ids, role_ids, *, state, num_roles=2, decay=0.95):
  """Advantages and the next baselines."""
  out, new = np.zeros(len(rewards)), np.array(state, float)
  scored = [i for places in _groups(rewards, group_ids) for i in places]
  for role in range(num_roles):
    members = [i for i in scored if role_ids[i] == role]
    for i in members:
      out[i] = rewards[i] - state[role]
    if members:
      kept = decay ** len(members)
      new[role] = kept * state[role] + (1 - kept) * _mean([rewards[i] for i in members])
  return out, new


def hierarchical(rewards, group_ids, role_ids, episode_ids, *, episode_roles=(1,)):
  out = np.zeros(len(rewards))
  for places in _groups(rewards, group_ids):
    for i in places:
      peers = [j for j in places if role_ids[j] == role_ids[i]]
      if role_ids[i] in episode_roles:
        peers = [j for j in peers if episode_ids[j] == episode_ids[i]]
      values = [rewards[j] for j in peers]
      out[i] = 0 if _constant(values) else rewards[i] - _mean(values)
  return out


def length_penalized(
  rewards,
  group_ids,
  completion_length,
  num_tokens,
  num_turns=None,
  *,
  output_weight=0.25,
  input_weight=0.1,
  turns_weight=0.1,
):
  terms = [
    (output_weight, np.asarray(completion_length)),
    (input_weight, np.asarray(num_tokens) - np.asarray(completion_length)),
  ]
  if num_turns is not None:
    terms.append((turns_weight, np.asarray(num_turns)))
  out = np.zeros(len(rewards))
  for places in _groups(rewards, group_ids):
    mean = _mean([rewards[i] for i in places])
    shaped = {}
    for i in places:
      penalty = sum(w * x[i] / max(1, max(x[j] for j in places)) for w, x in terms)
      shaped[i] = rewards[i] - mean * penalty
    for i in places:
      out[i] = shaped[i] - _mean(list(shaped.values()))
  return out


def _each(rewards, group_ids, one):
  """`one` of each scored sample alone."""
  out = np.zeros(len(rewards))
  for places in _groups(rewards, group_ids):
    out[places] = [one(i) for i in places]
  return out


def greedy_baseline(rewards, group_ids, baseline_rewards):
  def one(i):
    return rewards[i] - baseline_rewards[i] if math.isfinite(baseline_rewards[i]) else 0

  return _each(rewards, group_ids, one)


def asymmetric_baseline(rewards, group_ids, *, delta_v=-0.1):
  out = np.zeros(len(rewards))
  for places in _groups(rewards, group_ids):
    mean = _mean([rewards[i] for i in places])
    out[places] = [rewards[i] - (mean + delta_v) for i in places]
  return out


def optimal_value(rewards, group_ids, optimal_values=None, *, beta=0.5):
  if optimal_values is not None:
    return greedy_baseline(rewards, group_ids, optimal_values)

  def one(places):
    value = beta * math.log(_mean([math.exp(rewards[i] / beta) for i in places]))
    return [rewards[i] - value for i in places]

  return _by_group(rewards, group_ids, one)


def positive_only(rewards, group_ids, *, threshold=0.5):
  return _each(rewards, group_ids, lambda i: float(rewards[i] >= threshold))


def signs(rewards, group_ids, *, positive=0.1, negative=1.0, threshold=0.5):
  return _each(
    rewards, group_ids, lambda i: positive if rewards[i] >= threshold else -negative
  )


def single_stream(
  rewards,
  group_ids,
  prompt_ids,
  *,
  state,
  num_prompts,
  rho=0.9,
  normalize=True,
  epsilon=1e-6,
):
  """Advantages and the next counts."""
  scored = [i for places in _groups(rewards, group_ids) for i in places]
  scored = [i for i in scored if 0 <= prompt_ids[i] < num_prompts]
  right, wrong = (np.array(state[name], float) for name in ('right', 'wrong'))
  out = np.zeros(len(rewards))
  for i in scored:
    prompt = prompt_ids[i]
    out[i] = rewards[i] - right[prompt] / (right[prompt] + wrong[prompt])
  if normalize:
    values = [out[i] for i in scored]
    for i in scored:
      out[i] = (out[i] - _mean(values)) / (_std(values, 1) + epsilon)
  for prompt in {prompt_ids[i] for i in scored}:
    shares = [min(max(rewards[i], 0), 1) for i in scored if prompt_ids[i] == prompt]
    right[prompt] = rho * right[prompt] + sum(shares)
    wrong[prompt] = rho * wrong[prompt] + sum(1 - s for s in shares)
  return out, {'right': right, 'wrong': wrong}


def bootstrapped_reference(rewards, group_ids, *, key, max_share=0.9):
  drawn = np.asarray(jax.random.uniform(key, rewards.shape, np.float32))

  def one(places):
    reference = max(places, key=lambda i: drawn[i])
    found = [np.sign(rewards[i] - rewards[reference]) for i in places]
    return [0 if abs(sum(found)) > max_share * (len(places) - 1) else x for x in found]

  return _by_group(rewards, group_ids, one)


def _source(reward_components, sources, i):
  """Place of the first source of which the sample has a component, or −1."""
  finite = [k for k, name in enumerate(sources) if math.isfinite(reward_components[name][i])]
  return finite[0] if finite else -1


def source_normalize(rewards, group_ids, reward_components, *, sources, epsilon=1e-6):
  out, used = np.zeros(len(rewards)), np.flatnonzero(np.isfinite(rewards) & (group_ids >= 0))
  own = {i: _source(reward_components, sources, i) for i in used}
  for i in used:
    members = _members(rewards, group_ids, i)
    peers = [float(rewards[j]) for j in used if own[j] == own[i]]
    if not (_constant(members) or _constant(peers)):
      out[i] = (rewards[i] - sum(members) / len(members)) / (_std(peers, 1) + epsilon)
  return out


def source_weighted(
  rewards, group_ids, reward_components, state, *, sources, window, temperature=1.0
):
  used = np.flatnonzero(np.isfinite(rewards) & (group_ids >= 0))
  history, scores = {name: x[1:].tolist() for name, x in state.items()}, {}
  for name in history:
    history[name].append([0.0] * len(sources))
  for k in range(len(sources)):
    here = [float(rewards[i]) for i in used if _source(reward_components, sources, i) == k]
    if here:
      history['count'][-1][k], history['mean'][-1][k] = len(here), sum(here) / len(here)
      history['squares'][-1][k] = _std(here, 0) ** 2 * len(here)
    rows = [[history[n][t][k] for n in ('count', 'mean', 'squares')] for t in range(window)]
    if not any(n for n, _, _ in rows):
      continue
    whole = _mean_of(rows)
    total = sum(n for n, _, _ in rows)
    std = math.sqrt(sum(q + n * (m - whole) ** 2 for n, m, q in rows) / total)
    earlier, recent = _mean_of(rows[: window // 2]), _mean_of(rows[window // 2 :])
    instability = 0.0 if std == 0 else min(std / whole, 3.0) if whole > 0 else 3.0
    convergence = min(recent / earlier, 3.0) if earlier and recent is not None else 1.0
    scores[k] = math.exp((instability - convergence) / temperature)
  weights = {k: len(scores) * s / sum(scores.values()) for k, s in scores.items()}
  factor = [weights.get(_source(reward_components, sources, i), 1) for i in range(len(rewards))]
  return np.array(factor) * group_normalize(rewards, group_ids), history


def _mean_of(rows):
  """Mean reward of some iterations; None where nothing was scored."""
  total = sum(n for n, _, _ in rows)
  return sum(n * m for n, m, _ in rows) / total if total else None
