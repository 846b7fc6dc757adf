"""Whether a completion has its parts in place: tags in order, an answer that was thought of."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rljax.rewards import answers, units


def section(completion: str, tag: str) -> str | None:
  """What stands in the last `<tag>…</tag>`, without white space around it; None if none is closed.

  Args:
    completion: any text.
    tag: its name without brackets; '' = the whole completion.
  """
  if not tag:
    return completion.strip()
  end = completion.rfind(f'</{tag}>')
  start = completion.rfind(f'<{tag}>', 0, end) if end >= 0 else -1
  return completion[start + len(tag) + 2 : end].strip() if start >= 0 else None


def tags_in_order(
  completion: str,
  *,
  tags: Sequence[str] = ('think', 'answer'),
  opened: bool = False,
  text_between: bool = False,
  partial: float = 0.0,
) -> dict[str, float]:
  """1 if each `<tag>…</tag>` stands there once, in order, side by side and not empty.

  Args:
    completion: any text.
    tags: their names without brackets.
    opened: True: the prompt has already opened the first tag, and the completion must not.
    text_between: whether other text may stand before, between and behind them.
    partial: reward for all marks where the layout is not right; a part of them gets its share.

  Returns:
    'reward', and the component 'marks': share of the opening and closing marks that stand there
    exactly once.

  Raises:
    ValueError: no tags.

  Source: Guo et al. 2025, arXiv 2501.12948 (DeepSeek-R1), the format reward; `partial` of public
    implementations, which pay for each mark.
  Differs from the source: nothing
  """
  if not tags or isinstance(tags, str):
    raise ValueError(f'tags_in_order: tags={tags!r}; needs a list of names, one at least')
  text = f'<{tags[0]}>{completion}' if opened else completion
  marks = [mark for tag in tags for mark in (f'<{tag}>', f'</{tag}>')]
  once = [text.count(mark) == 1 for mark in marks]
  good = all(once)
  if good:
    starts = [text.find(mark) for mark in marks]
    ends = [start + len(mark) for start, mark in zip(starts, marks)]
    good = starts == sorted(starts)
    good = good and all(text[ends[i] : starts[i + 1]].strip() for i in range(0, len(marks), 2))
    if good and not text_between:
      between = [text[: starts[0]], text[ends[-1] :]]
      between += [text[ends[i] : starts[i + 1]] for i in range(1, len(marks) - 1, 2)]
      good = not any(piece.strip() for piece in between)
  share = sum(once) / len(marks)
  return {'reward': 1.0 if good else partial * share, 'marks': share}


def think_answer(completion: str, *, opened: bool = False) -> dict[str, float]:
  """1 if the completion is `<think>…</think><answer>…</answer>` and nothing else, else 0.

  Args:
    completion: any text.
    opened: True: the prompt ends with `<think>`.
  """
  return tags_in_order(completion, opened=opened)


def think_answer_consistency(
  completion: str, *, think: str = 'think', answer: str = 'answer', last: int = 0
) -> dict[str, float]:
  """1 if the final answer appears in the reasoning, else 0: also where a part is missing.

  Both are compared as words: in lower case, without punctuation, numbers by their value.

  Args:
    completion: any text.
    think: tag of the reasoning; '' = all that stands before the answer.
    answer: tag of the answer.
    last: the answer must appear in the last so many words of the reasoning; 0 = anywhere.

  Returns:
    'reward', and the component 'found': whether there are both parts.
  """
  final = section(completion, answer)
  before = completion[: max(completion.rfind(f'<{answer}>'), 0)]
  reasoning = section(completion, think) if think else before
  if not final or not reasoning:
    return {'reward': 0.0, 'found': 0.0}
  wanted, thought = _comparable(final), _comparable(reasoning)[-last:]
  size = len(wanted)
  inside = any(thought[i : i + size] == wanted for i in range(len(thought) - size + 1))
  return {'reward': float(bool(wanted) and inside), 'found': 1.0}


_PIECE = re.compile(r'[-−]?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?|' + units.WORD)


def _comparable(text: str) -> list[object]:
  pieces = _PIECE.findall(text.lower())
  values = [answers.parse_number(piece.rstrip(',')) for piece in pieces]
  return [piece if value is None else value for piece, value in zip(pieces, values)]
