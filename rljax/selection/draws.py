"""Random bits for tokens that do not depend on where the tokens lie."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def token_bits(key: Array, segment_ids: Array, sample_ids: Array, positions: Array) -> Array:
  """uint32 [..., T]: a function of the key, the token's sample and its position in the sample.

  So the packing of samples into rows, and the cut into micro-batches, change no draw.
  """
  sample = masking.segment_to_token(sample_ids, segment_ids)

  def draw(sample, position):
    key_of_token = jax.random.fold_in(jax.random.fold_in(key, sample), position)
    return jax.random.bits(key_of_token, dtype=jnp.uint32)

  bits = jax.vmap(draw)(sample.reshape(-1), positions.reshape(-1))
  return bits.reshape(segment_ids.shape)
