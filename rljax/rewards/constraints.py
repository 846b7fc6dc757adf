"""Whether a completion does what it was told where that can be checked: number of words, form …

A constraint is a dict: its 'kind', of `constraint_kinds.KINDS`, and the arguments of that check.
Verified and lenient forms as described in Zhou et al. 2023, arXiv 2311.07911 (IFEval); the checks
are this file's own and differ from theirs in detail.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rljax import binding
from rljax.rewards.constraint_kinds import KINDS, RELATIONS
from rljax.rewards.judges.rubric import rubric_score


def follow(
  completion: str, metadata: dict[str, Any], *, lenient: bool = False, partial: bool = False
) -> dict[str, float]:
  """1 if the completion follows all constraints of its prompt, else 0.

  Args:
    completion: any text; one without a character but white space follows nothing.
    metadata: {'constraints': [dict(kind='words', number=30, relation='at least'), …]}.
    lenient: whether a constraint may also be followed by one of the `lenient_forms`.
    partial: True: the reward is the share of constraints that are followed.

  Returns:
    'reward', and the components 'strict' and 'lenient' (1 if all are followed), 'strict_share' and
    'lenient_share' (share of the constraints).

  Raises:
    ValueError: no constraints, or one that is none.

  Source: Zhou et al. 2023, arXiv 2311.07911 (IFEval): prompt- and instruction-level accuracy.
  Differs from the source: see the checks.
  """
  constraints = metadata.get('constraints')
  if not constraints:
    raise ValueError(f"metadata['constraints'] is {constraints!r}; needs one at least")
  strict = [is_followed(completion, constraint) for constraint in constraints]
  loose = [
    is_strict or any(is_followed(form, constraint) for form in lenient_forms(completion))
    for is_strict, constraint in zip(strict, constraints)
  ]
  found = {}
  for name, followed in (('strict', strict), ('lenient', loose)):
    found[name] = float(all(followed))
    found[f'{name}_share'] = sum(followed) / len(followed)
  chosen = ('lenient' if lenient else 'strict') + ('_share' if partial else '')
  return {'reward': found[chosen], **found}


def rubric(
  completion: str,
  metadata: dict[str, Any],
  *,
  weights: Sequence[tuple[str, float]] = (),
  saturation: float = 1.0,
) -> dict[str, float]:
  """The constraints as weighted criteria: the share of their weights that is followed.

  Args:
    completion: any text.
    metadata: {'constraints': […]}, see `follow`.
    weights: (kind of constraint, its weight) pairs; the others have the weight 1.
    saturation: as in `judges.rubric.rubric_score`.

  Returns:
    As `rubric_score`, and the component 'strict': 1 if all are followed.

  Raises:
    ValueError: as `follow`, or a weight of a kind that does not exist.
  """
  strict = follow(completion, metadata)['strict']
  weighed = dict(weights)
  for kind in weighed:
    _check_of({'kind': kind}, 'rubric: weights')
  asked = metadata['constraints']
  criteria = [{'text': c['kind'], 'weight': weighed.get(c['kind'], 1.0)} for c in asked]
  held = [float(is_followed(completion, c)) for c in asked]
  return {**rubric_score(held, criteria, saturation=saturation), 'strict': strict}


def is_followed(text: str, constraint: Mapping[str, Any]) -> bool:
  """Whether a text follows one constraint; an empty text follows none.

  Raises:
    ValueError: no such constraint.
  """
  arguments = {name: value for name, value in constraint.items() if name != 'kind'}
  check = _check_of(constraint, 'constraint')
  text = text.strip()
  return bool(text) and check(text, **arguments)


def lenient_forms(text: str) -> Iterator[str]:
  """The text without its asterisks, without its first line, its last line, or several of these.

  A friendly opening or closing line, or bold type, then does no harm.
  """
  for plain in (text, text.replace('*', '')):
    lines = plain.strip().split('\n')
    for without_first in (0, 1):
      for without_last in (0, 1):
        kept = lines[without_first : len(lines) - without_last]
        yield '\n'.join(kept).strip()


def validate(constraints: Sequence[Mapping[str, Any]], where: str) -> None:
  """Checks kinds and arguments before any text is there.

  Args:
    constraints: of a prompt.
    where: they come from, for the message.

  Raises:
    ValueError: names the place and the constraint.
  """
  if not constraints:
    raise ValueError(f'{where}: no constraints')
  for constraint in constraints:
    check = _check_of(constraint, where)
    arguments = {name: value for name, value in constraint.items() if name != 'kind'}
    try:
      inspect.signature(check).bind('text', **arguments)
    except TypeError as error:
      raise ValueError(f'{where}: constraint {dict(constraint)}: {error}') from None
    if constraint.get('relation', 'exactly') not in RELATIONS:
      raise ValueError(
        f'{where}: constraint {dict(constraint)}: its relation is none of {", ".join(RELATIONS)}'
      )


def _check_of(constraint: Mapping[str, Any], where: str) -> Any:
  kind = constraint.get('kind')
  if kind not in KINDS:
    raise ValueError(
      f'{where}: {kind!r} is no kind of constraint{binding.near(str(kind), KINDS)}; '
      f'there are {", ".join(sorted(KINDS))}'
    )
  return KINDS[kind]
