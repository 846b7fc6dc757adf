"""A Flax NNX model as a `Policy`: split once, then pure functions; the past is recomputed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from rljax.models.recomputing import without_cache
from rljax.structs import Policy

Array = jax.Array
PyTree = Any


def from_nnx(
  make: Callable[[Any], Any],
  params_axes: PyTree = None,
  *,
  head: Callable[[PyTree], PyTree] | None = None,
  unembed: Callable[[PyTree, Array], Array] | None = None,
  value: Callable[[PyTree, Array], Array] | None = None,
) -> Policy:
  """A `Policy` of a causal language model that is an NNX module.

  The module is called as `module(tokens, positions, segment_ids)` on int32 [R, T] arrays and
  returns logits [R, T, V], or hidden [R, T, D] if `unembed` is given. A token must see its own
  segment only, at positions up to its own. It is split once, here; what is jitted afterwards is
  plain `jax.jit` over nested dicts of arrays, without the cost of `nnx.jit`. The sampler's cache
  holds tokens, as in `from_linen`.

    from flax import nnx

    class Bigram(nnx.Module):
      def __init__(self, rngs):
        self.table = nnx.Embed(20, 20, rngs=rngs)

      def __call__(self, tokens, positions, segment_ids):
        return self.table(tokens)

    policy = models.from_nnx(Bigram)
    params = policy.init(jax.random.key(0))

  A trained module comes in by its state: `nnx.to_pure_dict(nnx.state(module, nnx.Param))` are
  params.

  Args:
    make: `rngs -> module`; its only state is `nnx.Param`.
    params_axes: logical axes as in `Policy.axes`; None = the names in the module's own sharding
      metadata, or none: replicated.
    head: `params -> what unembed reads`; None = all params.
    unembed: `(head, hidden) -> logits`; None = the module returns logits, which then stand in the
      place of `hidden` (so chunked log-probs save no memory).
    value: `(params, hidden) -> [...]`; None = no value head.

  Raises:
    ValueError: the module has other state than parameters, or is asked for prefix_ids.

  Examples:
    >>> from flax import nnx
    >>> class Bigram(nnx.Module):
    ...   def __init__(self, rngs):
    ...     self.table = nnx.Embed(8, 8, rngs=rngs)
    ...   def __call__(self, tokens, positions, segment_ids):
    ...     return self.table(tokens)
    >>> policy = models.from_nnx(Bigram)
    >>> print(jax.tree.map(jnp.shape, jax.eval_shape(policy.init, jax.random.key(0))))
    {'table': {'embedding': (8, 8)}}
  """
  from flax import nnx

  def made(key: Any) -> Any:
    with nnx.use_eager_sharding(False):  # who inits says where parameters stand
      return make(nnx.Rngs(key))

  graph, state, rest = nnx.split(nnx.eval_shape(lambda: made(0)), nnx.Param, ...)
  if others := sorted({type(x).__name__ for _, x in nnx.to_flat_state(rest)}):
    raise ValueError(f'from_nnx: the module has state besides parameters: {", ".join(others)}')

  def init(key: Array) -> PyTree:
    return nnx.to_pure_dict(nnx.state(made(key), nnx.Param))

  def module_of(params: PyTree) -> Any:
    filled = jax.tree.map(lambda x: x, state)
    nnx.replace_by_pure_dict(filled, params)
    return nnx.merge(graph, filled)

  return without_cache(
    'from_nnx',
    lambda params, *rows: module_of(params)(*rows),
    init=init,
    head=head,
    unembed=unembed,
    axes=_axes(state) if params_axes is None else params_axes,
    value=value,
  )


def _axes(state: Any) -> PyTree:
  """Logical axes by the sharding metadata of the parameters."""
  from flax import nnx

  axes: dict[Any, Any] = {}
  for (*folders, last), leaf in nnx.to_flat_state(state):
    names, place = tuple(leaf.get_metadata().get('out_sharding') or ()), axes
    for folder in folders:
      place = place.setdefault(folder, {})
    place[last] = names + (None,) * (len(leaf.shape) - len(names))
  return axes
