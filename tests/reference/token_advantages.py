"""Advantages of tokens from the formulas: one sample after the other, one token after the other.

Each takes the batch and the list of its samples (see `batches.samples`) and gives [M, r, T].
"""

import itertools
import math

import numpy as np
from reference.batches import T


def _std(values, ddof):
  if len(values) <= ddof:
    return 0.0
  mean = sum(values) / len(values)
  return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - ddof))


def _equal(values):
  return max(values) - min(values) <= 1e-6 * max(1, max(abs(v) for v in values))


def _decisions(batch, sample, places):
  """[(place, reward), …] of the action tokens of a sample; none if its reward is not finite."""
  if not math.isfinite(batch['rewards'][sample]):
    return []
  found = []
  for place in places:
    if batch['action_mask'][place]:
      found.append([place, 0.0])
    if found:
      found[-1][1] += batch['token_rewards'][place]
  if found:
    found[-1][1] += batch['rewards'][sample]
  return found


def _on_tokens(batch, values):
  out = np.zeros(batch['action_mask'].shape)
  for place, value in values.items():
    out[place] = value
  return out


def _whitened(values, *, epsilon=1e-8, ddof=1, no_std=False):
  """dict place -> value."""
  everything = list(values.values())
  if _equal(everything):
    return dict.fromkeys(values, 0.0)
  mean = sum(everything) / len(everything)
  scale = 1.0 if no_std else math.sqrt(_std(everything, ddof) ** 2 + epsilon)
  return {place: (v - mean) / scale for place, v in values.items()}


def whiten(batch, samples, **hyper):
  del samples
  chosen = {tuple(p): batch['advantages'][tuple(p)] for p in np.argwhere(batch['action_mask'])}
  return _on_tokens(batch, _whitened(chosen, **hyper))


def gae(
  batch,
  samples,
  *,
  gamma=1.0,
  gae_lambda=0.95,
  critic_lambda=None,
  length_alpha=None,
  whiten=True,
  bootstrap_truncated=False,
):
  advantages, returns = {}, {}
  for sample, places in samples:
    decisions = _decisions(batch, sample, places)
    actor = gae_lambda
    if length_alpha is not None and decisions:
      actor = max(0.0, 1 - 1 / (length_alpha * len(decisions)))
    for into, decay in ((advantages, actor), (returns, critic_lambda)):
      decay = actor if decay is None else decay
      value, advantage = 0.0, 0.0
      for i, (place, reward) in reversed(list(enumerate(decisions))):
        here = batch['values'][place]
        if bootstrap_truncated and batch['truncated'][sample] and i == len(decisions) - 1:
          value = here
        delta = reward + gamma * value - here
        advantage = delta + gamma * decay * advantage
        value = here
        into[place] = advantage + (here if into is returns else 0)
  if whiten:
    advantages = _whitened(advantages)
  return _on_tokens(batch, advantages), _on_tokens(batch, returns)


def _to_go(batch, sample, places, gamma):
  found, total = {}, 0.0
  for place, reward in reversed(_decisions(batch, sample, places)):
    total = reward + gamma * total
    found[place] = total
  return dict(reversed(found.items()))


def reward_to_go(batch, samples, *, gamma=1.0):
  found = {}
  for sample, places in samples:
    found |= _to_go(batch, sample, places, gamma)
  return _on_tokens(batch, found)


def reinforce_pp(batch, samples, *, gamma=1.0, **hyper):
  found = {}
  for sample, places in samples:
    found |= _to_go(batch, sample, places, gamma)
  return _on_tokens(batch, _whitened(found, **hyper))


def remax(batch, samples):
  found = {}
  for sample, places in samples:
    baseline = batch['baseline_rewards'][sample]
    if math.isfinite(baseline):
      found |= {p: g - baseline for p, g in _to_go(batch, sample, places, 1.0).items()}
  return _on_tokens(batch, found)


def _group(batch, sample):
  """The samples of the group that have a reward, the sample among them."""
  group = batch['group_ids'][sample]
  same = np.flatnonzero(batch['group_ids'] == group)
  return [] if group < 0 else [j for j in same if math.isfinite(batch['rewards'][j])]


def reinforce_pp_baseline(batch, samples, *, keep_zero_variance=False, **hyper):
  found, dropped = {}, []
  for sample, places in samples:
    members = _group(batch, sample)
    if sample not in members:
      continue
    rewards = [batch['rewards'][j] for j in members]
    centred = batch['rewards'][sample] - sum(rewards) / len(rewards)
    for place, _ in _decisions(batch, sample, places):
      found[place] = 0.0 if _equal(rewards) else centred
      if _equal(rewards) and not keep_zero_variance:
        dropped.append(place)
  return _on_tokens(batch, _whitened(found, **hyper) | dict.fromkeys(dropped, 0.0))


def optimal_token_baseline(
  batch, samples, *, max_ratio=None, handle_zero_tail=False, epsilon=1e-8
):
  known, out = {}, {}
  for sample, places in samples:
    group = _group(batch, sample)
    if sample not in group:
      continue
    top = max(batch['rewards'][j] for j in group)  # taken off, and put back where A = G
    energy, path = 0.0, []
    for place, g in _to_go(batch, sample, places, 1.0).items():
      logprob = batch['old_logprobs'][place]
      term = max(1 - 2 * math.exp(logprob) + batch['old_sum_squares'][place], 0.0)
      if max_ratio is not None:
        term *= min(math.exp(logprob - batch['policy_logprobs'][place]), max_ratio) ** 2
      energy += term
      path.append((place, g - top, energy))
    known[sample] = top, path
  for sample, (top, path) in known.items():
    group = _group(batch, sample)
    paths = [known[j][1] for j in group if j in known]
    for t, (place, g, _) in enumerate(path):
      there = [other[t][1:] for other in paths if len(other) > t]
      if len(there) == 1:
        out[place] = g + top if handle_zero_tail and len(group) > 1 else 0.0
      else:
        out[place] = g - sum(g * w for g, w in there) / (sum(w for _, w in there) + epsilon)
  return _on_tokens(batch, out)


def _spans(batch, sample, places, name):
  """[([place, …], Σ reward), …]: the action tokens of each turn or step, in their order."""
  found = []
  for place, reward in _decisions(batch, sample, places):
    if not found or batch[name][found[-1][0][-1]] != batch[name][place]:
      found.append(([], 0.0))
    span, total = found[-1]
    found[-1] = ([*span, place], total + reward)
  return found


def _span_returns(batch, sample, places, name, gamma):
  found, total = [], 0.0
  for span, reward in reversed(_spans(batch, sample, places, name)):
    total = reward + gamma * total
    found.append((span, total))
  return found[::-1]


def _all_span_returns(batch, samples, name, gamma):
  found = {}
  for sample, places in samples:
    for span, total in _span_returns(batch, sample, places, name, gamma):
      found |= dict.fromkeys(span, total)
  return _on_tokens(batch, found)


def turn_returns(batch, samples, *, gamma=1.0):
  return _all_span_returns(batch, samples, 'turn_ids', gamma)


def step_returns(batch, samples, *, gamma=1.0):
  return _all_span_returns(batch, samples, 'step_ids', gamma)


def refined_step_returns(
  batch, samples, *, mode='clip+delta', eta=0.5, alpha=1.0, name='place'
):
  """`name` is the array of the steps; by default every token is one."""
  process = batch | {'place': np.broadcast_to(np.arange(T), batch['tokens'].shape)}
  process['rewards'] = np.where(np.isfinite(batch['rewards']), 0.0, np.nan)
  found = {}
  for sample, places in samples:
    spans = _spans(process, sample, places, name)
    scores = [p if mode == 'delta' else min(p - eta, 0) for _, p in spans]
    if mode != 'clip':
      scores = [p - after for p, after in zip(scores, [*scores[1:], 0.0])]
    for k, (span, _) in enumerate(spans):
      found |= dict.fromkeys(span, alpha * batch['rewards'][sample] + sum(scores[k:]))
  return _on_tokens(batch, found)


def _normalized(by_key, *, no_std=False, epsilon=1e-6, ddof=1):
  """{key: [(span, value), …]} -> {place: (value − mean)/(std + ε) among its key}."""
  out = {}
  for members in by_key.values():
    values = [v for _, v in members]
    mean = sum(values) / len(values)
    scale = 1.0 if no_std else _std(values, ddof) + epsilon
    for span, value in members:
      out |= dict.fromkeys(span, 0.0 if _equal(values) else (value - mean) / scale)
  return out


def gigpo(
  batch, samples, *, step_gamma=0.95, episode_weight=1.0, step_weight=1.0, **hyper
):
  episodes, states = {}, {}
  for sample, places in samples:
    if sample not in _group(batch, sample):
      continue
    group = batch['group_ids'][sample]
    decisions = _decisions(batch, sample, places)
    total = sum(r for _, r in decisions) if decisions else batch['rewards'][sample]
    episodes.setdefault(group, []).append(([p for p, _ in decisions], total))
    for span, value in _span_returns(batch, sample, places, 'turn_ids', step_gamma):
      state = batch['state_ids'][span[0]]
      if state >= 0:
        states.setdefault((group, state), []).append((span, value))
  episode = _on_tokens(batch, _normalized(episodes, **hyper))
  return episode_weight * episode + step_weight * _on_tokens(batch, _normalized(states, **hyper))


def step_reinforce(batch, samples, *, step_gamma=0.95, scope='group', **hyper):
  turns = {}
  for sample, places in samples:
    if sample in _group(batch, sample):
      key = batch['group_ids'][sample] if scope == 'group' else None
      turns.setdefault(key, [])
      turns[key] += _span_returns(batch, sample, places, 'turn_ids', step_gamma)
  return _on_tokens(batch, _normalized({k: v for k, v in turns.items() if v}, **hyper))


def turn_leave_one_out(batch, samples, *, gamma=1.0):
  turns, out = {}, {}
  for sample, places in samples:
    if sample in _group(batch, sample):
      for span, value in _span_returns(batch, sample, places, 'turn_ids', gamma):
        key = batch['group_ids'][sample], batch['turn_ids'][span[0]]
        turns.setdefault(key, []).append((span, value))
  for members in turns.values():
    for i, (span, value) in enumerate(members):
      others = [v for j, (_, v) in enumerate(members) if j != i]
      out |= dict.fromkeys(span, value - sum(others) / len(others) if others else 0.0)
  return _on_tokens(batch, out)


def state_value_differences(batch, samples, *, gamma=1.0):
  out = {}
  for sample, places in samples:
    steps = []
    for span, reward in _spans(batch, sample, places, 'step_ids'):
      value = batch['state_values'][span[0]]
      if steps and not math.isfinite(value):
        steps[-1] = (steps[-1][0] + span, steps[-1][1] + reward, steps[-1][2])
      else:
        steps.append((span, reward, value))
    if not steps or not math.isfinite(steps[0][2]):
      continue
    for k, (span, reward, value) in enumerate(steps):
      following = steps[k + 1][2] if k + 1 < len(steps) else 0.0
      out |= dict.fromkeys(span, reward + gamma * following - value)
  return _on_tokens(batch, out)


def low_probability_cuts(batch, samples, *, max_probability=0.9, cuts_per_step=5):
  out = np.full(batch['action_mask'].shape, -1)
  for _, places in samples:
    seen = 0
    for place in places:
      if batch['action_mask'][place]:
        out[place] = seen // cuts_per_step
        seen += math.exp(batch['policy_logprobs'][place]) < max_probability
  return out


def implicit_process_rewards(batch, samples, *, beta=0.05, gamma=1.0):
  process = {}
  for sample, places in samples:
    if sample in _group(batch, sample):
      actions = [p for p, _ in _decisions(batch, sample, places)]
      prm, ref = batch['prm_logprobs'], batch['ref_logprobs']
      process[sample] = {p: beta * (prm[p] - ref[p]) for p in actions}
  mean = {j: sum(r.values()) / len(r) for j, r in process.items() if r}
  out = {}
  for sample, rewards in process.items():
    others = [j for j in _group(batch, sample) if j != sample]
    outcomes = [batch['rewards'][j] for j in [*others, sample]]
    outcome = 0.0
    if not _equal(outcomes):
      outcome = batch['rewards'][sample] - sum(outcomes[:-1]) / len(others)
    scored, total = [mean[j] for j in others if j in mean], 0.0
    for place, reward in reversed(rewards.items()):
      if scored:
        total = reward - sum(scored) / len(scored) + gamma * total
      out[place] = total + outcome
  return _on_tokens(batch, out)


def _shaped(batch, function):
  """function(A, place) at action tokens."""
  places = map(tuple, np.argwhere(batch['action_mask']))
  return _on_tokens(batch, {p: function(batch['advantages'][p], p) for p in places})


def teacher_advantage(batch, samples, *, gamma=0.0):
  found = {}
  for _, places in samples:
    total = 0.0
    for place in reversed([p for p in places if batch['action_mask'][p]]):
      gap = batch['teacher_logprobs'][place] - batch['old_logprobs'][place]
      found[place] = total = gap + gamma * total
  return _on_tokens(batch, found)


def clip_advantages(batch, samples, *, low=None, high=None):
  del samples
  low, high = -math.inf if low is None else low, math.inf if high is None else high
  return _shaped(batch, lambda a, p: min(max(a, low), high))


def entropy_shaped(batch, samples, *, alpha=0.4, kappa=2.0):
  del samples
  return _shaped(batch, lambda a, p: a + min(alpha * batch['old_entropy'][p], abs(a) / kappa))


def difficulty_scaled(batch, samples, *, strength=1.0, threshold=0.5):
  rewards, groups = batch['rewards'], batch['group_ids']
  scored = [i for i, r in enumerate(rewards) if groups[i] >= 0 and math.isfinite(r)]
  failed = {}
  for group in {groups[i] for i in scored}:
    failed[group] = np.mean([rewards[i] < threshold for i in scored if groups[i] == group])
  mean = np.mean([failed[groups[i]] for i in scored])
  found = {}
  for sample, places in samples:
    if sample not in scored:
      continue
    factor = 1 - strength + strength * failed[groups[sample]] / mean
    for place in places:
      if batch['action_mask'][place]:
        found[place] = batch['advantages'][place] * factor
  return _on_tokens(batch, found)


def distillation_penalty(batch, samples, *, coef=1.0):
  del samples
  old, teacher = batch['old_logprobs'], batch['teacher_logprobs']
  return _shaped(batch, lambda a, p: a - coef * (old[p] - teacher[p]))


def entropy_gate(batch, samples, *, low=0.1, high=0.3):
  """With the state shut."""
  del samples
  places = [tuple(p) for p in np.argwhere(batch['action_mask'])]
  mean = sum(batch['entropy'][p] for p in places) / len(places)
  shut = mean > low
  own = {p: batch['advantages'][p] for p in places}
  return _on_tokens(batch, {p: max(a, 0) if shut else a for p, a in own.items()})


def stage_normalize(batch, samples, *, downstream=1.0, epsilon=1e-6, ddof=1):
  returns, own = {}, {}
  for sample, places in samples:
    decided = _decisions(batch, sample, places) if batch['group_ids'][sample] >= 0 else []
    value, before = 0.0, None
    for place, reward in reversed(decided):
      stage = batch['step_ids'][place]
      value = reward + (value if stage == before else downstream * value)
      before = stage
      own[tuple(place)] = key = (batch['group_ids'][sample], stage, sample)
      returns[key] = value
  result = {}
  for key in returns:
    peers = [v for other, v in returns.items() if other[:2] == key[:2]]
    mean = sum(peers) / len(peers)
    result[key] = 0 if _equal(peers) else (returns[key] - mean) / (_std(peers, ddof) + epsilon)
  return _on_tokens(batch, {place: result[key] for place, key in own.items()})


def _effective_rank(states):
  singular = np.linalg.svd(np.array(states), compute_uv=False)
  share = singular[singular > 1e-9] / singular.sum()
  return math.exp(-sum(p * math.log(p) for p in share))


def hidden_rank(batch, samples, *, stride, kappa=2.0):
  found, tokens = [], []
  for _, places in samples:
    actions = [p for p in places if batch['action_mask'][p]]
    if actions:
      states = [batch['old_hidden'][p] for p in actions[::stride]]
      ranks = [_effective_rank(states[: j + 1]) for j in range(len(states))]
      change = [r - sum(ranks[:j]) / j for j, r in enumerate(ranks) if j]
      turns = [b - a for a, b in itertools.pairwise(change)]
      found.append([ranks[-1], *(sum(x) / len(x) if x else 0.0 for x in (change, turns))])
      tokens.append(actions)
  rank, velocity, acceleration = np.array(found).T
  mix = 1 / (1 + np.exp(-acceleration))
  z = [np.tanh((x - x.mean()) / x.std()) for x in (rank, velocity)]
  out = {}
  for bonus, actions in zip(mix * z[0] + (1 - mix) * z[1], tokens):
    for p in actions:
      a = batch['advantages'][p]
      out[p] = a + min(max(bonus, 0), abs(a) / kappa)
  return _on_tokens(batch, out)


def step_potential(batch, samples, *, alpha=1.0, beta=0.1):
  del samples
  out = {}
  for place in map(tuple, np.argwhere(batch['action_mask'])):
    out[place] = batch['advantages'][place] + alpha * batch['potential_gains'][place]
    out[place] -= beta if batch['idle_steps'][place] else 0
  return _on_tokens(batch, out)
