"""Reverse text: the characters of a random word in reverse order.

    prompt      hello>
    completion  olleh
"""

from __future__ import annotations

import functools

from rljax.prompts import Prompt, Task, TokenTwin
from rljax.tasks import procedural, words
from rljax.tasks.words import LETTERS, candidates, demonstrate, is_word, steps


def reverse_text(
  *,
  min_length: int = 4,
  max_length: int = 10,
  letters: str = LETTERS,
  instruction: str = '',
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Random words to reverse; the tokenizer is `tokenization.characters(alphabet=letters + '>')`.

  A word and its reverse are on the same side of the split.

  Args:
    min_length, max_length: of a word, characters.
    letters: that words are made of.
    instruction: text in front of the word, for models that follow instructions.
    num_train: training prompts; a word may come up more than once.
    num_test: held-out words, all different.
    test_fraction: share of all words that is held out, as a fraction.
    seed: of the words, not of the split.

  Raises:
    ValueError: an impossible range, or fewer than `num_test` held-out words.

  Examples:
    >>> task = tasks.reverse_text(num_train=8, num_test=4)
    >>> print(task.train[0].text, task.demonstrate(task.train[0]))
    qlgyr> ryglq
  """
  if not 1 <= min_length <= max_length or not letters:
    raise ValueError(
      f'reverse_text: min_length={min_length}, max_length={max_length}, letters={letters!r}; '
      'needs 1 ≤ min_length ≤ max_length and some letters'
    )
  held_out_below = procedural.threshold(test_fraction)

  def make(split: str, index: int, prompt_id: int) -> Prompt:
    def propose(draw: procedural.Draw) -> str | None:
      size = draw.between(min_length, max_length)
      word = ''.join(draw.one_of(letters) for _ in range(size))
      held_out = procedural.mix(map(ord, canonical(word))) < held_out_below
      return word if held_out == (split == 'test') else None

    word = procedural.first_accepted(
      procedural.Draw('reverse_text', seed, split, index),
      propose,
      f'reverse_text: no word found for the {split} split; raise max_length',
    )
    return Prompt(text=f'{instruction}{word}>', prompt_id=prompt_id, answer=word[::-1])

  return Task(
    name='reverse_text',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      lambda prompt: prompt.answer,
      f'reverse_text: too few words for num_test={num_test}; raise max_length or test_fraction',
    ),
    reward='tasks.words.reward',
    demonstrate=demonstrate,
    candidates=candidates,
    steps=steps,
    well_formed=functools.partial(is_word, letters=frozenset(letters)),
    license='Apache-2.0 (generated)',
    twin=token_twin(
      min_length=min_length, max_length=max_length, letters=letters, test_fraction=test_fraction
    ),
  )


def token_twin(
  *,
  min_length: int = 4,
  max_length: int = 10,
  letters: str = LETTERS,
  test_fraction: float = 0.1,
) -> TokenTwin:
  """Training prompts (without an instruction) and the reward on token arrays.

  Args:
    min_length, max_length, letters, test_fraction: as in `reverse_text`.
  """
  below = procedural.threshold(test_fraction)

  def prompts(key, num_prompts: int):
    import jax.numpy as jnp

    from rljax.tasks import token_words

    word, size = token_words.any_words(
      key,
      num_prompts,
      codes=jnp.array([ord(letter) for letter in letters]),
      min_length=min_length,
      max_length=max_length,
      accept=lambda codes, size: token_words.reversible_mix(codes, size) >= jnp.uint32(below),
    )
    tokens, num_tokens = token_words.write(word, size, token_words.FIRST + len(letters))
    places = jnp.arange(max_length)[None, :]
    answer = token_words.reverse(word, size) + token_words.FIRST
    answer = jnp.where(places < size[:, None], answer, 0)
    return tokens, num_tokens, {'word': answer, 'size': size}

  return words.token_twin(letters, max_length, prompts)


def canonical(word: str) -> str:
  """The lesser of a word and its reverse: equal for two prompts that are the same problem."""
  return min(word, word[::-1])
