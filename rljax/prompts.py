"""Host records of problems and completions. No jax here: reward workers import this file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Prompt:
  """One problem.

  Attributes:
    text: the prompt as text, before any chat template.
    prompt_id: index in its data set, stable between runs.
    answer: what the reward compares with; any picklable value.
    tokens: ids as the policy sees them, template included; () until it is tokenized.
    messages: chat messages ({'role', 'content'}) instead of plain text, or None.
    metadata: what a reward, a demonstration or a report may want besides.
  """

  text: str
  prompt_id: int
  answer: Any = None
  tokens: tuple[int, ...] = ()
  messages: tuple[dict[str, str], ...] | None = None
  metadata: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Completion:
  """One sampled completion.

  Attributes:
    prompt: the prompt that it completes.
    tokens: ids after the prompt, the stop token included.
    text: the decoded tokens without special tokens; of several turns the last.
    truncated: True if it ended by its limit of tokens and not by a stop token.
    draw_id: the draw of the prompt, i.e. its group.
    sample_index: its place within the draw.
    transcript: all that was said and heard, where there were several turns.
    failure: why nothing can be said of it, '' if nothing went wrong; else it has no reward.
    is_here: whether this process scores it; of those of other hosts tokens and text are not known.
  """

  prompt: Prompt
  tokens: tuple[int, ...]
  text: str
  truncated: bool
  draw_id: int = 0
  sample_index: int = 0
  transcript: str = ''
  failure: str = ''
  is_here: bool = True


@dataclasses.dataclass(frozen=True)
class Task:
  """Prompts, their reward and their evaluation.

  Attributes:
    name: as it stands in metric names, `eval/<name>/…`.
    train: training prompts.
    test: held-out prompts; share no problem with `train`.
    reward: dotted name, function or node `dict(name=…, <hyper-parameters>)`, see
      `rewards.Scorer`. Its parameters are taken by name from `completion` (str),
      `prompt` (str), `answer`, `metadata`, `tokens` (ids), `truncated` (bool); it returns a float,
      or a dict with the key 'reward' and one float per component.
    demonstrate: a right completion of a prompt for SFT, or None: a text, or (text, is_said) for
      each of its parts, of which some are heard from an environment and not learnt; the text None
      is the end of a turn, the stop token.
    candidates: `candidates(prompt, draw) -> [(completion, utility), …]`, different completions of
      one prompt with how good each is, a pure function of both; for stages that learn from
      rankings. None = there are none.
    steps: `steps(prompt, draw) -> [(text, is_right), …]`, the steps of a completion, right or
      wrong, each with the text that ends it; a pure function of both. None = there are none.
    well_formed: `well_formed(completion) -> bool`, the format without the answer, or None.
    license: of the data.
    twin: the same prompts and reward as pure functions on token arrays (`TokenTwin`), or None.
  """

  name: str
  train: Sequence[Prompt]
  test: Sequence[Prompt]
  reward: str | Callable[..., Any] | Mapping[str, Any]
  demonstrate: Callable[[Prompt], str | Sequence[tuple[str | None, bool]]] | None = None
  candidates: Callable[[Prompt, int], Sequence[tuple[str, float]]] | None = None
  steps: Callable[[Prompt, int], Sequence[tuple[str, bool]]] | None = None
  well_formed: Callable[[str], bool] | None = None
  license: str = ''
  twin: TokenTwin | None = None


@dataclasses.dataclass(frozen=True)
class TokenTwin:
  """A procedural task as pure jax functions, for runs that never leave the device.

  Attributes:
    prompts: `prompts(key, num_prompts) -> (tokens int32 [Q, P], length int32 [Q], answer)` with
      `answer` a pytree of arrays [Q, …].
    reward: `reward(tokens int32 [N, C], length int32 [N], answer) -> float32 [N]`, or a dict of
      such arrays as the task's reward returns, on completions without the stop token; `answer`
      gathered to samples.
    answer: `answer(prompt: Prompt) -> answer` of one prompt of the task: the same pytree, of
      numbers and numpy arrays without the axis Q.
  """

  prompts: Callable[..., Any]
  reward: Callable[..., Any]
  answer: Callable[[Prompt], Any]
