"""A second attempt after feedback in words, handed on as if it had been the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rljax import binding
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.likelihood import row_logprobs
from rljax.rollouts.rows import join_scores, no_routing, take_rows
from rljax.rollouts.single_turn import Experience
from rljax.structs import PyTree, Rollout

SECOND_DRAWS = 1 << 31  # their noise is none of a first attempt


def feedback_turn(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
  *,
  feedback: str | Mapping[str, Any],
  speech: tuple[str, str] = ('\nUser: ', '\nAssistant: '),
  max_feedback: int = 32,
) -> Experience:
  r"""y0 ~ π(·|x), f of y0, y1 ~ π(·|x, y0, f); hands on (x, y0, f) and (x, y1).

  Half of a prompt's samples are first attempts, each with one second attempt, and all are one
  group. What is sampled at the end of training is the first attempt alone.

  Args:
    params, prompts, draw_ids, policy_step: as in `single_turn`.
    generate: the sampler, of an even number of samples.
    score: completions → scores, of both attempts; a second one is a completion of x.
    feedback: dotted name or node of `(prompt, said) -> text`: the `Prompt` and the first attempt.
    speech: what stands around the feedback.
    max_feedback: tokens of it with what stands around; a longer one is an error.

  Returns:
    The samples with their scores. (x, y1) `is_external`, with the log-probs that the policy gives
    it behind x; f stands behind y0 as far as there is room. Extras: `feedback_mask`, bool [N, T],
    True on f; f carries the action mask.

  Raises:
    ValueError: an odd number of samples, an environment, or feedback that is too long.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.feedback_turn', feedback='my_words.feedback')
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    feedback = 'my_words.feedback'
    max_feedback = 32
    name = 'rollouts.feedback_turn'
    speech = ('\nUser: ', '\nAssistant: ')

  Source: RLTF, "Expanding the Capabilities of Reinforcement Learning via Text Feedback" (2026).
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  if generate.samples % 2 or generate.environment is not None:
    raise ValueError(
      f'feedback_turn: samples={generate.samples} is odd, or there is an environment, which gives '
      f'feedback of its own'
    )
  node = {'name': feedback} if isinstance(feedback, str) else dict(feedback)
  answer = binding.bind(node, ('prompt', 'said'))
  size = generate.samples // 2
  first = dataclasses.replace(generate, samples=size)
  requests = first.requests(prompts, draw_ids, policy_step=policy_step)
  rollout, attempts, _, _ = first.sample(params, requests, prompts)
  heard = []
  for attempt in attempts:
    text = answer({'prompt': attempt.prompt, 'said': attempt.text})
    heard.append(generate.tokenizer.encode(f'{speech[0]}{text}{speech[1]}'))
    if len(heard[-1]) > max_feedback:
      raise ValueError(
        f'feedback_turn: feedback on prompt {attempt.prompt.prompt_id} has {len(heard[-1])} '
        f'tokens; max_feedback is {max_feedback}'
      )
  again = _second_attempts(params, generate, attempts, heard, max_feedback, policy_step)
  scores = join_scores([score(attempts), score(again)])
  return _experience(params, generate, rollout, (attempts, heard, again), scores)


def _second_attempts(
  params: PyTree,
  generate: Generator,
  attempts: Sequence[Completion],
  heard: Sequence[Sequence[int]],
  max_feedback: int,
  policy_step: jax.Array | int,
) -> list[Completion]:
  """One for each first attempt, as a completion of the prompt alone."""
  size = generate.samples // 2
  asked = [
    dataclasses.replace(a.prompt, tokens=(*a.prompt.tokens, *a.tokens, *f))
    for a, f in zip(attempts, heard)
  ]
  second = dataclasses.replace(
    generate,
    prompts=generate.prompts * size,
    samples=1,
    max_prompt=generate.max_length + max_feedback,
  )
  numbers = [SECOND_DRAWS + (a.draw_id * size + a.sample_index) % SECOND_DRAWS for a in attempts]
  requests = second.requests(asked, numbers, policy_step=policy_step)
  _, found, _, _ = second.sample(params, requests, asked)
  return [
    dataclasses.replace(
      said, prompt=a.prompt, draw_id=a.draw_id, sample_index=size + a.sample_index
    )
    for a, said in zip(attempts, found)
  ]


def _experience(
  params: PyTree,
  generate: Generator,
  drawn: Rollout,
  turns: tuple[Sequence[Completion], Sequence[Sequence[int]], Sequence[Completion]],
  scores: Scores,
) -> Experience:
  """Of each prompt the first attempts with what is heard of them, then the second ones."""
  attempts, heard, again = turns
  count, size = len(attempts), generate.samples // 2
  places = np.arange(generate.prompts * generate.samples)
  is_second = places % generate.samples >= size
  source = places // generate.samples * size + places % size
  rollout = take_rows(drawn, source, drawn.group_ids[source])
  used = np.flatnonzero(rollout.group_ids >= 0)
  completions = [(again if is_second[row] else attempts)[source[row]] for row in used]
  said = [[*c.prompt.tokens, *c.tokens] for c in completions]
  behind = [[] if is_second[row] else heard[source[row]] for row in used]
  texts = [[*x, *f][: generate.max_length] for x, f in zip(said, behind)]
  known = row_logprobs(params, generate, texts, generate.max_length)
  tokens, logprobs = np.zeros_like(rollout.tokens), np.zeros_like(rollout.policy_logprobs)
  num_tokens, feedback = np.zeros_like(rollout.num_tokens), np.zeros_like(rollout.mask)
  for row, text, own, x in zip(used, texts, known, said):
    num_tokens[row] = len(text)
    tokens[row, : len(text)], logprobs[row, : len(text)] = text, own
    feedback[row, len(x) : len(text)] = True
  slots = np.arange(tokens.shape[1])[None]
  mask = slots < num_tokens[:, None]
  action_mask = mask & (slots >= rollout.prompt_length[:, None])
  was_drawn = action_mask & ~feedback & ~is_second[:, None]
  names = ('policy_logprobs', 'behavior_logprobs')
  changed = {
    name: np.where(was_drawn, getattr(rollout, name), np.where(action_mask, logprobs, 0))
    for name in names
  }
  if rollout.entropy is not None:
    changed['entropy'] = np.where(was_drawn, rollout.entropy, 0)
  changed['routing'] = no_routing(rollout, rollout)
  truncated = np.zeros_like(rollout.truncated)
  truncated[used] = [c.truncated for c in completions]
  order = source[used] + np.where(is_second[used], count, 0)
  rollout = rollout.replace(
    tokens=tokens,
    num_tokens=num_tokens,
    mask=mask,
    action_mask=action_mask,
    policy_step=np.where(action_mask, drawn.policy_step.max(), 0).astype(np.int32),
    sample_index=(places % generate.samples).astype(np.int32),
    truncated=truncated,
    **changed,
  )
  extras = {'feedback_mask': feedback, 'is_external': is_second & (rollout.group_ids >= 0)}
  return Experience(
    rollout, completions, _in_order(scores, order), extras, _metrics(turns, scores)
  )


def _in_order(scores: Scores, order: np.ndarray) -> Scores:
  components = {name: x[order] for name, x in scores.components.items()}
  return dataclasses.replace(scores, rewards=scores.rewards[order], components=components)


def _metrics(turns: Any, scores: Scores) -> dict[str, float]:
  """The mean rewards of both attempts, what was sampled and heard, the length of first attempts."""
  attempts, heard, again = turns
  first, second = scores.rewards[: len(attempts)], scores.rewards[len(attempts) :]

  def mean(x):
    there = x[np.isfinite(x)]
    return float(there.mean()) if len(there) else float('nan')

  lengths = np.array([len(c.tokens) for c in attempts])
  stopped = lengths[[not c.truncated for c in attempts]]
  return {
    'method/feedback_turn/first': mean(first),
    'method/feedback_turn/second': mean(second),
    'rollout/length_mean': float(lengths.mean()),
    **({'rollout/length_stopped': float(stopped.mean())} if len(stopped) else {}),
    'rollout/heard': float(np.mean([len(f) for f in heard])),
    'rollout/tokens': sum(len(c.tokens) for c in (*attempts, *again)),
    'rollout/samples': len(attempts) + len(again),
  }
