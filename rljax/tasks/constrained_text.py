"""Constrained text: write something about a subject, and keep to rules that a program can check.

    prompt      Write a short text about the garden. Use at least 12 words. Use no comma.
    completion  The garden is near the old house. We walk to the garden in the morning.

A problem is (subject, constraints). Which side of the split it is on is a hash of that.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from rljax.prompts import Prompt, Task
from rljax.rewards import constraints
from rljax.tasks import constrained_writing, procedural
from rljax.tasks.constrained_writing import SUBJECTS, WORDS

Constraint = dict[str, Any]


def constrained_text(
  *,
  min_constraints: int = 1,
  max_constraints: int = 3,
  size: int = 4,
  kinds: Sequence[str] = (),
  lenient: bool = False,
  partial: bool = False,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Short texts under constraints; every problem has a demonstration that follows all of them.

  Args:
    min_constraints, max_constraints: of a prompt: how difficult it is.
    size: largest number that a constraint asks for, in sentences; words come ten times as many.
    kinds: that come up, of `KINDS`; () = all.
    lenient, partial: as in `rewards.constraints.follow`.
    num_train: training prompts; a problem may come up more than once.
    num_test: held-out problems, all different.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: an impossible range, an unknown kind, or fewer than `num_test` held-out problems.

  Examples:
    >>> task = tasks.constrained_text(num_train=8, num_test=4)
    >>> print(task.train[0].text)
    Write a short text about the mountain. Use no digit.
  """
  kinds = tuple(kinds) or tuple(KINDS)
  unknown = [kind for kind in kinds if kind not in KINDS]
  if unknown or not 1 <= min_constraints <= max_constraints <= len(kinds) or size < 1:
    raise ValueError(
      f'constrained_text: min_constraints={min_constraints}, max_constraints={max_constraints}, '
      f'size={size}, kinds={kinds}; needs 1 ≤ min ≤ max ≤ number of kinds, size ≥ 1, and kinds of '
      f'{", ".join(KINDS)}'
    )
  held_out_below = procedural.threshold(test_fraction)

  def make(split: str, index: int, prompt_id: int) -> Prompt:
    def propose(draw: procedural.Draw) -> tuple[str, list[Constraint], str] | None:
      subject = draw.one_of(SUBJECTS)
      chosen = draw.shuffled(kinds)[: draw.between(min_constraints, max_constraints)]
      asked = [{'kind': kind, **KINDS[kind][0](draw, size)} for kind in chosen]
      held_out = procedural.mix(map(ord, _canonical(subject, asked))) < held_out_below
      if held_out != (split == 'test'):
        return None
      text = constrained_writing.write(subject, asked)
      return None if text is None else (subject, asked, text)

    subject, asked, text = procedural.first_accepted(
      procedural.Draw('constrained_text', seed, split, index),
      propose,
      f'constrained_text: no problem found for the {split} split; allow more kinds',
    )
    rules = ' '.join(KINDS[c['kind']][1](c) for c in asked)
    return Prompt(
      text=f'Write a short text about the {subject}. {rules}\n',
      prompt_id=prompt_id,
      metadata={'subject': subject, 'constraints': asked, 'demonstration': text},
    )

  return Task(
    name='constrained_text',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      canonical,
      f'constrained_text: too few problems for num_test={num_test}; raise max_constraints, size '
      'or test_fraction',
    ),
    reward={'name': 'rewards.constraints.follow', 'lenient': lenient, 'partial': partial},
    demonstrate=demonstrate,
    license='Apache-2.0 (generated)',
  )


def demonstrate(prompt: Prompt) -> str:
  """A text that follows the constraints."""
  return prompt.metadata['demonstration']


def remind(prompt: Prompt, completion: str) -> str | None:
  """The prompt with the rules that a completion has broken said again; None if there are none."""
  asked = prompt.metadata['constraints']
  broken = [c for c in asked if not constraints.is_followed(completion, c)]
  again = ' '.join(KINDS[c['kind']][1](c) for c in broken)
  return f'{prompt.text.rstrip()} {again}\n' if broken else None


def canonical(prompt: Prompt) -> str:
  """Equal for two prompts that are the same problem, in whatever order its constraints stand."""
  return _canonical(prompt.metadata['subject'], prompt.metadata['constraints'])


def _canonical(subject: str, asked: Sequence[Constraint]) -> str:
  return '/'.join([subject, *sorted(json.dumps(c, sort_keys=True) for c in asked)])


# -- kind → (draws its arguments, says it)


def _number(one: str, many: str, *relations: str, factor: int = 1) -> tuple[Callable, Callable]:
  def arguments(draw: procedural.Draw, size: int) -> Constraint:
    number = factor * draw.between(1, size)
    return {'number': number, 'relation': draw.one_of(relations)}

  def say(c: Constraint) -> str:
    return f'Use {c["relation"]} {c["number"]} {one if c["number"] == 1 else many}.'

  return arguments, say


def _fixed(text: str, **arguments: Any) -> tuple[Callable, Callable]:
  return (lambda draw, size: dict(arguments)), (lambda c: text)


def _times(number: int) -> str:
  return 'once' if number == 1 else f'{number} times'


def _some_words(draw: procedural.Draw, size: int) -> list[str]:
  return draw.shuffled(WORDS)[: draw.between(1, min(size, 3))]


_AT_LEAST, _AT_MOST, _EXACTLY = 'at least', 'at most', 'exactly'
KINDS: dict[str, tuple[Callable, Callable]] = {
  'words': _number('word', 'words', _AT_LEAST, _AT_MOST, factor=10),
  'sentences': _number('sentence', 'sentences', _AT_LEAST, _AT_MOST, _EXACTLY),
  'paragraphs': (
    lambda draw, size: {'number': draw.between(1, size)},
    lambda c: f'The number of paragraphs is {c["number"]}, with blank lines between.',
  ),
  'keywords': (
    lambda draw, size: {'keywords': _some_words(draw, size)},
    lambda c: f'These words must appear: {" ".join(c["keywords"])}.',
  ),
  'forbidden': (
    lambda draw, size: {'keywords': _some_words(draw, size)},
    lambda c: f'These words must not appear: {" ".join(c["keywords"])}.',
  ),
  'keyword_count': (
    lambda draw, size: {
      'keyword': draw.one_of(WORDS),
      'number': draw.between(1, size),
      'relation': draw.one_of((_AT_LEAST, _EXACTLY)),
    },
    lambda c: f'The word {c["keyword"]} must appear {c["relation"]} {_times(c["number"])}.',
  ),
  'letter_count': (
    lambda draw, size: {
      'letter': draw.one_of('abcdefghilmnoprstuw'),
      'number': draw.between(1, 2 * size),
      'relation': _AT_LEAST,
    },
    lambda c: f'The letter {c["letter"]} must appear at least {_times(c["number"])}.',
  ),
  'upper': _fixed('Use capital letters only.'),
  'lower': _fixed('Use small letters only.'),
  'capital_words': _number('word in capitals', 'words in capitals', _AT_LEAST),
  'no_commas': _fixed('Use no comma.'),
  'no_digits': _fixed('Use no digit.'),
  'starts_with': _fixed('Begin with the words: Listen to me.', phrase='Listen to me'),
  'ends_with': _fixed('End with the words: That is all.', phrase='That is all.'),
  'quoted': _fixed('Put the whole text in double quotation marks.'),
  'json': _fixed('Write nothing but a JSON object.'),
  'bullets': _number('line that begins with a star', 'lines that begin with a star', _EXACTLY),
  'placeholders': _number('place like [name]', 'places like [name]', _AT_LEAST),
  'highlights': _number('part between *stars*', 'parts between *stars*', _AT_LEAST),
  'postscript': _fixed('Add a postscript that starts with P.S.', marker='P.S.'),
  'title': _fixed('Give it a title in double angular brackets like <<title>>.'),
  'sections': (
    lambda draw, size: {'number': draw.between(1, size), 'mark': 'Part'},
    lambda c: f'Mark {c["number"]} or more sections by lines like: Part 1.',
  ),
  'two_responses': _fixed(
    'Give two different texts with a line of ****** between them.', divider='******'
  ),
}
"""Kinds of constraint that come up, with how their arguments are drawn and how they are said."""
