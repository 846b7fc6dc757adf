"""The noise of a draw: a pure function of (seed, draw, sample, position) and of nothing else.

Batch, slot, mesh and restart have no part in it, so the same request gets the same noise, bit for
bit, wherever it is decoded.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def row_keys(seed: Array | int, draw_ids: Array, sample_index: Array) -> Array:
  """`fold_in(fold_in(key(seed), draw_id), sample_index)`, one threefry key for each sample.

  Args:
    seed: integer in [0, 2³²), may be traced.
    draw_ids: uint32 [N].
    sample_index: int32 [N].

  Returns:
    typed keys [N].

  Raises:
    OverflowError: a seed (no tracer) outside [0, 2³²).

  Examples:
    >>> keys = sampling.row_keys(0, jnp.array([5, 5], jnp.uint32), jnp.array([0, 1]))
    >>> print(keys.shape, bool(keys[0] == keys[1]))  # two samples of one draw
    (2,) False
  """
  if isinstance(seed, int | np.integer):
    seed = np.uint32(int(seed))  # refuses what does not fit, and is the same with and without x64
  # The generator is named: the default one is a setting of the process.
  key = jax.random.key(jnp.asarray(seed).astype(jnp.uint32), impl='threefry2x32')
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  keys = fold(key, jnp.asarray(draw_ids).astype(jnp.uint32))
  return jax.vmap(jax.random.fold_in)(keys, jnp.asarray(sample_index).astype(jnp.uint32))


def gumbel(keys: Array, positions: Array, num: int) -> Array:
  """Standard Gumbel noise `−log(−log(1 − v))`, v uniform on (0, 1) in steps of 2⁻³².

  `argmax(logits + noise)` is a draw from softmax(logits). The large values, which decide about
  improbable tokens, come from small v, where float32 keeps all 32 bits: probabilities are right
  down to 1e-9, where 23 random bits would stop at 1e-7.

  Args:
    keys: typed keys [N], of `row_keys`.
    positions: int32 [N], index of the drawn token in its sample, prompt included.
    num: V.

  Returns:
    float32 [N, V].

  Examples:
    >>> keys = sampling.row_keys(0, jnp.array([5], jnp.uint32), jnp.array([0]))
    >>> noise = sampling.gumbel(keys, jnp.array([7]), 3)
    >>> print(jnp.argmax(jnp.log(jnp.array([[0.2, 0.5, 0.3]])) + noise))  # a draw, always the same
    1
  """
  keys = jax.vmap(jax.random.fold_in)(keys, positions.astype(jnp.uint32))
  bits = jax.vmap(lambda key: jax.random.bits(key, (num,), jnp.uint32))(keys)
  uniform = (bits.astype(jnp.float32) + 0.5) * jnp.float32(2**-32)
  uniform = jnp.minimum(uniform, jnp.float32(1 - 2**-24))  # the cast rounds up to 1
  return -jnp.log(-jnp.log1p(-uniform))
