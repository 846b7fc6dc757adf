"""The policy's own likelihood of the reference behind its reasoning, in place of a verifier."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax import binding
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.measures import experience_metrics
from rljax.rollouts.rows import no_routing
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.structs import PyTree, Rollout

MEASURES = ('product', 'mean_probability', 'group_std')
ROWS_AT_ONCE = 64  # that are scored in one call


def reference_likelihood(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
  *,
  marker: str,
  reference: str = 'builtins.str',
  measure: str = 'product',
  debias: bool = False,
  splice: bool = False,
  score_coef: float = 0.0,
) -> Experience:
  """R = π(y*|x, z): how likely the reference is where the completion gives its own answer.

  The reasoning z is the completion up to the last `marker`, cut between tokens: one that the marker
  begins inside goes, and the marker is tokenized by itself, as the reference y* is, which the end
  of text follows. A marker that was sampled as these ids is part of z. A completion
  without a marker is reasoning as a whole. Reasoning that leaves no room for y* within
  max_new_tokens is cut, as a lower limit would have cut it. With ℓ_j = log π(y*_j|x, z, y*_<j) at
  the temperature of the draws:
    'product': exp Σ_j ℓ_j;  'mean_probability': mean_j exp ℓ_j;
    'group_std': Σ_j w_j·ℓ_j, w_j ∝ the std of ℓ_j over the group: what reasoning decides counts.

  Args:
    params, prompts, draw_ids, generate, policy_step: as in `single_turn`.
    score: completions → scores; measured and, but for `score_coef`, not learnt from.
    marker: text that stands before the answer.
    reference: dotted name of `answer -> text`: y* of the answer of a prompt.
    measure: one of the three.
    debias: takes off what the reference has without any reasoning, and clips to [0, 1].
    splice: hands on prompt, z, marker, y* in place of what was sampled; y* carries the action mask
      too, with the log-probs of the policy.
    score_coef: of the scores in the reward.

  Returns:
    The samples with R + score_coef·score as rewards; components: `likelihood` (R), `scored` and
    those of the scores. With splice the extra `reference_mask`, bool [N, T], True on y*.

  Raises:
    ValueError: an unknown measure, or one that cannot be debiased; an environment; a prompt without
      an answer, or with one that is longer than max_new_tokens.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.reference_likelihood', marker='=', debias=True)
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    debias = True
    marker = '='
    measure = 'product'
    name = 'rollouts.reference_likelihood'
    reference = 'builtins.str'
    score_coef = 0.0
    splice = False

  Source: VeriFree, "Reinforcing General Reasoning without Verifiers" (2025); group_std: "Direct
    Reasoning Optimization" (2025); mean_probability and debias: RLPR (2025).
  Differs from the source: formulas not confirmed against the papers; y* ends with the end of text.
  Fidelity: recalled
  """
  _check(measure, debias, generate)
  found = single_turn(params, prompts, draw_ids, generate, score, policy_step)
  used = np.flatnonzero(found.rollout.group_ids >= 0)
  write = binding.resolve(reference)
  whole = [_splice(generate, c, marker, write) for c in found.completions]
  length = found.rollout.tokens.shape[1]
  known = row_logprobs(params, generate, [s.row for s in whole], length)
  groups = found.rollout.group_ids[used]
  likelihood = _measured(known, whole, groups, measure)
  if debias:
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    bare = [dataclasses.replace(found.completions[i], tokens=(), text='') for i in first]
    bare = [_splice(generate, c, marker, write) for c in bare]
    said = row_logprobs(params, generate, [s.row for s in bare], length)
    without = _measured(said, bare, groups[first], measure)
    likelihood = np.clip(likelihood - without[group], 0, 1)
  # Of what was drawn: y* is given.
  sampled = {k: x for k, x in experience_metrics(found).items() if k.startswith('rollout/')}
  scores, rollout, extras = found.scores, found.rollout, dict(found.extras)
  if splice:
    rollout, extras['reference_mask'] = _with_references(rollout, used, whole, known)
  return dataclasses.replace(
    found,
    rollout=rollout,
    scores=dataclasses.replace(
      scores,
      rewards=likelihood + score_coef * scores.rewards if score_coef else likelihood,
      components={**scores.components, 'likelihood': likelihood, 'scored': scores.rewards},
    ),
    extras=extras,
    metrics={
      **found.metrics,
      **sampled,
      'method/reference_likelihood/marked': float(np.mean([s.is_marked for s in whole])),
      'method/reference_likelihood/cut': float(np.mean([s.is_cut for s in whole])),
    },
  )


class Spliced(NamedTuple):
  """Prompt, reasoning, marker and reference as one row of ids.

  Attributes:
    row: all ids.
    reasoning: tokens that the policy has drawn.
    start: slot of the first token of y*.
    is_marked: whether the completion has a marker.
    is_cut: whether z has lost tokens for want of room.
  """

  row: list[int]
  reasoning: int
  start: int
  is_marked: bool
  is_cut: bool


def _check(measure: str, debias: bool, generate: Generator) -> None:
  if measure not in MEASURES or (debias and measure == 'group_std'):
    raise ValueError(
      f'reference_likelihood: measure={measure!r} is not one of {", ".join(MEASURES)}, or is '
      f'group_std with debias, which is of probabilities'
    )
  if generate.environment is not None:
    raise ValueError('reference_likelihood: reasoning is one turn; leave out the environment')


def _splice(
  generate: Generator, completion: Completion, marker: str, write: Callable[[Any], str] = str
) -> Spliced:
  prompt, encode, eos = completion.prompt, generate.tokenizer.encode, generate.tokenizer.eos_ids
  if prompt.answer is None:
    raise ValueError(f'reference_likelihood: prompt {prompt.prompt_id} has no answer')
  marks, reference = encode(marker), [*encode(write(prompt.answer)), eos[0]]
  room = generate.max_new_tokens - len(marks) - len(reference)
  if room < 0:
    raise ValueError(
      f'reference_likelihood: the answer of prompt {prompt.prompt_id} has {len(reference)} tokens '
      f'with its end and stands behind {len(marks)} of the marker; max_new_tokens is '
      f'{generate.max_new_tokens}'
    )
  tokens, at = list(completion.tokens), completion.text.rfind(marker)
  cut = len(tokens) - bool(tokens and tokens[-1] in eos)
  if at >= 0:
    decode = generate.tokenizer.decode
    ends = range(len(tokens) + 1)
    cut = bisect.bisect_right(ends, at, key=lambda j: len(decode(tokens[:j]))) - 1
  reasoning = tokens[: min(cut, room)]
  drawn = len(reasoning)
  if cut <= room and tokens[cut : cut + len(marks)] == marks:
    drawn += len(marks)
  row = [*prompt.tokens, *reasoning, *marks, *reference]
  return Spliced(row, drawn, len(row) - len(reference), at >= 0, cut > room)


def row_logprobs(
  params: PyTree, generate: Generator, rows: Sequence[Sequence[int]], length: int
) -> list[np.ndarray]:
  """Of each row of ids the log-probs of its tokens, nats; one program for any number of rows."""
  found = []
  for first in range(0, len(rows), ROWS_AT_ONCE):
    tokens = np.zeros((ROWS_AT_ONCE, length), np.int32)
    num_tokens = np.zeros(ROWS_AT_ONCE, np.int32)
    for i, row in enumerate(rows[first : first + ROWS_AT_ONCE]):
      tokens[i, : len(row)], num_tokens[i] = row, len(row)
    where = generate.place((tokens, num_tokens))
    found.append(generate.program.logprobs(params, *where, np.float32(generate.temperature or 1)))
  table = np.concatenate(jax.device_get(found)) if found else ()
  return [table[i, : len(row)] for i, row in enumerate(rows)]


def _measured(
  known: Sequence[np.ndarray], spliced: Sequence[Spliced], groups: np.ndarray, measure: str
) -> np.ndarray:
  """float32, of each row."""
  own = [x[s.start :] for x, s in zip(known, spliced)]
  if measure == 'group_std':
    return group_weighted(own, groups)
  of_one = {'product': lambda x: np.exp(x.sum()), 'mean_probability': lambda x: np.exp(x).mean()}
  return np.array([of_one[measure](x) for x in own], np.float32)


def group_weighted(logprobs: Sequence[np.ndarray], groups: np.ndarray) -> np.ndarray:
  """Σ_j w_j·ℓ_ij, w_j = std_i ℓ_ij / Σ_j std_i ℓ_ij over the samples i of a group.

  Where all stds of a group are 0 every token counts the same.

  Args:
    logprobs: of each sample, [J] nats; J is the same within a group.
    groups: int [N].

  Returns:
    float32 [N], nats.

  Source: "Direct Reasoning Optimization: LLMs Can Reward And Refine Their Own Reasoning" (2025),
    the reasoning reflection reward.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  out = np.zeros(len(groups), np.float32)
  for group in np.unique(groups):
    members = np.flatnonzero(groups == group)
    own = np.stack([logprobs[i] for i in members])
    spread = own.std(axis=0)
    total = spread.sum()
    weights = spread / total if total > 0 else np.full(own.shape[1], 1 / own.shape[1])
    out[members] = own @ weights
  return out


def _with_references(
  rollout: Rollout, used: np.ndarray, spliced: Sequence[Spliced], known: Sequence[np.ndarray]
) -> tuple[Rollout, np.ndarray]:
  """(the rollout with spliced rows in place of the used ones, bool [N, T]: tokens of y*)."""
  tokens, num_tokens = np.zeros_like(rollout.tokens), np.zeros_like(rollout.num_tokens)
  reasoning, reference = np.zeros_like(rollout.mask), np.zeros_like(rollout.mask)
  logprobs = np.zeros_like(rollout.policy_logprobs)
  for row, own, said in zip(used, spliced, known):
    first, end = int(rollout.prompt_length[row]), len(own.row)
    tokens[row, :end], num_tokens[row] = own.row, end
    reasoning[row, first : first + own.reasoning] = True
    reference[row, own.start : end] = True
    logprobs[row, own.start : end] = said[own.start :]
  drawn = {
    name: np.where(reasoning, getattr(rollout, name), logprobs)
    for name in ('policy_logprobs', 'behavior_logprobs')
  }
  if rollout.entropy is not None:
    drawn['entropy'] = np.where(reasoning, rollout.entropy, 0)
  drawn['routing'] = no_routing(rollout, rollout)
  return rollout.replace(
    tokens=tokens,
    num_tokens=num_tokens,
    mask=np.arange(tokens.shape[1])[None] < num_tokens[:, None],
    action_mask=reasoning | reference,
    **drawn,
  ), reference
