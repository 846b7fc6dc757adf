"""Rewards that see a whole group, or all groups of a call: agreement, difference, rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from rljax import binding
from rljax.rewards import answers, embeddings, layout, nesting, similarity, units
from rljax.rewards.nesting import Reward


def majority(
  completions: Sequence[str], *, extract: str | Callable[[str], Hashable | None] = '', tag: str = ''
) -> list[dict[str, float]]:
  """1 for the completions that give the most frequent answer of their group, else 0.

  Of equally frequent answers the one that came first wins. A completion without an answer does not
  vote and gets 0, and so do all of a group without any answer.

  Args:
    completions: of a group.
    extract: `extract(completion) -> answer or None`, or its dotted name; '' = the final number of
      `rewards.answers.extract_number`, or with a tag the words of that part.
    tag: of the part of the completion that holds the answer; '' = all of it.

  Returns:
    For each 'reward', and the components 'share' (of the group's completions, for its answer) and
    'answered'.

  Source: Zuo et al. 2025, arXiv 2504.16084 (TTRL).
  Differs from the source: the rule for ties.
  """
  find = _finder(extract, tag)
  parts = [layout.section(text, tag) for text in completions]
  found = [None if part is None else find(part) for part in parts]
  votes = Counter(answer for answer in found if answer is not None)
  winner = votes.most_common(1)[0][0] if votes else None
  return [
    {
      'reward': float(answer is not None and answer == winner),
      'share': votes[answer] / len(completions) if answer is not None else 0.0,
      'answered': float(answer is not None),
    }
    for answer in found
  ]


majority.level = 'group'


def _finder(extract: str | Callable[[str], Hashable | None], tag: str):
  if extract:
    return binding.resolve(extract) if isinstance(extract, str) else extract
  if tag:
    return lambda part: tuple(similarity.normalized_words(part)) or None
  return answers.extract_number


def distinctness(completions: Sequence[str], *, n: int = 2) -> list[float]:
  """How different a completion is from the others of its group: 1 − mean Jaccard similarity.

  Of the sets of n-grams of lower-case words (all words as one where there are fewer than n); two
  without words are equal. 0 in a group of one.

  Args:
    completions: of a group.
    n: words of an n-gram.

  Returns:
    For each a number between 0 and 1.

  Raises:
    ValueError: n < 1.
  """
  if n < 1:
    raise ValueError(f'distinctness: n={n}; needs a word at least')
  words = [[word.lower() for word in units.words(text)] for text in completions]
  grams = [set(embeddings.ngrams(own, n)) for own in words]
  if len(grams) < 2:
    return [0.0] * len(grams)
  found = []
  for i, own in enumerate(grams):
    alike = [_jaccard(own, other) for j, other in enumerate(grams) if j != i]
    found.append(1 - sum(alike) / len(alike))
  return found


distinctness.level = 'group'


def diverse_answers(
  completions: Sequence[str],
  answers: Sequence[Any],
  *,
  marker: str = '',
  low: float = 0.0,
  high: float = 0.5,
) -> list[dict[str, float]]:
  """The share of the group's other answers that differ, where the own one is near the reference.

  d = 1 − edit ratio of the answer and str(reference); outside low ≤ d ≤ high nothing is paid. So
  the reference need not be repeated word for word, and it is not left for anything else.

  Args:
    completions: of a group.
    answers: the references, one for each.
    marker: the answer of a completion is what follows the last of these; '' = all of it. Without a
      marker there is no answer.
    low, high: the band of d, both included.

  Returns:
    For each 'reward', and the components 'deviation' (d; 1 without an answer) and 'differs'.

  Raises:
    ValueError: a band that is empty.

  Source: DARL, "Encouraging Diverse Answers for General Reasoning without Verifiers".
  Differs from the source: formula not confirmed against the paper; the measure of deviation and the
    band are guesses.
  """
  if not low <= high:
    raise ValueError(f'diverse_answers: there is nothing between low={low} and high={high}')
  own = [_answer(text, marker) for text in completions]
  found = []
  for i, (answer, reference) in enumerate(zip(own, answers)):
    others = [other for j, other in enumerate(own) if j != i]
    far = 1.0 if answer is None else 1 - similarity.edit_ratio(answer, str(reference))
    differs = sum(other != answer for other in others) / max(len(others), 1)
    paid = answer is not None and low <= far <= high
    found.append({'reward': differs * paid, 'deviation': far, 'differs': differs})
  return found


diverse_answers.level = 'group'


def _answer(text: str, marker: str) -> str | None:
  if marker not in text:
    return None
  return (text.rpartition(marker)[2] if marker else text).strip()


def _jaccard(one: set, other: set) -> float:
  return len(one & other) / len(one | other) if one or other else 1.0


def ranked(*, reward: Reward, **fields: Any) -> list[Any]:
  """The rank of another reward among all completions of the call, from 0 (worst) to 1 (best).

  Equal ones share the mean of their ranks; a call with a single reward gives ½. Samples that the
  other reward fails on have no rank. A strategy that scores one group at a time ranks within it.

  Args:
    reward: what is ranked.
    fields: of the batch.

  Returns:
    For each 'reward', the components of the other one, and 'value', what it gave.
  """
  outcomes = nesting.nested(reward, 'reward').many(fields)
  values = sorted(outcome.reward for outcome in outcomes if not outcome.message)
  first: dict[float, int] = {}
  for place, value in enumerate(values):
    first.setdefault(value, place)
  counts, last = Counter(values), max(len(values) - 1, 1)
  found: list[Any] = []
  for outcome in outcomes:
    if outcome.message:
      found.append(nesting.RewardError(f'reward: {outcome.message}'))
      continue
    value = outcome.reward
    place = first[value] + (counts[value] - 1) / 2 if len(values) > 1 else 0.5
    found.append({**outcome.components, 'reward': place / last, 'value': value})
  return found


ranked.level = 'batch'
ranked.rewards_in = ('reward',)
