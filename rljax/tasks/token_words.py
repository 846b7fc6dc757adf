"""Words on token arrays: the pure jax half of sorting and reverse_text.

Ids are those of `tokenization.characters(alphabet=letters + '>')`: letter i is i + 2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.tasks.token_steps import mix, until_all_good

Array = jax.Array

FIRST = 2  # smaller ids are no characters, and vanish from the text


def reward(tokens: Array, length: Array, word: Array, size: Array) -> dict[str, Array]:
  """`tasks.words.reward` on tokens [N, C], length [N], word [N, L] of size [N] -> float32 [N]."""
  places = jnp.arange(tokens.shape[1])
  kept = (places[None, :] < length[:, None]) & (tokens >= FIRST)
  place = jnp.cumsum(kept, axis=1) - 1
  expected = jnp.take_along_axis(word, jnp.clip(place, 0, word.shape[1] - 1), axis=1)
  agree = jnp.sum(kept & (tokens == expected) & (place < size[:, None]), axis=1)
  longest = jnp.maximum(jnp.sum(kept, axis=1), size)
  return {
    'reward': (agree == longest).astype(jnp.float32),
    'similarity': agree.astype(jnp.float32) / jnp.maximum(longest, 1),
  }


def write(word: Array, size: Array, end: int) -> tuple[Array, Array]:
  """Places in the alphabet [Q, L], size [Q] -> (tokens [Q, L + 1] ending in `end`, length [Q])."""
  places = jnp.arange(word.shape[1] + 1)[None, :]
  ids = jnp.pad(word + FIRST, ((0, 0), (0, 1)))
  ids = jnp.where(places < size[:, None], ids, 0)
  return jnp.where(places == size[:, None], end, ids).astype(jnp.int32), size + 1


def any_words(
  key: Array, num: int, *, codes: Array, min_length: int, max_length: int, accept
) -> tuple[Array, Array]:
  """Random words: (places in the alphabet int32 [num, max_length], size int32 [num]).

  Args:
    key: of the draws.
    num: words.
    codes: int32, code point of each letter.
    min_length, max_length: of a word.
    accept: (code points [num, max_length], size) -> bool [num]; others are drawn again.
  """

  def propose(key):
    sizes, letters = jax.random.split(key)
    size = jax.random.randint(sizes, (num,), min_length, max_length + 1)
    word = jax.random.randint(letters, (num, max_length), 0, codes.shape[0])
    return (word, size), accept(codes[word], size)

  return until_all_good(key, propose)


def sorted_mix(codes: Array, size: Array) -> Array:
  """`mix` of the letters in order, whatever their order; all words as long as the array."""
  del size
  return mix(jnp.sort(codes, axis=1))


def reversible_mix(codes: Array, size: Array) -> Array:
  """`mix` of the lesser of the word and its reverse."""
  mirrored = reverse(codes, size)
  inside = jnp.arange(codes.shape[1])[None, :] < size[:, None]
  differ = inside & (codes != mirrored)
  first = jnp.argmax(differ, axis=1)[:, None]
  lesser = jnp.take_along_axis(codes, first, 1) <= jnp.take_along_axis(mirrored, first, 1)
  return mix(jnp.where(lesser, codes, mirrored), size)


def reverse(word: Array, size: Array) -> Array:
  """[Q, L] with the first `size` entries in reverse order."""
  places = size[:, None] - 1 - jnp.arange(word.shape[1])[None, :]
  return jnp.take_along_axis(word, jnp.maximum(places, 0), axis=1)
