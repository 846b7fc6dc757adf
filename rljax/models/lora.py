"""Low-rank adapters on some weights of a policy; the others, and those weights, stand still."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rljax.models.layers import LowRank
from rljax.structs import Policy

Array = jax.Array
PyTree = Any

STACKED = ('layers', 'expert')  # axes of many matrices, each with adapters of its own


class Lora(NamedTuple):
  """A policy with adapters.

  Attributes:
    policy: its params are {role: adapters, 'base': parameters of the policy without}, whatever the
      role's name is: a policy and its reference share one base.
    start: `start(key, base) -> adapters` that change nothing.
    merge: `merge(params) -> parameters` of the policy without adapters that say the same.
  """

  policy: Policy
  start: Callable[[Array, PyTree], PyTree]
  merge: Callable[[PyTree], PyTree]


class _Matrix(NamedTuple):
  """The einsum letters of one adapted weight: stacked, summed and other axes; and its shapes."""

  stack: str
  inner: str
  outer: str
  down: tuple[int, ...]
  up: tuple[int, ...]
  axes: tuple[tuple[str | None, ...], tuple[str | None, ...]]


def lora(
  policy: Policy,
  *,
  rank: int = 8,
  alpha: float = 16.0,
  pattern: str = r'layers/(wq|wk|wv|wo|w_gate|w_up|w_down)',
  whole: str = 'value_head',
) -> Lora:
  """W' = W + (α / r) · A · B, with A [in, r] and B [r, out] trained and W not.

  Stacked weights [L, …] have A [L, in, r] and B [L, r, out]. A weight of more than two axes is cut
  where in + out is smallest: [D, H, d] into D and H·d, [H, d, D] into H·d and D.

  In training the decoder computes x·W + (x·A)·B, so no array of W's size is made or differentiated.
  The sampler adds A·B to W once for a rollout (`cast`): a token then costs what it costs without
  adapters. Weights that are not used as plain products (embedding, experts, other people's models)
  are added up in training too. A reference that is averaged averages A and B, not their product.

  Args:
    policy: of the base.
    rank: r.
    alpha: α; the change is scaled by α / r.
    pattern: regular expression on whole paths of parameters, 'layers/wq': those that are adapted.
    whole: likewise; those that are trained as they are, as a head that the base does not have.

  Raises:
    ValueError: a rank below 1; no parameter of that pattern; one that is no matrix.

  Examples:
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> adapted = models.lora(policy, rank=2, pattern='layers/wq')
    >>> base = jax.eval_shape(policy.init, jax.random.key(0))
    >>> adapters = jax.eval_shape(adapted.start, jax.random.key(1), base)
    >>> print(jax.tree.map(jnp.shape, adapters))
    {'layers/wq': {'down': (1, 8, 2), 'up': (1, 2, 2, 4)}}

  Source: Hu et al., LoRA, arXiv 2106.09685, eq. 3.
  Differs from the source: A is drawn from N(0, 1/in) (the paper: a Gaussian, without its variance).
  """
  if rank < 1:
    raise ValueError(f'lora: rank={rank}; it is at least 1')
  paths, structure = jax.tree_util.tree_flatten_with_path(
    jax.eval_shape(policy.init, jax.random.key(0))
  )
  shapes = {_name(path): leaf.shape for path, leaf in paths}
  axes = dict(zip(shapes, structure.flatten_up_to(policy.axes)))
  kept = tuple(name for name in shapes if re.fullmatch(whole, name))
  matrices = {
    name: _matrix(name, shape, axes[name], rank)
    for name, shape in shapes.items()
    if re.fullmatch(pattern, name) and name not in kept
  }
  if not matrices:
    raise ValueError(f'lora: pattern={pattern!r} fits no parameter; there are {", ".join(shapes)}')
  adapters = _Adapters(structure, tuple(shapes), matrices, kept, alpha / rank, policy.products)
  own = {name: axes[name] for name in kept}
  own |= {name: {'down': m.axes[0], 'up': m.axes[1]} for name, m in matrices.items()}
  adapted = _adapted(policy, adapters)._replace(axes={'policy': own, 'base': policy.axes})
  return Lora(adapted, adapters.start, adapters.merged)


@dataclasses.dataclass(frozen=True)
class _Adapters:
  """What is adapted.

  Attributes:
    structure: of the base's parameters.
    names: of its leaves, in order.
    matrices: name -> how it is adapted.
    kept: names of those that are trained as they are.
    scale: α / r.
    products: names of those that may be `LowRank`.
  """

  structure: Any
  names: tuple[str, ...]
  matrices: Mapping[str, _Matrix]
  kept: tuple[str, ...]
  scale: float
  products: tuple[str, ...]

  def leaves(self, base: PyTree) -> dict[str, Array]:
    return dict(zip(self.names, self.structure.flatten_up_to(base)))

  def start(self, key: Array, base: PyTree) -> PyTree:
    leaves, keys = self.leaves(base), jax.random.split(key, len(self.matrices))
    out = {name: jnp.copy(leaves[name]) for name in self.kept}
    for (name, m), own in zip(self.matrices.items(), keys):
      dtype, fan_in = leaves[name].dtype, math.prod(m.down[len(m.stack) : -1])
      down = jax.random.normal(own, m.down, dtype) * fan_in**-0.5
      out[name] = {'down': down, 'up': jnp.zeros(m.up, dtype)}
    return out

  def added(self, name: str, weight: Array, adapter: Mapping[str, Array]) -> Array:
    m, dtype = self.matrices[name], jnp.promote_types(weight.dtype, jnp.float32)
    spec = f'{m.stack}{m.inner}z,{m.stack}z{m.outer}->{m.stack}{m.inner}{m.outer}'
    down, up = (adapter[part].astype(dtype) for part in ('down', 'up'))
    change = jnp.einsum(spec, down, self.scale * up, precision='highest')
    return (weight.astype(dtype) + change).astype(weight.dtype)

  def apart(self, name: str, weight: Array, adapter: Mapping[str, Array]) -> Array | LowRank:
    if name not in self.products:
      return self.added(name, weight, adapter)
    return LowRank(weight, adapter['down'], self.scale * adapter['up'])

  def merged(self, params: PyTree) -> PyTree:
    return self.joined(params, self.added)

  def joined(self, params: PyTree, how: Callable[..., Any]) -> PyTree:
    """The base's pytree with what is trained in its places."""
    if not (isinstance(params, Mapping) and 'base' in params):
      return params  # the sampler has merged them
    (own,) = (x for role, x in params.items() if role != 'base')
    leaves = self.leaves(params['base'])
    leaves |= {name: own[name] for name in self.kept}
    leaves |= {name: how(name, leaves[name], own[name]) for name in self.matrices}
    return jax.tree.unflatten(self.structure, [leaves[name] for name in self.names])


def _adapted(policy: Policy, adapters: _Adapters) -> Policy:
  """The functions of `policy` on {role: adapters, 'base': its parameters}."""

  def init(key: Array) -> PyTree:
    first, second = jax.random.split(key)
    base = policy.init(first)
    return {'policy': adapters.start(second, base), 'base': base}

  def on(function: Callable[..., Any] | None, how: Callable[..., Any]) -> Any:
    if function is None:
      return None
    return lambda params, *given, **more: function(adapters.joined(params, how), *given, **more)

  whole = {n: on(getattr(policy, n), adapters.added) for n in ('prefill', 'decode', 'extend')}
  return policy._replace(
    init=init,
    hidden=on(policy.hidden, adapters.apart),
    head=on(policy.head, adapters.apart),
    value=on(policy.value, adapters.apart),
    **whole,
    cast=on(policy.cast or (lambda params: params), adapters.added),
    products=(),
    draft=None,
    beside=('base',),
  )


def _name(path: tuple[Any, ...]) -> str:
  return '/'.join(str(getattr(k, 'key', getattr(k, 'name', getattr(k, 'idx', k)))) for k in path)


def _matrix(name: str, shape: tuple[int, ...], axes: tuple[str | None, ...], rank: int) -> _Matrix:
  stacked = next((i for i, axis in enumerate(axes) if axis not in STACKED), len(axes))
  stack, rest = shape[:stacked], shape[stacked:]
  if len(rest) < 2:
    raise ValueError(f'lora: {name} of shape {shape} is no matrix; take it out of the pattern')
  cuts = range(1, len(rest))
  cut = stacked + min(cuts, key=lambda i: math.prod(rest[:i]) + math.prod(rest[i:]))
  letters = 'abcdefghijklmnopq'[: len(shape)]
  return _Matrix(
    stack=letters[:stacked],
    inner=letters[stacked:cut],
    outer=letters[cut:],
    down=(*shape[:cut], rank),
    up=(*stack, rank, *shape[cut:]),
    axes=((*axes[:cut], None), (*axes[:stacked], None, *axes[cut:])),
  )
