"""Is an answer the gold answer? Exact paths first, then the symbolic one; all give a reason.

What counts as equal:

  * numbers and formulas: equal values, exactly. `0.5`, `1/2`, `5e-1`, `\\frac12` and `50%` are one;
    `0.333333` is not `1/3`. A gold answer may bring a tolerance.
  * percent: the sign may be left out or written; `0.5` is `50%`, and `50` is `50%` too.
  * units: those of the answer may be missing or unknown; `5 cm` is not `5 m`. Nothing is
    converted, but `5 million` is a number.
  * more than one thing: `5 or 6`, `5 or more`, `5 \\approx 6` are not `5`.
  * names: `x = 5` is `5`, and not `y = 5`.
  * intervals and points: brackets and order count. From three numbers on `[…]` and `(…)` are one.
  * sets: in any order, each element once. A list without brackets: in any order; it is a set, too.
  * equations: equal up to a rational factor.
  * numbers in another base: the base may be left out, not changed.
  * words: case, articles and punctuation do not count. 'Yes, because …' is 'yes'.
  * choices: the letter, or the text of the option where the gold answer lists the options.
"""

from __future__ import annotations

from typing import Any

from rljax.rewards.grading import expressions, golds, notation, values
from rljax.rewards.grading.matching import Comparison, Verdict
from rljax.rewards.grading.terms import Refused

MAX_LENGTH = expressions.MAX_LENGTH  # characters of an answer that is not the gold text itself
_MAX_NESTING = 16  # brackets in one another


def compare(answer: Any, given: str, *, use_symbolic: bool = True) -> Verdict:
  """Whether `given` is the gold answer.

  Args:
    answer: gold, as `golds.as_gold` takes it.
    given: the answer of a completion, by itself.
    use_symbolic: whether math-verify may be asked; False = what it would decide is not equal.

  Raises:
    ValueError: the gold answer is none.
    ModuleNotFoundError: math-verify is needed and not installed.
  """
  gold = golds.as_gold(answer)
  given = given.strip()
  if not given:
    return Verdict(False, 'no answer')
  if given == gold.text and gold.kind != 'choice':
    return Verdict(True, 'the same text')
  if len(given) > MAX_LENGTH:
    return Verdict(False, f'{len(given)} characters, at most {MAX_LENGTH} are read')
  text = notation.plain(given)
  nesting = notation.nesting(text)
  if nesting is None or nesting > _MAX_NESTING:
    return Verdict(False, 'unbalanced braces' if nesting is None else f'{nesting} nested brackets')
  expected = golds.read(gold.text, gold.kind)
  try:
    if gold.kind != 'choice' and notation.squeezed(text) == notation.squeezed(expected.text):
      return Verdict(True, 'the same text')
    found = values.read(text, expected.kind if expected.kind in ('text', 'choice') else gold.kind)
    return Comparison(gold, use_symbolic).verdict(expected, found)
  except Refused as error:
    return Verdict(False, f'refused: {error}')
