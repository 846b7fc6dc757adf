"""A policy with a draft model: two policies whose caches and parameters go together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from rljax.structs import Policy

Array = jax.Array
PyTree = Any


def with_draft(policy: Policy, draft: Policy) -> Policy:
  """`policy`, with a cheaper model of the same vocabulary that guesses its next tokens.

  params is {'policy': …, 'draft': …}. All functions but `draft` are the policy's own, so whatever
  samples, trains or scores does as before; those on a cache keep that of the draft model in step.

  Args:
    policy: whose samples are wanted; has `extend`.
    draft: has `extend`.

  Raises:
    ValueError: one of them has no `extend`.

  Examples:
    >>> large = models.decoder(vocab_size=8, num_layers=2, d_model=8, num_heads=2, num_kv_heads=1)
    >>> small = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = jax.eval_shape(models.with_draft(large, small).init, jax.random.key(0))
    >>> print(sorted(params))
    ['draft', 'policy']

  Source: Leviathan et al., arXiv 2211.17192; Chen et al., 2302.01318.

  Differs from the source: the sampler (`sampling.speculate`) lets both models draw with the same
  noise and keeps what they agree on, instead of keeping a token with probability min(1, p / q).
  """
  parts = {'policy': policy, 'draft': draft}
  for name, part in parts.items():
    if part.extend is None:
      raise ValueError(f'with_draft: the {name} has no `extend`')

  def of_policy(function):
    return lambda params, *args, **more: function(params['policy'], *args, **more)

  def init(key):
    first, second = jax.random.split(key)
    return {'policy': policy.init(first), 'draft': draft.init(second)}

  def cast(params):
    return {k: x if parts[k].cast is None else parts[k].cast(x) for k, x in params.items()}

  return policy._replace(
    init=init,
    hidden=of_policy(policy.hidden),
    head=of_policy(policy.head),
    axes={'policy': policy.axes, 'draft': draft.axes},
    value=None if policy.value is None else of_policy(policy.value),
    cast=cast,
    **_on_both_caches(policy, draft),
  )


def _on_both_caches(policy: Policy, draft: Policy) -> dict[str, Callable[..., Any]]:
  """The cache functions; the cache is {'policy': …, 'draft': …}."""
  parts = {'policy': policy, 'draft': draft}

  def init_cache(num_rows, given, drawn=0, dtype=None, **more):
    # What the draft model has drawn is given to it again: it holds no decoded tokens.
    return {
      'policy': policy.init_cache(num_rows, given, drawn, dtype, **more),
      'draft': draft.init_cache(num_rows, given, 0, dtype),
    }

  def prefill(params, cache, tokens, starts):
    hidden, own = policy.prefill(params['policy'], cache['policy'], tokens, starts)
    other = draft.prefill(params['draft'], cache['draft'], tokens, starts)[1]
    return hidden, {'policy': own, 'draft': other}

  def of_policy(function):
    def apply(params, cache, tokens, positions):
      hidden, own = function(params['policy'], cache['policy'], tokens, positions)
      return hidden, {**cache, 'policy': own}

    return apply

  def guess(params, cache, tokens, positions):
    params, own = params['draft'], cache['draft']
    hidden, own = draft.extend(params, own, tokens[:, None], positions)
    return draft.unembed(draft.head(params), hidden[:, 0]), {**cache, 'draft': own}

  def routed(cache, row, length):
    return policy.routed(cache['policy'], row, length)

  def put(cache, rows, other, sources=None):
    return {k: part.put(cache[k], rows, other[k], sources) for k, part in parts.items()}

  return dict(
    init_cache=init_cache,
    prefill=prefill,
    decode=of_policy(policy.decode),
    extend=of_policy(policy.extend),
    draft=guess,
    routed=None if policy.routed is None else routed,
    take=lambda cache, rows: {k: part.take(cache[k], rows) for k, part in parts.items()},
    put=put,
    copy=lambda cache, *rows: {k: part.copy(cache[k], *rows) for k, part in parts.items()},
  )
