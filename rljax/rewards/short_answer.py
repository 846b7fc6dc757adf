"""The reward of a task whose answer is short: a number, a formula, a letter, a few words."""

from __future__ import annotations

from typing import Any

from rljax.rewards import answers
from rljax.rewards.grading import golds
from rljax.rewards.grading.equality import Verdict, compare

_LETTERS = 'ABCDE'  # of a choice whose options are not listed


def short_answer(
  completion: str, answer: Any, *, lenient_credit: float = 0.0, symbolic: bool = True
) -> dict[str, float]:
  """1 if the marked answer of a completion is the gold answer, else 0.

  Which answer is marked: `rewards.answers`. What is equal: `rewards.grading.equality`. Components,
  each 0 or 1:
    accuracy    strict: the answer is marked and equal;
    lenient     it is equal, or what stands last is by the exact paths: in the marked text, or
                without a marker;
    formatted   an answer is marked;
    slow_path   the symbolic path was asked;
    undecided   no path could tell, so the answer counts as wrong.

  Args:
    completion: of the policy.
    answer: gold, as `golds.as_gold` takes it.
    lenient_credit: the reward of an answer that is right only leniently, as a fraction.
    symbolic: False = what the exact paths cannot decide counts as wrong and is `undecided`.

  Raises:
    ValueError: the gold answer is none.
    ModuleNotFoundError: math-verify is needed and not installed.

  Examples:
    >>> found = rewards.short_answer('#### 1,200', '1200', symbolic=False)
    >>> print(found['reward'], found['formatted'])
    1.0 1.0
  """
  strict, lenient = verdicts(completion, answer, symbolic=symbolic)
  accuracy = float(strict is not None and strict.equal)
  relaxed = max(accuracy, float(lenient is not None and lenient.equal))
  return {
    'reward': max(accuracy, lenient_credit * relaxed),
    'accuracy': accuracy,
    'lenient': relaxed,
    'formatted': float(strict is not None),
    'slow_path': float(strict is not None and strict.slow),
    'undecided': float(strict is not None and strict.undecided),
  }


def exact_answer(completion: str, answer: Any) -> dict[str, float]:
  r"""`short_answer` without the symbolic path, which needs math-verify.

  Examples:
    >>> print(rewards.exact_answer('So it is \\boxed{1/2}.', '0.5')['reward'])
    1.0
    >>> found = rewards.exact_answer('So it is 0.5', '0.5')  # right, and not marked
    >>> print(found['reward'], found['lenient'], found['formatted'])
    0.0 1.0 0.0
  """
  return short_answer(completion, answer, symbolic=False)


def verdicts(
  completion: str, answer: Any, *, symbolic: bool = True
) -> tuple[Verdict | None, Verdict | None]:
  """(of the marked answer, of what stands last); None where there is no such answer.

  What stands last is looked at only where the marked answer is not equal.
  """
  marked = answers.extract(completion)
  strict = compare(answer, marked.text, use_symbolic=symbolic) if marked else None
  if strict is not None and strict.equal:
    return strict, None
  gold, kind = golds.as_gold(answer), golds.kind_of(answer)
  letters = ''.join(letter for letter, _ in gold.options) or _LETTERS
  last = answers.extract_unmarked(marked.text if marked else completion, kind, letters)
  if last is None or (marked and last.text == marked.text):
    return strict, None
  return strict, compare(answer, last.text, use_symbolic=False)
