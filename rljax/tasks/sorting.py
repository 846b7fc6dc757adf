"""Sorting: the letters of a random word in alphabetical order.

    prompt      qkzbwaph>
    completion  abhkpqwz
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter

from rljax.prompts import Prompt, Task, TokenTwin
from rljax.tasks import procedural, words
from rljax.tasks.words import LETTERS, candidates, demonstrate, is_word, steps


def sorting(
  *,
  length: int = 8,
  letters: str = LETTERS,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Random words to sort; the tokenizer is `tokenization.characters(alphabet=letters + '>')`.

  Words of the same letters, in whatever order, are on the same side of the split.

  Args:
    length: letters of a word; a letter may come up more than once.
    letters: that words are made of, in their order.
    num_train: training prompts; a word may come up more than once.
    num_test: held-out words, no two of the same letters.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the words, not of the split.

  Raises:
    ValueError: an impossible length, or fewer than `num_test` held-out problems.

  Examples:
    >>> task = tasks.sorting(length=5, num_train=8, num_test=4)
    >>> print(task.train[1].text, task.demonstrate(task.train[1]))
    ufcpx> cfpux
  """
  if length < 1 or not letters:
    raise ValueError(f'sorting: length={length}, letters={letters!r}; needs a letter at least')
  held_out_below = procedural.threshold(test_fraction)

  def make(split: str, index: int, prompt_id: int) -> Prompt:
    def propose(draw: procedural.Draw) -> str | None:
      word = ''.join(draw.one_of(letters) for _ in range(length))
      held_out = procedural.mix(map(ord, sorted(word))) < held_out_below
      return word if held_out == (split == 'test') else None

    word = procedural.first_accepted(
      procedural.Draw('sorting', seed, split, index),
      propose,
      f'sorting: no word found for the {split} split; raise length',
    )
    answer = ''.join(sorted(word, key=letters.index))
    return Prompt(text=f'{word}>', prompt_id=prompt_id, answer=answer)

  return Task(
    name='sorting',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      lambda prompt: prompt.answer,
      f'sorting: too few words for num_test={num_test}; raise length or test_fraction',
    ),
    reward='tasks.words.reward',
    demonstrate=demonstrate,
    candidates=candidates,
    steps=steps,
    well_formed=functools.partial(is_word, letters=frozenset(letters)),
    license='Apache-2.0 (generated)',
    twin=token_twin(length=length, letters=letters, test_fraction=test_fraction),
  )


def in_order(completion: str) -> float:
  """Share of the neighbouring letters that are in order; 0 for less than two letters.

  It sees no prompt: one letter again and again has all of it.
  """
  pairs = list(itertools.pairwise(completion))
  return sum(a <= b for a, b in pairs) / len(pairs) if pairs else 0.0


def kept(completion: str, answer: str) -> float:
  """Letters in common with the prompt / letters of the longer: 1 for any order of them.

  Args:
    completion: any text.
    answer: the letters of the prompt.
  """
  shared = (Counter(completion) & Counter(answer)).total()
  return shared / max(len(completion), len(answer))


def token_twin(
  *, length: int = 8, letters: str = LETTERS, test_fraction: float = 0.1
) -> TokenTwin:
  """Training prompts and the reward on token arrays; arguments as in `sorting`."""
  below = procedural.threshold(test_fraction)

  def prompts(key, num_prompts: int):
    import jax.numpy as jnp

    from rljax.tasks import token_words

    word, size = token_words.any_words(
      key,
      num_prompts,
      codes=jnp.array([ord(letter) for letter in letters]),
      min_length=length,
      max_length=length,
      accept=lambda codes, size: token_words.sorted_mix(codes, size) >= jnp.uint32(below),
    )
    tokens, num_tokens = token_words.write(word, size, token_words.FIRST + len(letters))
    return tokens, num_tokens, {'word': jnp.sort(word, axis=1) + token_words.FIRST, 'size': size}

  return words.token_twin(letters, length, prompts)
