"""Reranking: documents in the order of their relevance to a query; relevance is letters in common.

A document is relevant by as many letters as it shares with the query, counted with repetitions.

    form      prompt                    completion
    list      abc:dbca,ffff,cdde>       <t>3,0,1</t><a>1>3>2</a>
    scores    abc:dbca,ffff,cdde>       3,0,1
    points    abc:dbca>                 3

A prompt of the form 'points' holds one document; those of a query follow each other and have the
same metadata['set'].
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

from rljax.prompts import Prompt, Task
from rljax.rewards import documents, layout, matching
from rljax.tasks import drawn, procedural
from rljax.tasks.words import LETTERS

ALPHABET = f'{LETTERS}0123456789:,></'
FORMS = ('list', 'scores', 'points')
TAGS = ('t', 'a')  # of the thoughts and the answer of a list: one letter is one token
SEPARATOR = '>'

_NUMBERS = re.compile(r'\d+(?:,\d+)*')


def list_reward(completion: str, answer: Mapping[str, float]) -> dict[str, float]:
  """NDCG of the list; 0 without the tags, or if it does not hold each document once.

  Args:
    completion: thoughts and list in their tags.
    answer: relevance by the number of the document.

  Returns:
    'reward', and the components 'accuracy' (1 if no document stands before a more relevant one,
    else 0) and 'formatted'.
  """
  tagged = layout.tags_in_order(completion, tags=TAGS)['reward']
  whole = documents.permutation(completion, answer, tag=TAGS[-1], separator=SEPARATOR)
  if not (tagged and whole):
    return {'reward': 0.0, 'accuracy': 0.0, 'formatted': 0.0}
  quality = matching.ranking(completion, answer, tag=TAGS[-1], separator=SEPARATOR)['reward']
  return {'reward': quality, 'accuracy': float(quality == 1), 'formatted': 1.0}


def points_reward(completion: str, answer: float) -> dict[str, float]:
  """1 if the score is the relevance, else 0.

  Args:
    completion: a score.
    answer: the relevance.

  Returns:
    'reward', and the component 'formatted'.
  """
  said = documents.numbers(completion)
  right = said is not None and said == [answer]
  return {'reward': float(right), 'formatted': float(said is not None and len(said) == 1)}


def reranking(
  *,
  form: str = 'list',
  num_documents: int = 5,
  num_relevant: int = 3,
  document_length: int = 4,
  query_length: int = 3,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Queries with documents; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  The relevant documents of a query differ in relevance, the others have none. A query with the
  same documents, in whatever order, is on the same side of the split; of points every query is.

  Args:
    form: 'list', 'scores' or 'points', see the module.
    num_documents: of a query, 2 to 9.
    num_relevant: of them, at least 1.
    document_length: letters; the largest relevance.
    query_length: different letters of a query.
    num_train: training prompts; a query may come up more than once. Points are of whole queries.
    num_test: held-out prompts, of different queries; points of as many as hold them.
    test_fraction: share of all queries with their documents that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: another form, an impossible size, or too few held-out problems.

  Examples:
    >>> task = tasks.reranking(num_documents=3, num_relevant=2, num_train=8, num_test=4)
    >>> print(task.train[0].text, task.demonstrate(task.train[0]))
    dnv:vfdf,ixtv,tubp> <t>2,1,0</t><a>1>2>3</a>
  """
  if form not in FORMS:
    raise ValueError(f'reranking: form={form!r} is none of {", ".join(FORMS)}')
  sizes = 2 <= num_documents <= 9 and 1 <= num_relevant <= min(num_documents, document_length)
  if not sizes or not 1 <= query_length < len(LETTERS):
    raise ValueError(
      f'reranking: num_documents={num_documents}, num_relevant={num_relevant}, '
      f'document_length={document_length}, query_length={query_length}; needs 2 ≤ num_documents ≤ '
      '9, 1 ≤ num_relevant ≤ num_documents and document_length, 1 ≤ query_length < '
      f'{len(LETTERS)}'
    )

  of_points = form == 'points'

  def propose(draw: procedural.Draw) -> drawn.Problem:
    letters = draw.shuffled(LETTERS)
    query, rest = letters[:query_length], letters[query_length:]
    grades = draw.shuffled(range(1, document_length + 1))[:num_relevant]
    grades = draw.shuffled([*grades, *[0] * (num_documents - num_relevant)])
    shown = [_document(draw, query, rest, grade, document_length) for grade in grades]
    asked = ''.join(sorted(query))
    text = f'{asked}:{",".join(shown)}>'
    answer = {str(number): float(grade) for number, grade in enumerate(grades, 1)}
    said = {'query': asked, 'documents': tuple(shown)}
    key = asked if of_points else f'{asked}:{",".join(sorted(shown))}'
    return drawn.Problem(key, lambda: (text, answer, said))

  task = drawn.drawn(
    'reranking',
    propose,
    advice='raise query_length',
    num_train=num_train // num_documents if of_points else num_train,
    num_test=-(-num_test // num_documents) if of_points else num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward=_REWARDS[form],
    demonstrate=_SAY[form],
    well_formed=_FORMED[form],
  )
  if not of_points:
    return task
  return dataclasses.replace(
    task,
    train=_points(task.train, num_documents, num_train // num_documents * num_documents),
    test=_points(task.test, num_documents, num_test),
  )


def _document(
  draw: procedural.Draw, query: Sequence[str], rest: Sequence[str], grade: int, length: int
) -> str:
  """`length` letters in random order, `grade` of them of the query."""
  letters = [draw.one_of(query) for _ in range(grade)]
  letters += [draw.one_of(rest) for _ in range(length - grade)]
  return ''.join(draw.shuffled(letters))


def _points(queries: Sequence[Prompt], size: int, num: int) -> Sequence[Prompt]:
  """The first `num` of the prompts that ask for one document of a query."""
  return procedural.Generated(num, functools.partial(_point, queries, size))


def _point(queries: Sequence[Prompt], size: int, index: int) -> Prompt:
  number, place = divmod(index, size)
  whole = queries[number]
  document = whole.metadata['documents'][place]
  return Prompt(
    text=f'{whole.metadata["query"]}:{document}>',
    prompt_id=index,
    answer=whole.answer[str(place + 1)],
    metadata={'set': number, 'problem': whole.metadata['problem']},
  )


def _say_points(prompt: Prompt) -> str:
  return f'{prompt.answer:.0f}'


def _say_scores(prompt: Prompt) -> str:
  return ','.join(f'{grade:.0f}' for grade in prompt.answer.values())


def _say_list(prompt: Prompt) -> str:
  order = sorted(prompt.answer, key=lambda item: -prompt.answer[item])
  return f'<t>{_say_scores(prompt)}</t><a>{SEPARATOR.join(order)}</a>'


def _is_list(completion: str) -> bool:
  return layout.tags_in_order(completion, tags=TAGS)['reward'] == 1


def _is_numbers(completion: str) -> bool:
  return _NUMBERS.fullmatch(completion) is not None


_REWARDS = {
  'list': 'tasks.reranking.list_reward',
  'scores': 'rewards.documents.order_of_scores',
  'points': 'tasks.reranking.points_reward',
}
_SAY = {'list': _say_list, 'scores': _say_scores, 'points': _say_points}
_FORMED = {'list': _is_list, 'scores': _is_numbers, 'points': str.isdigit}
