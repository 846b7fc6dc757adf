"""What a policy says of given texts: log-probs, entropies and the best tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.sampling.draw import token_entropy
from rljax.structs import Policy, PyTree

Array = jax.Array


def score(
  policy: Policy,
  params: PyTree,
  tokens: Array,
  num_tokens: Array,
  *,
  temperature: Array | float = 1.0,
  num_top: int = 0,
  chunk_size: int = 512,
) -> dict[str, Array]:
  """log π(tokens[t] | tokens[<t]) at a temperature, entropies, and alternatives at each position.

  Args:
    policy: its `hidden` and `unembed` are used.
    params: its parameters.
    tokens: int32 [N, T], right padded; a row is one text.
    num_tokens: int32 [N].
    temperature: > 0, a scalar or [N].
    num_top: k, best tokens of each position; static, 0 = none.
    chunk_size: slots whose logits exist at once: N · chunk_size · V.

  Returns:
    'logprobs', 'entropy': at least float32 [N, T], nats, 0 at the first slot and behind the end;
    with num_top also 'top_ids' int32 and 'top_logprobs' [N, T, k].

  Examples:
    >>> policy = models.decoder(vocab_size=8, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1)
    >>> params = policy.init(jax.random.key(0))
    >>> seen = sampling.score(policy, params, jnp.array([[3, 1, 2]]), jnp.array([3]))
    >>> print({name: x.shape for name, x in seen.items()}, seen['logprobs'][0, 0])
    {'entropy': (1, 3), 'logprobs': (1, 3)} 0.0
  """
  rows, length = tokens.shape
  slots = jnp.arange(length, dtype=jnp.int32)[None, :]
  used = slots < num_tokens[:, None]
  segment_ids = jnp.where(used, 0, -1)
  positions = jnp.broadcast_to(slots, tokens.shape)
  hidden, _ = policy.hidden(params, tokens, segment_ids=segment_ids, positions=positions)
  head = policy.head(params)
  divisor = jnp.broadcast_to(jnp.asarray(temperature), (rows,))[:, None, None]
  target = jnp.concatenate([tokens[:, 1:], jnp.zeros_like(tokens[:, :1])], axis=1)

  def chunk(part):
    hidden, target = part
    logits = masking.widen(policy.unembed(head, hidden)) / divisor
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    out = {
      'logprobs': chosen - normalizer,
      'entropy': token_entropy(logits, normalizer),
    }
    if num_top:
      top, out['top_ids'] = jax.lax.top_k(logits, num_top)
      out['top_logprobs'] = top - normalizer[..., None]
    return out

  count = -(-length // chunk_size)
  pad = count * -(-length // count) - length

  def split(x):
    x = jnp.pad(x, ((0, 0), (0, pad), *((0, 0),) * (x.ndim - 2)))
    return jnp.moveaxis(x.reshape(rows, count, -1, *x.shape[2:]), 1, 0)

  found = jax.lax.map(chunk, (split(hidden), split(target)))

  def join(x):
    """What was said of the next token, at that token."""
    x = jnp.moveaxis(x, 0, 1).reshape(rows, length + pad, *x.shape[3:])[:, : length - 1]
    x = jnp.pad(x, ((0, 0), (1, 0), *((0, 0),) * (x.ndim - 2)))
    seen = (used & (slots > 0)).reshape(rows, length, *(1,) * (x.ndim - 2))
    return jnp.where(seen, x, 0)

  return jax.tree.map(join, found)
