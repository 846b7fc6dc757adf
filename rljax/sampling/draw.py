"""One token for each row from its logits, with the records of the draw."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rljax import filters, masking
from rljax.sampling import noise
from rljax.structs import Requests

Array = jax.Array


class Draw(NamedTuple):
  """What one step records of each row; int32 [N], the others float [N] or None.

  `top_ids` and `top_logprobs` [N, k]: the best tokens of the unfiltered distribution.
  """

  tokens: Array
  policy_logprobs: Array
  behavior_logprobs: Array
  entropy: Array | None
  top_ids: Array | None
  top_logprobs: Array | None


def _best(scores: Array) -> Array:
  """int32 [N]: the first index of the maximum of each row of [N, V].

  Two plain reductions, which XLA vectorizes, in place of argmax, which it does not on CPU. A row
  with NaN gets a valid index.
  """
  num = scores.shape[-1]
  index = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)
  top = jnp.max(scores, axis=-1, keepdims=True)
  first = jnp.min(jnp.where(scores == top, index, num), axis=-1)
  return jnp.minimum(first, num - 1)


def token_entropy(scaled: Array, log_normalizer: Array) -> Array:
  """[..., V] -> [...]: −Σ π log π in nats; a logit of −∞ adds 0."""
  logprobs = scaled - log_normalizer[..., None]
  probs = jnp.exp(logprobs)
  return -jnp.sum(jnp.where(probs > 0, probs * logprobs, 0), axis=-1)


def draw(
  logits: Array,
  keys: Array,
  positions: Array,
  requests: Requests,
  use_filters: tuple[str, ...] = (),
  capture: tuple[str, ...] = (),
  num_top: int = 0,
) -> Draw:
  """Gumbel-max over the filtered logits at the row's temperature; the maximum where that is 0.

  `token = argmax_v filter(logits_v / τ) + g_v`, g of (seed, draw, sample, position).

  Args:
    logits: float [N, V].
    keys: typed keys [N].
    positions: int32 [N], index of the drawn token in its sample.
    requests: of the N rows.
    use_filters, capture, num_top: as in `SamplerSettings`.

  Returns:
    Draw; log-probs and entropy in the dtype of the logits, at least float32. Greedy rows record
    0 in `behavior_logprobs` and temperature 1 in the others.
  """
  logits = masking.widen(logits)
  greedy = requests.temperature <= 0
  temperature = jnp.where(greedy, 1, requests.temperature).astype(logits.dtype)
  scaled = logits / temperature[:, None]
  kept = scaled
  if use_filters:
    kept = filters.apply_filters(
      scaled,
      top_k=requests.top_k,
      top_p=requests.top_p,
      min_p=requests.min_p,
      filters=use_filters,
    )
  gumbel = noise.gumbel(keys, positions, logits.shape[-1]).astype(logits.dtype)
  # No filter drops the best token, so greedy rows need no case of their own but the noise.
  tokens = _best(kept + jnp.where(greedy[:, None], 0, gumbel))
  chosen = jnp.take_along_axis(scaled, tokens[:, None], axis=1)[:, 0]
  log_normalizer = jax.nn.logsumexp(scaled, axis=-1)
  policy = chosen - log_normalizer
  behavior = chosen - jax.nn.logsumexp(kept, axis=-1) if use_filters else policy
  top_logprobs = top_ids = None
  if 'top' in capture:
    top_logprobs, top_ids = jax.lax.top_k(scaled - log_normalizer[:, None], num_top)
  return Draw(
    tokens=tokens,
    policy_logprobs=policy,
    behavior_logprobs=jnp.where(greedy, 0, behavior),
    entropy=token_entropy(scaled, log_normalizer) if 'entropy' in capture else None,
    top_ids=top_ids,
    top_logprobs=top_logprobs,
  )
