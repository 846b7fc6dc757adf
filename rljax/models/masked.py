"""A policy that may only say what a second one, its mask, holds likely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rljax import filters
from rljax.structs import Policy

Array = jax.Array
PyTree = Any

OUTSIDE = -40.0  # nats, on the logits of the tokens that are masked


def masked(policy: Policy, *, top_p: float = 0.9) -> Policy:
  """z_v − 40·1[v is not among the best tokens of the mask whose probability reaches top_p].

  params is {'policy': …, 'mask': …}, both of `policy`'s kind; the mask is a constant. Sampling,
  log-probs, entropies and ratios are all of the masked distribution, as they come from the same
  logits. Values are those of the policy.

  Args:
    policy: of both.
    top_p: fraction; 1 masks nothing.

  Raises:
    ValueError: a fraction that is not above 0 and at most 1.

  Examples:
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = jax.eval_shape(models.masked(policy, top_p=0.9).init, jax.random.key(0))
    >>> print(sorted(params))  # the mask has parameters of its own
    ['mask', 'policy']

  Source: RL4LMs (2022, arXiv 2210.01241), NLPO.
  Differs from the source: −40 nats and not −∞, so that a token on the edge of the set, which
    rounding may put on the other side in training, keeps a finite log-prob.
  Fidelity: recalled
  """
  if not 0 < top_p <= 1:
    raise ValueError(f'masked: top_p={top_p}; it is above 0 and at most 1')

  def of_both(params, call):
    """What `call(params, name)` gives for policy and mask, the latter a constant."""
    return {
      'policy': call(params['policy'], 'policy'),
      'mask': jax.lax.stop_gradient(call(params['mask'], 'mask')),
    }

  def hidden(params, tokens, **where):
    inside = of_both(params, lambda own, name: policy.hidden(own, tokens, **where))
    return _join({k: x for k, (x, _) in inside.items()}), inside['policy'][1]

  def head(params):
    return of_both(params, lambda own, name: policy.head(own))

  def unembed(heads, states):
    own, mask = jnp.split(states, 2, axis=-1)
    logits = policy.unembed(heads['policy'], own)
    said = jax.lax.stop_gradient(policy.unembed(heads['mask'], mask))
    kept = jnp.isfinite(filters.top_p(said, jnp.full(said.shape[:-1], top_p)))
    return jnp.where(kept, logits, logits + OUTSIDE)

  def init(key):
    return {'policy': policy.init(key), 'mask': policy.init(key)}

  def cast(params):
    return {name: x if policy.cast is None else policy.cast(x) for name, x in params.items()}

  def value(params, states):
    return policy.value(params['policy'], jnp.split(states, 2, axis=-1)[0])

  return policy._replace(
    init=init,
    hidden=hidden,
    head=head,
    unembed=unembed,
    axes={'policy': policy.axes, 'mask': policy.axes},
    value=None if policy.value is None else value,
    cast=cast,
    draft=None,
    routed=None,
    beside=('mask',),
    **_on_both_caches(policy),
  )


def _join(states: dict[str, Array]) -> Array:
  return jnp.concatenate([states['policy'], states['mask']], axis=-1)


def _on_both_caches(policy: Policy) -> dict[str, Callable[..., Any] | None]:
  """The cache functions; the cache is {'policy': …, 'mask': …}."""
  names = ('policy', 'mask')

  def step(function):
    def apply(params, cache, *given):
      found = {name: function(params[name], cache[name], *given) for name in names}
      return _join({k: x for k, (x, _) in found.items()}), {k: c for k, (_, c) in found.items()}

    return apply

  def put(cache, rows, other, sources=None):
    return {name: policy.put(cache[name], rows, other[name], sources) for name in names}

  return dict(
    init_cache=lambda *given, **more: {n: policy.init_cache(*given, **more) for n in names},
    prefill=step(policy.prefill),
    decode=step(policy.decode),
    extend=None if policy.extend is None else step(policy.extend),
    take=lambda cache, rows: {name: policy.take(cache[name], rows) for name in names},
    put=put,
    copy=lambda cache, *rows: {name: policy.copy(cache[name], *rows) for name in names},
  )
