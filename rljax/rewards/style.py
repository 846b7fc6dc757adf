"""Rewards for how a completion is written: its script, its repetitions, its length."""

from __future__ import annotations

import unicodedata
from typing import Any

from rljax.rewards import units

SCRIPTS = {
  'latin': ('LATIN',),
  'cyrillic': ('CYRILLIC',),
  'greek': ('GREEK',),
  'arabic': ('ARABIC',),
  'hebrew': ('HEBREW',),
  'han': ('CJK',),
  'japanese': ('CJK', 'HIRAGANA', 'KATAKANA', 'KATAKANA-HIRAGANA'),
  'hangul': ('HANGUL',),
  'devanagari': ('DEVANAGARI',),
  'bengali': ('BENGALI',),
  'gujarati': ('GUJARATI',),
  'gurmukhi': ('GURMUKHI',),
  'kannada': ('KANNADA',),
  'malayalam': ('MALAYALAM',),
  'tamil': ('TAMIL',),
  'telugu': ('TELUGU',),
  'thai': ('THAI',),
}
"""Script → first words of the Unicode names of its letters."""


def script_share(completion: str, *, script: str = 'latin') -> float:
  """Share of the letters that belong to a script; 1 where there are no letters.

  Digits, punctuation and symbols count for nothing, so formulas do not harm.

  Args:
    completion: any text.
    script: of `SCRIPTS`.

  Raises:
    ValueError: another script.

  Source: Guo et al. 2025, arXiv 2501.12948 (DeepSeek-R1), the language consistency reward.
  Differs from the source: letters of a script, not words of a language.
  """
  if script not in SCRIPTS:
    raise ValueError(f'script {script!r} is none of {", ".join(SCRIPTS)}')
  letters = [c for c in unicodedata.normalize('NFKC', completion) if c.isalpha()]
  if not letters:
    return 1.0
  return sum(_family(letter) in SCRIPTS[script] for letter in letters) / len(letters)


def _family(letter: str) -> str:
  return unicodedata.name(letter, '').split(' ')[0]


def repetition(completion: str, *, n: int = 3, max_penalty: float = -1.0) -> float:
  """max_penalty·(1 − number of different n-grams / number of n-grams) of lower-case words.

  0 for a completion of fewer than n words. `shaping.repetition_penalty` does it with tokens.

  Args:
    completion: any text.
    n: words of an n-gram.
    max_penalty: reward of endless repetition, ≤ 0.

  Raises:
    ValueError: n < 1 or max_penalty > 0.

  Source: Yeo et al. 2025, arXiv 2502.03373; public implementations.
  Differs from the source: a penalty of the completion, not of the tokens that repeat.
  """
  if n < 1 or max_penalty > 0:
    raise ValueError(f'repetition: n={n}, max_penalty={max_penalty}; needs n ≥ 1, max_penalty ≤ 0')
  words = [word.lower() for word in units.words(completion)]
  grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
  return max_penalty * (1 - len(set(grams)) / len(grams)) if grams else 0.0


def length_band(
  completion: str,
  *,
  unit: str = 'words',
  low: int = 0,
  high: int | None = None,
  slack: float = 0.0,
) -> dict[str, float]:
  """1 from `low` to `high` units, and a straight line down to 0 over `slack` units beyond.

  Args:
    completion: any text.
    unit: of `units.UNITS`.
    low, high: both included; None = no upper end.
    slack: in units; 0 = a step.

  Returns:
    'reward', and the component 'length' in units.

  Raises:
    ValueError: an impossible band or another unit.
  """
  if low < 0 or slack < 0 or (high is not None and high < low):
    raise ValueError(f'length_band: low={low}, high={high}, slack={slack}; needs 0 ≤ low ≤ high, '
                     'slack ≥ 0')
  length = units.count(completion, unit)
  beyond = max(low - length, 0 if high is None else length - high, 0)
  reward = max(0.0, 1 - beyond / slack) if slack else float(beyond == 0)
  return {'reward': reward, 'length': length}


def length_near(
  completion: str,
  metadata: dict[str, Any],
  *,
  unit: str = 'words',
  target: int = 0,
  field: str = 'target_length',
  width: float = 1.0,
) -> dict[str, float]:
  """max(0, 1 − |length − target| / (width·target)).

  Args:
    completion: any text.
    metadata: of the prompt; may hold its own target.
    unit: of `units.UNITS`.
    target: in units; 0 = the prompt must say it.
    field: key of the prompt's target in its metadata.
    width: distance at which nothing is left, as a fraction of the target.

  Returns:
    'reward', and the component 'length' in units.

  Raises:
    ValueError: no target, or width ≤ 0.
  """
  wanted = metadata.get(field, target)
  if wanted < 1 or width <= 0:
    raise ValueError(f'length_near: target {wanted} (metadata[{field!r}], else target), '
                     f'width={width}; needs target ≥ 1, width > 0')
  length = units.count(completion, unit)
  return {'reward': max(0.0, 1 - abs(length - wanted) / (width * wanted)), 'length': length}
