"""Failures are paid for how near they came to what succeeded."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from rljax.rewards import embeddings, nesting, similarity
from rljax.rewards.nesting import Reward

POOLS = ('group', 'batch')


def progress(
  *,
  reward: Reward,
  threshold: float = 0.5,
  pool: str = 'batch',
  radius: float = 0.0,
  scale: float = 1.0,
  embed: embeddings.Embed | None = None,
  **fields: Any,
) -> list[Any]:
  """1 for successes; scale·σ(−z) for failures, z their standardised distance to the successes.

  The distance of a failure is that to the nearest cluster of successes in its pool: 1 − cosine of
  the vectors, or without `embed` 1 − `similarity.edit_ratio` of the token ids. Clusters are made in
  order: a success within the radius of the first member of one belongs to it, else it begins
  another. z is over all failures of the batch that have a success to compare with (σ(0) = ½ where
  they are equally far); those that have none get 0.

  Args:
    reward: of success and failure.
    threshold: from here on a success, in units of the reward.
    pool: whose successes count: those of the sample's 'group' or of the whole 'batch'.
    radius: of a cluster, in units of the distance; 0 = equal ones.
    scale: largest reward of a failure.
    embed: `embed(texts) -> vectors`, such as an encoder of this process.
    fields: of the batch.

  Returns:
    For each 'reward', the components of the other one, 'success' (0 or 1), and of failures with
    something to compare with 'distance'. Samples that the other reward fails on have none.

  Raises:
    ValueError: another pool, a negative radius, or vectors that do not fit.

  Source: SRPO: Self-Referential Policy Optimization for Vision-Language-Action Models (2025).
  Differs from the source: completions and their distances stand for trajectories in the latent
    space of a world model; clusters by the radius of their first member; formula not confirmed
    against the paper.
  """
  _check_progress(pool, radius)
  outcomes = nesting.nested(reward, 'reward').many(fields)
  distance = _distances(fields, embed)
  keys = fields['groups'] if pool == 'group' else [0] * len(outcomes)
  centres: dict[int, list[int]] = {}
  for i, outcome in enumerate(outcomes):
    if not outcome.message and outcome.reward >= threshold:
      own = centres.setdefault(keys[i], [])
      if all(distance(i, centre) > radius for centre in own):
        own.append(i)
  nearest = {
    i: min(distance(i, centre) for centre in centres[keys[i]])
    for i, outcome in enumerate(outcomes)
    if not outcome.message and outcome.reward < threshold and keys[i] in centres
  }
  mean = statistics.fmean(nearest.values()) if nearest else 0.0
  deviation = statistics.pstdev(nearest.values()) if nearest else 0.0
  found: list[Any] = []
  for i, outcome in enumerate(outcomes):
    if outcome.message:
      found.append(nesting.RewardError(f'reward: {outcome.message}'))
      continue
    success = outcome.reward >= threshold
    part = {**outcome.components, 'reward': float(success), 'success': float(success)}
    if i in nearest:
      z = (nearest[i] - mean) / deviation if deviation > 1e-9 else 0.0
      part |= {'reward': scale / (1 + math.exp(z)), 'distance': nearest[i]}
    found.append(part)
  return found


def _check_progress(pool: str = 'batch', radius: float = 0.0, **_: Any) -> None:
  if pool not in POOLS or radius < 0:
    raise ValueError(
      f'progress: pool={pool!r}, radius={radius}; needs one of {", ".join(POOLS)} and radius ≥ 0'
    )


progress.level = 'batch'
progress.rewards_in = ('reward',)
progress.objects_in = ('embed',)
progress.check = _check_progress


def _distances(fields: dict[str, Any], embed: embeddings.Embed | None) -> Callable[..., float]:
  if embed is None:
    tokens: Sequence[Sequence[int]] = fields['tokens']
    return lambda i, j: 1 - similarity.edit_ratio(tokens[i], tokens[j])
  vectors = embeddings.embedded('progress', fields['completions'], embed)
  return lambda i, j: 1 - embeddings.cosine(vectors[i], vectors[j])
