"""Look-up: follow a chain of keys through pairs that stand in no order, among other chains.

    prompt      mq:ab,cd:ef,xy:cd,zz:mq?xy>
    completion  ef

The answer is where the chain ends: the value that is no key. Other chains are as long.
"""

from __future__ import annotations

import functools

from rljax.prompts import Prompt, Task
from rljax.tasks import drawn, procedural
from rljax.tasks.words import LETTERS, demonstrate, is_word

ALPHABET = LETTERS + ':,?>'


def reward(completion: str, answer: str, metadata: dict) -> dict[str, float]:
  """1 if the completion is the end of the chain, else 0.

  Args:
    completion: a key.
    answer: the end of the chain.
    metadata: 'chain', the keys from the one that is asked for to the end.

  Returns:
    'reward', and the component 'progress': how far along the chain the completion is, 0 … 1.
  """
  chain = metadata['chain']
  place = chain.index(completion) if completion in chain else 0
  return {'reward': float(completion == answer), 'progress': place / (len(chain) - 1)}


def lookup(
  *,
  chain: int = 2,
  num_pairs: int = 8,
  key_length: int = 2,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Chains of keys; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Chains of the same keys in the same order are on the same side of the split, whatever stands
  around them.

  Args:
    chain: pairs from the key that is asked for to the answer.
    num_pairs: of the prompt, those of the chain included: how long the context is.
    key_length: letters of a key.
    num_train: training prompts; a chain may come up more than once.
    num_test: held-out chains, all different.
    test_fraction: share of all chains that is held out, as a fraction.
    seed: of the chains, not of the split.

  Raises:
    ValueError: an impossible length, more keys than there are, or fewer than `num_test` held-out
      chains.

  Examples:
    >>> task = tasks.lookup(num_train=8, num_test=4, num_pairs=3)
    >>> print(task.train[0].text, task.train[0].answer)
    qc:jv,mf:oq,jv:ue?qc> ue
  """
  num_chains = -(-num_pairs // chain) if chain > 0 else 0
  if not 1 <= chain <= num_pairs or not 1 <= key_length <= 8:
    raise ValueError(
      f'lookup: chain={chain}, num_pairs={num_pairs}, key_length={key_length}; needs 1 ≤ chain ≤ '
      'num_pairs and 1 ≤ key_length ≤ 8'
    )
  if num_pairs + num_chains > len(LETTERS) ** key_length:
    raise ValueError(
      f'lookup: num_pairs={num_pairs} with chain={chain} needs {num_pairs + num_chains} keys, of '
      f'key_length={key_length} there are {len(LETTERS) ** key_length}'
    )

  def propose(draw: procedural.Draw) -> drawn.Problem:
    keys = _add_keys([], chain + 1, draw, key_length)

    def write():
      every = _add_keys(keys, num_pairs + num_chains, draw, key_length)
      pairs = [
        f'{a}:{b}'
        for start in range(0, len(every), chain + 1)
        for a, b in zip(every[start : start + chain], every[start + 1 : start + chain + 1])
      ]
      text = f'{",".join(draw.shuffled(pairs))}?{keys[0]}>'
      return text, keys[-1], {'chain': tuple(keys)}

    return drawn.Problem('/'.join(keys), write)

  return drawn.drawn(
    'lookup',
    propose,
    advice='raise key_length or chain',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward='tasks.lookup.reward',
    demonstrate=demonstrate,
    candidates=candidates if num_pairs > chain else None,
    well_formed=functools.partial(is_word, letters=frozenset(LETTERS)),
  )


def candidates(prompt: Prompt, draw: int) -> list[tuple[str, float]]:
  """The end of the chain with utility 1, then the ends of others, in random order, with 0."""
  pairs = [pair.split(':') for pair in prompt.text.partition('?')[0].split(',')]
  keys = {key for key, _ in pairs}
  others = [value for _, value in pairs if value not in keys and value != prompt.answer]
  shuffled = procedural.Draw('candidates', prompt.text, draw).shuffled(others)
  return [(prompt.answer, 1.0), *((value, 0.0) for value in shuffled)]


def _add_keys(keys: list[str], num: int, draw: procedural.Draw, length: int) -> list[str]:
  """The keys, and new ones up to `num`, no two equal."""
  found = dict.fromkeys(keys)
  while len(found) < num:
    found[''.join(draw.one_of(LETTERS) for _ in range(length))] = None
  return list(found)
