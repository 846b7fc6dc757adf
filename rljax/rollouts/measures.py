"""What an iteration's samples say: its metrics, rows of the samples table, signs of ill health."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from rljax import hosts
from rljax.rollouts.single_turn import Experience

MOST_LOST = 0.95  # of the completions; if more have no reward, the reward is wrong and not they


def experience_metrics(experience: Experience) -> dict[str, Any]:
  """reward/*, group/* and rollout/* of one iteration, over its used samples; {} without any.

  group/* are of all members, what is external too; the others of what the policy drew, if anything.
  """
  rollout, scores = experience.rollout, experience.scores
  used = rollout.group_ids >= 0
  if not used.any():
    return {}
  scored = np.isfinite(scores.rewards)
  rewards, groups = scores.rewards[scored], rollout.group_ids[used][scored]
  spread = [np.ptp(rewards[groups == g]) for g in np.unique(groups)]
  own = experience.is_own if experience.is_own.any() else np.ones(len(scored), bool)
  here = np.flatnonzero(used)[own & experience.is_here]
  sampled = hosts.total(rollout.action_mask[here].sum(), 'metrics')  # what is heard was not
  rewards, used = scores.rewards[scored & own], np.flatnonzero(used)[own]
  lengths = (rollout.num_tokens - rollout.prompt_length)[used]
  truncated = float(rollout.truncated[used].mean())
  stopped = lengths[~rollout.truncated[used]]
  metrics = {
    'reward/mean': float(rewards.mean()) if len(rewards) else float('nan'),
    'reward/std': float(rewards.std()) if len(rewards) else float('nan'),
    'reward/errors': scores.errors,
    'reward/timeouts': scores.timeouts,
    'group/zero_variance': float(np.mean(np.array(spread) <= 1e-6)) if spread else 1.0,
    'group/size': len(groups) / max(len(spread), 1),
    'rollout/samples': len(used),
    'rollout/tokens': int(sampled),
    'rollout/length_mean': float(lengths.mean()),
    'rollout/truncated': truncated,
    'rollout/eos_rate': 1.0 - truncated,
  }
  if len(stopped):
    metrics['rollout/length_stopped'] = float(stopped.mean())
  for name, values in scores.components.items():
    values = values[own]
    metrics[f'reward/{name}'] = float(np.nanmean(values)) if np.isfinite(values).any() else None
  return {k: v for k, v in metrics.items() if v is not None}


def prompt_means(experience: Experience) -> tuple[list[int], np.ndarray]:
  """(prompt_ids of the groups, mean reward of what the policy drew of each; NaN without any).

  Groups that the strategy did not hand on come last.
  """
  if experience.means is not None:
    known = [*experience.means, *experience.further_means]
    return [prompt_id for prompt_id, _ in known], np.array([mean for _, mean in known])
  groups = experience.rollout.group_ids[experience.rollout.group_ids >= 0]
  rewards, number = experience.scores.rewards, int(groups.max(initial=-1)) + 1
  scored = np.isfinite(rewards) & experience.is_own
  total = np.bincount(groups[scored], rewards[scored], minlength=number)
  count = np.bincount(groups[scored], minlength=number)
  means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
  prompt_ids = {int(g): c.prompt.prompt_id for g, c in zip(groups, experience.completions)}
  there = sorted(prompt_ids)
  further_ids = [prompt_id for prompt_id, _ in experience.further_means]
  further = [mean for _, mean in experience.further_means]
  return [prompt_ids[g] for g in there] + further_ids, np.append(means[there], further)


def table_rows(experience: Experience, most: int = 8) -> list[dict[str, Any]]:
  """The first samples of an iteration for the samples table.

  An answer that is text or a number stands beside them; test cases and other records do not.
  """
  scores = experience.scores
  external = ~experience.is_own
  rows = [
    {
      'prompt_id': c.prompt.prompt_id,
      'draw_id': c.draw_id,
      'sample_index': c.sample_index,
      'prompt': c.prompt.text,
      'completion': c.transcript or c.text,
      **_expected(c.prompt.answer),
      'truncated': c.truncated,
      'reward': float(reward),
      'components': {k: float(v[i]) for k, v in scores.components.items()},
      **({'external': bool(external[i])} if external.any() else {}),
    }
    for i, (c, reward) in enumerate(zip(experience.completions[:most], scores.rewards))
    if c.is_here
  ]
  if hosts.count() == 1:
    return rows
  parts = hosts.exchange({'rows': json.dumps(rows)}, 'the samples table')
  rows = [row for part in parts for row in json.loads(str(part['rows']))]
  return sorted(rows, key=lambda row: (row['draw_id'], row['sample_index']))


def _expected(answer: Any) -> dict[str, Any]:
  return {'answer': answer} if isinstance(answer, str | int | float) else {}


def _is_flat(metrics: dict[str, Any]) -> bool:
  """Whether no group, or where groups have one member the whole iteration, has any spread.

  What others have written may teach whatever its reward.
  """
  if metrics.get('rollout/external', 0):
    return False
  alone = metrics['group/size'] <= 1
  return metrics['reward/std'] == 0 if alone else metrics['group/zero_variance'] == 1


def is_hopeless(history: Sequence[dict[str, Any]]) -> str | None:
  """Why nothing can be learnt from these first iterations, or None.

  Args:
    history: metrics of the stage's first iterations.
  """
  if all(m['rollout/truncated'] == 1 for m in history):
    return (
      'every completion was truncated: no stop token was sampled. Raise max_new_tokens, or check '
      'that the model has learnt to end (an SFT stage, a chat template)'
    )
  lost = sum(m.get('reward/errors', 0) + m.get('reward/timeouts', 0) for m in history)
  drawn = sum(m.get('rollout/samples', 0) for m in history)
  if all(np.isnan(m['reward/mean']) for m in history) or lost > MOST_LOST * drawn > 0:
    how_many = f'{lost} of {drawn} completions' if lost < drawn else 'no completion'
    return (
      f'{how_many} could {"not " if lost < drawn else ""}be scored: the reward raised, timed out '
      'or returned no finite number (reward/errors, reward/timeouts)'
    )
  if all(_is_flat(m) for m in history):
    mean = history[-1]['reward/mean']
    return (
      f'all samples of every prompt have the same reward (mean {mean:.3g}), so the advantage is 0 '
      f'everywhere. Check the reward function on the samples, or start from a better policy'
    )
  return None
