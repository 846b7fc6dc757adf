"""Retrieval: questions about facts that nobody knows, for the tool `environments.search`.

    passages    The key of box 1702 is 4821. / The box of room 3356 is 1702.
    prompt      What is the key of the box of room 3356?
    completion  4821, or with the tool: <box of room 3356> is said, |[1] The box …| is heard, …
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence

from rljax import files
from rljax.prompts import Prompt, Task
from rljax.tasks import drawn, procedural

KINDS = ('key', 'box', 'room', 'house', 'street', 'town')
CALL, RESULT, ERROR = ('<', '>'), ('|', '|'), '!'  # of `environments.tools`
ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789TW .?[]<>|!'


def retrieval(
  *,
  corpus: str = '',
  num_facts: int = 1000,
  hops: int = 1,
  num_digits: int = 4,
  tool_share: float = 0.0,
  num_train: int = 100_000,
  num_test: int = 64,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  r"""Questions about made-up facts; `tokenization.characters(alphabet=ALPHABET)` can write them.

  All facts stand in the corpus; a thing that is asked about is on one side of the split.

  Args:
    corpus: file that the passages are written to, a line each, for the tool's `corpus`; '' = none.
    num_facts: of each kind; the corpus has hops · num_facts passages.
    hops: facts that a question needs, 1 to 5: the box of a room, then the key of that box.
    num_digits: of all numbers; no number stands for two things.
    tool_share: share of the prompts whose demonstration searches, as a fraction; what is heard is
      the result of the tool with num=1.
    num_train: training prompts; a question comes up more than once.
    num_test: held-out questions, all different.
    test_fraction: share of all questions that is held out, as a fraction.
    seed: of the facts and the questions, not of the split.

  Raises:
    ValueError: an impossible setting, fewer than `num_test` held-out questions, or a corpus file
      that holds something else.

  Examples:
    >>> task = tasks.retrieval(num_facts=20, num_train=8, num_test=1, corpus='facts.txt')
    >>> print(task.train[0].text, task.train[0].answer)
    What is the key of box 1348? 6451
    >>> print(files.read_text('facts.txt').split('\n')[0])
    The key of box 7662 is 3047.
  """
  if num_facts < 1 or not 1 <= hops < len(KINDS) or not 1 <= num_digits <= 6:
    raise ValueError(
      f'retrieval: num_facts={num_facts}, hops={hops}, num_digits={num_digits}; needs num_facts ≥ '
      f'1, 1 ≤ hops ≤ {len(KINDS) - 1} and 1 ≤ num_digits ≤ 6'
    )
  low = 10 ** (num_digits - 1)
  if (hops + 1) * num_facts > 9 * low:
    raise ValueError(
      f'retrieval: num_facts={num_facts} with hops={hops} needs {(hops + 1) * num_facts} numbers, '
      f'of num_digits={num_digits} there are {9 * low}'
    )
  numbers = procedural.Draw('retrieval', 'facts', seed).shuffled(range(low, 10 * low))
  chains = [tuple(numbers[i :: num_facts][: hops + 1]) for i in range(num_facts)]
  if corpus:
    _write(pathlib.Path(corpus).expanduser(), passages(chains))

  def propose(draw: procedural.Draw) -> drawn.Problem:
    chain = draw.one_of(chains)
    calls = draw.below(1000) < 1000 * tool_share
    asked = f'{KINDS[hops]} {chain[-1]}'
    text = f'What is the {" of the ".join(KINDS[:hops])} of {asked}?'
    return drawn.Problem(asked, lambda: (text, str(chain[0]), {'chain': chain, 'calls': calls}))

  return drawn.drawn(
    'retrieval',
    propose,
    advice='raise num_facts',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward='tasks.words.reward',
    demonstrate=demonstrate,
    well_formed=str.isdigit,
  )


def passages(chains: Sequence[tuple[int, ...]]) -> list[str]:
  """The facts, of each chain of (key, box, room, …)."""
  return [
    f'The {KINDS[i]} of {KINDS[i + 1]} {owner} is {thing}.'
    for chain in chains
    for i, (thing, owner) in enumerate(itertools.pairwise(chain))
  ]


def demonstrate(prompt: Prompt) -> str | Sequence[tuple[str, bool]]:
  """The answer, at once or by a search for each fact, the last thing of the question first."""
  if not prompt.metadata['calls']:
    return prompt.answer
  parts = []
  for fact in reversed(passages([prompt.metadata['chain']])):
    query = fact.removeprefix('The ').partition(' is ')[0]
    parts.append((f'{CALL[0]}{query}{CALL[1]}', True))
    parts.append((f'{RESULT[0]}[1] {fact}{RESULT[1]}', False))
  return [*parts, (prompt.answer, True)]


def _write(path: pathlib.Path, lines: Sequence[str]) -> None:
  text = ''.join(f'{line}\n' for line in lines)
  if not path.exists():
    files.write_text(path, text)
  elif files.read_text(path) != text:
    raise ValueError(
      f'retrieval: corpus={str(path)!r} exists and holds other passages than these num_facts, hops,'
      ' num_digits and seed make; name another file'
    )
