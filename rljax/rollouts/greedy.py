"""Samples of each prompt, and the reward of its greedy completion as their baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from rljax import hosts
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.rows import select
from rljax.rollouts.single_turn import Experience
from rljax.structs import PyTree


def greedy_baseline(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
) -> Experience:
  """Samples `generate.samples` completions of each prompt and scores them and a greedy one (ReMax).

  The greedy completion is one more sample of the same call of the sampler, so the others are those
  of `single_turn`. It is not learnt from; only its reward is handed on.

  Args:
    params: of the policy, on the device; may be futures of an update in flight.
    prompts: at most `generate.prompts`, tokenized.
    draw_ids: run-wide number of the draw of each prompt.
    generate: the sampler.
    score: completions → scores.
    policy_step: optimizer step of `params`.

  Returns:
    The samples with their scores; extras: `baseline_rewards` float32 [N], of the greedy completion
    of the sample's prompt (NaN = unscorable; 0 on unused rows).

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.greedy_baseline')
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    name = 'rollouts.greedy_baseline'

  Source: Li et al. 2024, arXiv 2310.10505 (ReMax), algorithm 1.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  size = generate.samples
  more = dataclasses.replace(generate, samples=size + 1)
  temperature = np.full((len(prompts), size + 1), generate.temperature, np.float32)
  temperature[:, size] = 0
  requests = more.requests(
    prompts, draw_ids, policy_step=policy_step, temperature=temperature.reshape(-1)
  )
  rollout, completions, extras, _ = more.sample(params, requests, prompts)
  both = Experience(rollout, completions, score(completions), extras)
  greedy = (np.arange(len(rollout.group_ids)) % (size + 1)) == size
  used = rollout.group_ids >= 0
  rewards = both.to_rows(both.scores.rewards)[greedy]  # of each prompt
  handed_on = select(both, np.flatnonzero(used & ~greedy), rollout.group_ids[~greedy])
  here = np.flatnonzero(used)[both.is_here]
  groups = handed_on.rollout.group_ids
  baseline = np.where(groups >= 0, rewards[np.maximum(groups, 0)], 0).astype(np.float32)
  scored = rewards[np.isfinite(rewards) & (rollout.group_ids[greedy] >= 0)]
  return dataclasses.replace(
    handed_on,
    extras={**handed_on.extras, 'baseline_rewards': baseline},
    metrics={
      'reward/baseline': float(scored.mean()) if len(scored) else float('nan'),
      'rollout/tokens': int(hosts.total(rollout.action_mask[here].sum(), 'metrics')),
      'rollout/samples': int(used.sum()),
    },
  )
