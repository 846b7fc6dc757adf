"""Host side: prompts and settings of a rollout -> `Requests` of fixed shapes, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from rljax.structs import Requests


def filters_in_use(
  *, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> tuple[str, ...]:
  """The filters that these values switch on, for `SamplerSettings.filters`.

  Examples:
    >>> print(sampling.filters_in_use(top_k=20), sampling.filters_in_use(top_p=1.0))
    ('top_k',) ()
  """
  on = {'top_k': top_k > 0, 'top_p': top_p < 1, 'min_p': min_p > 0}
  return tuple(name for name, used in on.items() if used)


def make_requests(
  prompts: Sequence[Sequence[int]],
  *,
  samples_per_prompt: int,
  draw_ids: Sequence[int],
  max_prompt: int,
  max_new_tokens: int | Sequence[int],
  temperature: float | Sequence[float],
  stop_ids: Sequence[int],
  top_k: int | Sequence[int] = 0,
  top_p: float | Sequence[float] = 1.0,
  min_p: float | Sequence[float] = 0.0,
  group_ids: Sequence[int] | None = None,
  prompt_ids: Sequence[int] | None = None,
  first_sample_index: int = 0,
  policy_step: jax.Array | int = 0,
  num_prompts: int | None = None,
  prefixes: Sequence[Sequence[int]] | None = None,
  max_prefix: int | None = None,
  length: int | None = None,
  stop_sequences: Sequence[Sequence[int]] = (),
) -> Requests:
  """The requests for `samples_per_prompt` samples of each prompt, as numpy arrays.

  With q prompts and G samples each, the samples of prompt i are the rows i·G … i·G + G − 1. Shapes
  depend on `num_prompts` (Q, default q), G, `max_prompt`, the number of stop ids and `max_prefix`
  alone: Q·G rows, those of the Q − q missing prompts with group −1.

  Args:
    prompts: token ids of each prompt, at least one each.
    samples_per_prompt: G.
    draw_ids: [q] run-wide numbers of the draws, in [0, 2³²); no two are equal, since equal ones
      would give two prompts the same noise.
    max_prompt: P, tokens.
    max_new_tokens, temperature, top_k, top_p, min_p: one value, or one for each of the q·G samples.
    stop_ids: ids that end a completion; may be empty.
    group_ids: [q] ≥ 0, default 0 … q − 1.
    prompt_ids: [q], default 0 … q − 1.
    first_sample_index: sample_index of each prompt's first sample.
    policy_step: optimizer step of the parameters; a device array is passed on as it is, since a
      look at it would wait for the update that makes it.
    num_prompts: Q.
    prefixes: for each of the q·G samples the first tokens of its completion, may be empty ones.
    max_prefix: F, tokens; default the longest prefix. Without prefixes the field is None.
    stop_sequences: ids that end a completion when they follow each other.
    length: T of the rollout; if given, each prompt with its prefix and max_new_tokens must fit.

  Returns:
    Requests.

  Raises:
    ValueError: names the prompt, its length and the knob that is too small, or the argument that
      is wrong.

  Examples:
    >>> requests = sampling.make_requests(
    ...   [[3, 1], [4]],
    ...   samples_per_prompt=2,
    ...   draw_ids=[0, 1],
    ...   max_prompt=2,
    ...   max_new_tokens=3,
    ...   temperature=1.0,
    ...   stop_ids=[0],
    ... )
    >>> print(requests.prompt_length, requests.group_ids)
    [2 1] [0 0 1 1]
  """
  q, group = len(prompts), samples_per_prompt
  num_prompts = q if num_prompts is None else num_prompts
  if q > num_prompts:
    raise ValueError(f'{q} prompts are more than num_prompts={num_prompts}')
  prompt_ids = _per_prompt('prompt_ids', np.arange(q) if prompt_ids is None else prompt_ids, q)
  group_ids = _per_prompt('group_ids', np.arange(q) if group_ids is None else group_ids, q)
  draw_ids = _per_prompt('draw_ids', draw_ids, q)
  _check_ids(draw_ids, group_ids)
  tokens, prompt_length = _pad(prompts, num_prompts, max_prompt, 'prompt', 'max_prompt', prompt_ids)
  for i in np.flatnonzero(prompt_length[:q] == 0):
    raise ValueError(f'prompt {prompt_ids[i]} has no tokens; it needs one to sample from (a bos)')

  rows = num_prompts * group
  prefix, prefix_length = None, None
  if prefixes is not None:
    if len(prefixes) != q * group:
      raise ValueError(f'{len(prefixes)} prefixes for {q * group} samples')
    longest = max((len(p) for p in prefixes), default=0)
    slots = max(1, longest if max_prefix is None else max_prefix)
    ids = np.repeat(prompt_ids, group)
    prefix, prefix_length = _pad(prefixes, rows, slots, 'the prefix for prompt', 'max_prefix', ids)

  def per_sample(name, value, dtype, unused):
    value = np.asarray(value, dtype)
    if value.ndim and value.shape != (q * group,):
      raise ValueError(f'{name} has shape {value.shape}; it is one value or {q * group}')
    full = np.full(rows, unused, dtype)
    full[: q * group] = value
    return full

  def from_prompt(value, dtype, unused):
    return per_sample('', np.repeat(np.asarray(value), group), dtype, unused)

  new_tokens = per_sample('max_new_tokens', max_new_tokens, np.int32, 0)
  if length is not None:
    given = np.repeat(prompt_length, group) + (0 if prefix_length is None else prefix_length)
    _check_length(given, new_tokens, np.repeat(prompt_ids, group), length)
  stop = np.asarray([*stop_ids] or [-1], np.int32)
  return Requests(
    prompts=tokens,
    prompt_length=prompt_length,
    prompt_row=np.repeat(np.arange(num_prompts, dtype=np.int32), group),
    group_ids=from_prompt(group_ids, np.int32, -1),
    draw_ids=from_prompt(draw_ids, np.uint32, 0),
    prompt_ids=from_prompt(prompt_ids, np.int32, -1),
    sample_index=np.tile(np.arange(group, dtype=np.int32) + first_sample_index, num_prompts),
    temperature=per_sample('temperature', temperature, np.float32, 1),
    max_new_tokens=new_tokens,
    stop_ids=np.tile(stop[None, :], (rows, 1)),
    top_k=per_sample('top_k', top_k, np.int32, 0),
    top_p=per_sample('top_p', top_p, np.float32, 1),
    min_p=per_sample('min_p', min_p, np.float32, 0),
    prefix=prefix,
    prefix_length=prefix_length,
    policy_step=policy_step if isinstance(policy_step, jax.Array) else np.int32(policy_step),
    stop_sequences=_stop_sequences(stop_sequences, rows),
  )


def _stop_sequences(sequences: Sequence[Sequence[int]], rows: int) -> np.ndarray | None:
  """int32 [rows, E, L], padded with −1 on the left."""
  if not sequences:
    return None
  longest = max(len(s) for s in sequences)
  out = np.full((len(sequences), longest), -1, np.int32)
  for i, sequence in enumerate(sequences):
    if not len(sequence):
      raise ValueError(f'stop_sequences[{i}] is empty; a completion would end before it begins')
    out[i, longest - len(sequence) :] = sequence
  return np.tile(out[None], (rows, 1, 1))


def _per_prompt(name: str, value: Sequence[int], num: int) -> np.ndarray:
  value = np.asarray(value, np.int64)
  if value.shape != (num,):
    raise ValueError(f'{name} has shape {value.shape} for {num} prompts')
  return value


def _check_ids(draw_ids: np.ndarray, group_ids: np.ndarray) -> None:
  if np.any((draw_ids < 0) | (draw_ids >= 2**32)):
    raise ValueError('draw_ids must lie in [0, 2**32)')
  unique, count = np.unique(draw_ids, return_counts=True)
  if np.any(count > 1):
    raise ValueError(f'draw_ids holds {unique[count > 1][0]} more than once')
  if np.any(group_ids < 0):
    raise ValueError('group_ids must not be negative; −1 marks unused rows')


def _pad(
  sequences: Sequence[Sequence[int]], rows: int, slots: int, what: str, knob: str, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """(int32 [rows, slots] right padded with 0, int32 [rows] lengths)."""
  tokens = np.zeros((rows, slots), np.int32)
  lengths = np.zeros(rows, np.int32)
  for i, sequence in enumerate(sequences):
    if len(sequence) > slots:
      raise ValueError(
        f'{what} {ids[i]} has {len(sequence)} tokens, more than {knob}={slots}; raise {knob} or '
        'leave the prompt out'
      )
    tokens[i, : len(sequence)] = sequence
    lengths[i] = len(sequence)
  return tokens, lengths


def _check_length(
  given: np.ndarray, new_tokens: np.ndarray, prompt_ids: np.ndarray, length: int
) -> None:
  for i in range(len(prompt_ids)):
    if given[i] + new_tokens[i] > length:
      raise ValueError(
        f'prompt {prompt_ids[i]}: {given[i]} tokens of prompt and prefix and '
        f'max_new_tokens={new_tokens[i]} do not fit in length={length}; raise length or lower '
        'max_new_tokens'
      )
