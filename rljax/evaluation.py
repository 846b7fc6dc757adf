"""Evaluation on held-out prompts: greedy accuracy, avg@n and unbiased pass@k."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rljax import hosts
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.structs import PyTree, Requests


def pass_at_k(num_samples: int, num_correct: np.ndarray, k: int) -> np.ndarray:
  """Unbiased probability that at least one of k samples is right.

  pass@k = 1 − C(n − c, k) / C(n, k) = 1 − Π_{i=n−c+1}^{n} (1 − k/i)

  Args:
    num_samples: n, samples of each prompt.
    num_correct: int [Q], right ones among them.
    k: 1 ≤ k ≤ n.

  Returns:
    float64 [Q].

  Raises:
    ValueError: k is not in 1 … n.

  Source: Chen et al., "Evaluating large language models trained on code", arXiv 2107.03374, eq. 1.
  Differs from the source: nothing.
  """
  if not 1 <= k <= num_samples:
    raise ValueError(f'pass@{k} needs 1 ≤ k ≤ n, and there are n = {num_samples} samples')
  wrong = num_samples - np.asarray(num_correct)
  index = np.arange(1, num_samples + 1)
  factors = np.where(index[None, :] > wrong[:, None], 1 - k / index[None, :], 1.0)
  return 1 - np.prod(np.maximum(factors, 0), axis=1)


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What one evaluation saw.

  Attributes:
    metrics: 'greedy', 'avg@n', 'pass@k', 'length_mean', 'truncated', 'well_formed', 'errors',
      'reward', and 'component/<name>' of each component of it ('component/lenient'): means over
      the drawn samples that have one.
    num_correct: int [Q], right samples of each prompt.
    greedy_correct: bool [Q].
  """

  metrics: dict[str, float]
  num_correct: np.ndarray
  greedy_correct: np.ndarray


def evaluate(
  params: PyTree,
  prompts: Sequence[Prompt],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  *,
  samples: int,
  ks: Sequence[int] = (1,),
  success: float = 1.0,
  well_formed: Callable[[str], bool] | None = None,
) -> Evaluation:
  """Greedy and sampled accuracy of a policy on held-out prompts.

  The draw of prompt i has number i and the generator's own seed, so two policies, or one at two
  steps, are compared on the same noise. Sample 0 of a draw is greedy, 1 … n are drawn.

  Args:
    params: of the policy.
    prompts: tokenized.
    generate: the sampler; its shapes are used for all calls.
    score: completions → scores.
    samples: n, drawn completions of each prompt besides the greedy one; 0 = greedy only.
    ks: the k of pass@k; those above n are left out.
    success: a reward from here on counts as right.
    well_formed: format check of a completion's text.

  Returns:
    Metrics and the counts behind them; 'distinct' is how many different right completions the n
    drawn ones of a prompt hold. Samples that could not be scored count as not right;
    'errors' is their fraction.
  """
  right = np.zeros((len(prompts), samples + 1), bool)
  kinds = [set() for _ in prompts]
  seen, errors, scored = np.zeros(4, np.int64), 0, {}
  for some, asked in requests(prompts, generate, samples):
    completions = generate.sample(params, asked, some)[1]
    scores = score(completions)
    for completion, reward in zip(completions, scores.rewards):
      right[completion.draw_id, completion.sample_index] = reward >= success
      if not completion.is_here:
        continue
      if reward >= success and completion.sample_index:
        kinds[completion.draw_id].add(completion.text)
      if completion.sample_index or not samples:
        is_formed = bool(well_formed and well_formed(completion.text))
        seen += [1, len(completion.tokens), completion.truncated, is_formed]
    errors += scores.errors + scores.timeouts
    drawn = np.array([c.sample_index > 0 or not samples for c in completions])
    parts = {f'component/{name}': values for name, values in scores.components.items()}
    for name, values in {'reward': scores.rewards, **parts}.items():
      scored.setdefault(name, []).append(values[drawn & np.isfinite(values)])
  seen = hosts.total([*seen, sum(len(some) for some in kinds)], 'evaluation').tolist()
  count, length, truncated, formed, distinct = seen
  metrics = accuracy(right, ks)
  metrics |= {
    'length_mean': length / count,
    'truncated': truncated / count,
    'errors': errors / right.size,
  }
  if samples:
    metrics['distinct'] = distinct / len(kinds)
  if well_formed is not None:
    metrics['well_formed'] = formed / count
  for name, parts in scored.items():
    if len(values := np.concatenate(parts)):
      metrics[name] = float(values.mean())
  return Evaluation(
    metrics=metrics, num_correct=right[:, 1:].sum(axis=1), greedy_correct=right[:, 0]
  )


def requests(
  prompts: Sequence[Prompt], generate: Generator, samples: int
) -> Iterator[tuple[Sequence[Prompt], Requests]]:
  """The calls of the sampler that `evaluate` makes: prompts and the requests for them, in numpy."""
  for first in range(0, len(prompts), generate.prompts):
    some = prompts[first : first + generate.prompts]
    draws = np.arange(first, first + len(some))
    for index in range(0, samples + 1, generate.samples):
      asked = generate.requests(some, draws, first_sample_index=index)
      which = np.asarray(asked.sample_index)
      yield (
        some,
        asked.replace(
          temperature=np.where(which == 0, 0, asked.temperature).astype(np.float32),
          group_ids=np.where(which <= samples, asked.group_ids, -1).astype(np.int32),
        ),
      )


def accuracy(right: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
  """'greedy', 'avg@n' and 'pass@k' of bool [Q, 1 + n]: the greedy sample, then the drawn ones."""
  samples = right.shape[1] - 1
  metrics = {'greedy': float(right[:, 0].mean())}
  if samples:
    count = right[:, 1:].sum(axis=1)
    metrics[f'avg@{samples}'] = float(right[:, 1:].mean())
    metrics |= {f'pass@{k}': float(pass_at_k(samples, count, k).mean()) for k in ks if k <= samples}
  return metrics
