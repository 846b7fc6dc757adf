"""Guesses of a sample's next tokens, which one pass of the policy over all of them checks.

The token at position t is argmax_v filter(logits_v / τ) + g_v with g a function of (seed, draw,
sample, t). So it can be drawn for several positions at once, each as if the guesses before it were
the sample's tokens, and what is drawn behind right guesses is what the plain loop draws, token for
token; a wrong guess is replaced by the drawn token. Nothing of the distribution changes, whatever
is guessed; right guesses save steps.

A guess that is no draw is right with its probability under the policy. A draft model draws with the
noise of the policy's own draw, so that the two agree wherever their best perturbed tokens do, which
is always where their logits are equal.

Source: Leviathan et al., arXiv 2211.17192 (drafts of a model); Saxena's prompt lookup decoding.

Differs from the source: tokens are kept where both draws agree and not with probability
min(1, p / q), which would take other noise than the plain loop's; a text that repeats itself is
continued with its period.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from rljax.sampling.draw import draw
from rljax.sampling.slots import Samples, Slots, Work, of_samples, tokens_before
from rljax.structs import PyTree

Array = jax.Array

LONGEST = 3  # tokens that `lookup` wants to see again
NO_DRAFT = -1  # is no token


def guesser(work: Work, here: Array) -> Callable[..., tuple[Array, PyTree]]:
  """`guess(slots, position, at, texts) -> (drafts, cache)` for the samples `here` [S] of the slots.

  position, at: int32 [S], of the next token and of the last one, −1 = idle. drafts: int32
  [S, num_draft], −1 = no guess.
  """
  num = work.settings.num_draft

  if work.settings.speculate == 'lookup':

    def guess(slots, position, at, texts):
      del at
      return lookup(texts, position, num), slots.cache

    return guess

  rows, keys = of_samples(work, here)

  def guess(slots: Slots, position: Array, at: Array, texts: None):
    del texts

    def one(carry, i):
      tokens, cache = carry
      place = jnp.where(at < 0, -1, at + i)
      logits, cache = work.policy.draft(work.params, cache, tokens, place)
      tokens = draw(logits, keys, position + i, rows, work.settings.filters).tokens
      return (tokens, cache), tokens

    # Once more than there are drafts: the draft model, too, holds all tokens but the last.
    places = jnp.arange(num + 1, dtype=jnp.int32)
    first = (slots.tokens[: here.shape[0]], slots.cache)
    (_, cache), drafts = lax.scan(one, first, places)
    # What comes first in an empty sample has no place of its own in the cache.
    return jnp.where(position[:, None] > 0, drafts[:num].T, NO_DRAFT), cache

  return guess


def texts(work: Work, samples: Samples, here: Array) -> Array:
  """int32 [S, T]: the tokens of the samples `here` so far, behind them anything."""
  length = work.settings.length
  end = jnp.full(here.shape, length, jnp.int32)
  return tokens_before(work.requests, samples, here, end, length)[0]


def lookup(texts: Array, position: Array, num: int) -> Array:
  """What has followed the last tokens of each text where they stood before.

  The longest run of last tokens that has been seen before counts, up to three, and of its places
  the last; a run that overlaps itself goes on with its period.

  Args:
    texts: int32 [S, T].
    position: int32 [S], tokens of each text.
    num: tokens to be guessed.

  Returns:
    int32 [S, num], −1 where the last token is new.
  """
  length = texts.shape[1]
  slot = jnp.arange(length, dtype=jnp.int32)[None, :]
  last = position[:, None] - 1
  same = slot < last
  run = jnp.zeros(texts.shape, jnp.int32)
  for n in range(LONGEST):
    wanted = jnp.take_along_axis(texts, jnp.maximum(last - n, 0), axis=1)
    same &= (slot >= n) & (jnp.pad(texts, ((0, 0), (n, 0)))[:, :length] == wanted)
    run += same
  best = jnp.max(jnp.where(run > 0, run * length + slot, -1), axis=1, keepdims=True)
  end = jnp.maximum(best, 0) % length
  period = jnp.maximum(last - end, 1)
  index = end + 1 + jnp.arange(num, dtype=jnp.int32)[None, :] % period
  drafts = jnp.take_along_axis(texts, jnp.minimum(index, length - 1), axis=1)
  return jnp.where(best >= 0, drafts, NO_DRAFT)
