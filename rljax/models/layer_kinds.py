"""Layers that differ in what a token sees and how positions turn it, and the loop over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
PyTree = Any


class Kind(NamedTuple):
  """What is static of a layer and not the same in all of them.

  Attributes:
    window: tokens that a token sees, itself included; None = all before it.
    rope_theta: base of the rotary frequencies.
    rope_scaling: see `DecoderConfig`.
  """

  window: int | None
  rope_theta: float
  rope_scaling: tuple[float, ...] | None


def period(kinds: Sequence[Kind]) -> int:
  """The fewest first layers that the others repeat, the last time perhaps not to the end."""
  return next(
    n for n in range(1, len(kinds) + 1) if all(a == b for a, b in zip(kinds, kinds[n:]))
  )


def over_layers(
  kinds: Sequence[Kind],
  body: Callable[[PyTree, Kind, PyTree], tuple[PyTree, PyTree]],
  x: PyTree,
  inputs: PyTree,
) -> tuple[PyTree, PyTree]:
  """`body(x, kind, inputs of a layer) -> (x, outputs)` over the layers, one after the other.

  They are scanned, a period of kinds in each turn, so that a kind is static. Where a period does
  not divide the layers, those that are left over follow the scan, and `inputs` are copied.

  Args:
    kinds: of the L layers.
    body: of one layer.
    x: what the layers hand on.
    inputs: arrays [L, …].

  Returns:
    (x of the last layer, outputs [L, …]).
  """
  size = period(kinds)
  if size == 1:
    return lax.scan(lambda x, part: body(x, kinds[0], part), x, inputs)
  count = len(kinds) // size
  whole = count * size

  def in_turn(x, parts):
    outputs = []
    parts = _cut(parts, [1] * jax.tree.leaves(parts)[0].shape[0])
    for kind, part in zip(kinds, parts):
      x, output = body(x, kind, jax.tree.map(lambda a: a[0], part))
      outputs.append(output)
    return x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)

  first, left = _cut(inputs, [whole, len(kinds) - whole])
  first = jax.tree.map(lambda a: a.reshape(count, size, *a.shape[1:]), first)
  x, outputs = lax.scan(in_turn, x, first)
  outputs = jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), outputs)
  if whole == len(kinds):
    return x, outputs
  x, others = in_turn(x, left)
  return x, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outputs, others)


def over_constant_layers(
  kinds: Sequence[Kind],
  body: Callable[[PyTree, Kind, PyTree], tuple[PyTree, PyTree]],
  x: PyTree,
  inputs: PyTree,
) -> tuple[PyTree, PyTree]:
  """`over_layers` for inputs that have no gradient: they are read where they stand, not copied."""
  if period(kinds) == 1:
    return over_layers(kinds, body, x, inputs)

  def by_number(x, kind, number):
    def take(a):
      return lax.dynamic_index_in_dim(a, number, keepdims=False)

    return body(x, kind, jax.tree.map(take, inputs))

  return over_layers(kinds, by_number, x, jnp.arange(len(kinds), dtype=jnp.int32))


def _cut(inputs: PyTree, sizes: Sequence[int]) -> list[PyTree]:
  """Arrays cut along their first axis. Its gradient is a concatenation, a slice's a padded sum."""
  leaves, tree = jax.tree.flatten(inputs)
  parts = [lax.split(x, sizes) for x in leaves]
  return [jax.tree.unflatten(tree, [part[i] for part in parts]) for i in range(len(sizes))]
