"""The yardstick: the same decoder as a short program in plain jax, without slots and packing.

It reads rljax's parameters and nothing else of rljax, so it also checks what rljax returns. All
prompts have one length, and so have all completions; `jax.random.categorical` draws the tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from speed.shapes import Shape

Array = jax.Array
HIGHEST = lax.Precision.HIGHEST
MASKED = -1e30


def _dot(x: Array, w: Array) -> Array:
  """[..., D] · [D, ...], as a product of matrices."""
  out = jnp.dot(x.reshape(-1, w.shape[0]), w.reshape(w.shape[0], -1), precision=HIGHEST)
  return out.reshape(x.shape[:-1] + w.shape[1:])


def _norm(x: Array, scale: Array) -> Array:
  return scale * x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)


def _rotate(shape: Shape, x: Array, positions: Array) -> Array:
  """RoPE of [..., T, H, d]; positions [T]."""
  half = shape.head_dim // 2
  angles = positions[:, None] * shape.rope_theta ** (-jnp.arange(half) / half)
  cos, sin = jnp.cos(angles)[:, None, :], jnp.sin(angles)[:, None, :]
  left, right = x[..., :half], x[..., half:]
  return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def _attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
  """[B, T, H, d] over [B, KV, S, d] under a mask [T, S], as [B, T, H·d]."""
  rows, length, heads, depth = q.shape
  q = q.reshape(rows, length, k.shape[1], -1, depth)
  scores = jnp.einsum('btkgd,bksd->bktgs', q, k, precision=HIGHEST) * depth**-0.5
  weights = jax.nn.softmax(jnp.where(mask[:, None, :], scores, MASKED), axis=-1)
  out = jnp.einsum('bktgs,bksd->btkgd', weights, v, precision=HIGHEST)
  return out.reshape(rows, length, heads * depth)


def _layers(shape: Shape, params, tokens: Array, positions: Array, attend):
  """Hidden [B, T, D]; `attend(layer, q, k, v)` gives the attention's output.

  Keys and values are handed over as [B, KV, T, d].
  """
  x = params['embedding'][tokens]
  for layer in range(shape.num_layers):
    w = {name: p[layer] for name, p in params['layers'].items()}
    y = _norm(x, w['attention_norm'])
    q, k, v = (_dot(y, w[f'w{name}']) for name in 'qkv')
    q = _rotate(shape, _norm(q, w['q_norm']), positions)
    k = _rotate(shape, _norm(k, w['k_norm']), positions)
    k, v = jnp.swapaxes(k, 1, 2), jnp.swapaxes(v, 1, 2)
    out = w['wo'].reshape(-1, shape.d_model)
    x = x + _dot(attend(layer, q, k, v), out)
    y = _norm(x, w['mlp_norm'])
    x = x + _dot(jax.nn.silu(_dot(y, w['w_gate'])) * _dot(y, w['w_up']), w['w_down'])
  return _norm(x, params['final_norm'])


# ------------------------------------------------------------------------------- generation


class Samples(NamedTuple):
  """tokens, logprobs: [B, C], what was drawn; steps: how often all rows were decoded."""

  tokens: Array
  logprobs: Array
  steps: Array


def generate(
  shape: Shape, params, prompts: Array, key: Array, limit: Array, *, length: int
) -> Samples:
  """Draws `limit` tokens for each row; attention goes over the whole cache at every step.

  Args:
    prompts: int32 [B, P].
    limit: int32 scalar.
    length: slots of the cache.
  """
  rows, prompt = prompts.shape
  keys, values = [], []
  room = ((0, 0), (0, 0), (0, length - prompt), (0, 0))

  def remember(_, q, k, v):
    keys.append(jnp.pad(k, room))
    values.append(jnp.pad(v, room))
    slots = jnp.arange(prompt)
    return _attend(q, k, v, slots[None, :] <= slots[:, None])

  hidden = _layers(shape, params, prompts, jnp.arange(prompt), remember)[:, -1]
  draw = _draw(params, key)
  token, logprob = draw(hidden, 0)
  state = dict(
    step=jnp.ones((), jnp.int32),
    cache=(keys, values),
    last=token,
    tokens=jnp.zeros((rows, length - prompt), jnp.int32).at[:, 0].set(token),
    logprobs=jnp.zeros((rows, length - prompt), hidden.dtype).at[:, 0].set(logprob),
  )
  state = _decode(shape, params, state, prompt, limit, draw)
  return Samples(state['tokens'], state['logprobs'], state['step'])


def _draw(params, key):
  def draw(hidden, step):
    logits = _dot(hidden, params['embedding'].T)
    token = jax.random.categorical(jax.random.fold_in(key, step), logits)
    logprobs = jax.nn.log_softmax(logits)
    return token.astype(jnp.int32), jnp.take_along_axis(logprobs, token[:, None], axis=1)[:, 0]

  return draw


def _decode(shape, params, state, prompt, limit, draw):
  """Steps until `limit` tokens are drawn."""
  slots = jnp.arange(state['cache'][0][0].shape[2])[None, :]

  def step(state):
    position = prompt + state['step'] - 1  # of the token that goes in
    keys, values = [*state['cache'][0]], [*state['cache'][1]]

    def attend(layer, q, k, v):
      keys[layer] = lax.dynamic_update_slice(keys[layer], k, (0, 0, position, 0))
      values[layer] = lax.dynamic_update_slice(values[layer], v, (0, 0, position, 0))
      return _attend(q, keys[layer], values[layer], slots <= position)

    hidden = _layers(shape, params, state['last'][:, None], position[None], attend)[:, 0]
    token, logprob = draw(hidden, state['step'])
    put = lax.dynamic_update_index_in_dim
    return dict(
      step=state['step'] + 1,
      cache=(keys, values),
      last=token,
      tokens=put(state['tokens'], token, state['step'], 1),
      logprobs=put(state['logprobs'], logprob, state['step'], 1),
    )

  return lax.while_loop(lambda state: state['step'] < limit, step, state)


# ----------------------------------------------------------------------------------- update


def token_logprobs(shape: Shape, params, tokens: Array) -> tuple[Array, Array]:
  """[B, T] twice: of each token after those before it, and of the best token; 0 at the first."""
  length = tokens.shape[1]
  slots = jnp.arange(length)
  mask = slots[None, :] <= slots[:, None]
  hidden = _layers(shape, params, tokens, slots, lambda _, q, k, v: _attend(q, k, v, mask))
  logprobs = jax.nn.log_softmax(_dot(hidden[:, :-1], params['embedding'].T))
  chosen = jnp.take_along_axis(logprobs, tokens[:, 1:, None], axis=2)[..., 0]
  return jnp.pad(chosen, ((0, 0), (1, 0))), jnp.pad(jnp.max(logprobs, -1), ((0, 0), (1, 0)))


def score(shape: Shape, params, tokens: Array, micro: int) -> tuple[Array, Array]:
  """`token_logprobs`, `micro` rows at a time."""
  parts = tokens.reshape(-1, micro, tokens.shape[1])
  found = lax.map(lambda rows: token_logprobs(shape, params, rows), parts)
  return tuple(x.reshape(tokens.shape) for x in found)


def advantages(rewards: Array, samples: int) -> Array:
  """(R − mean) / (std + 1e-6) within groups of `samples` neighbours."""
  groups = rewards.reshape(-1, samples)
  mean, std = jnp.mean(groups, 1, keepdims=True), jnp.std(groups, 1, keepdims=True, ddof=1)
  return ((groups - mean) / (std + 1e-6)).reshape(-1)


def gradient(shape: Shape, params, tokens: Array, mask: Array, advantage: Array, micro: int):
  """Of the on-policy clipped loss, a mean over sampled tokens; summed by `micro` rows."""
  total = jnp.sum(mask)

  def loss(params, tokens, mask, advantage):
    logprobs, _ = token_logprobs(shape, params, tokens)
    ratio = jnp.exp(logprobs - lax.stop_gradient(logprobs))
    clipped = jnp.clip(ratio, 0.8, 1.2)
    gain = jnp.minimum(ratio * advantage[:, None], clipped * advantage[:, None])
    return -jnp.sum(jnp.where(mask, gain, 0)) / total

  def add(total, rows):
    return jax.tree.map(jnp.add, total, jax.grad(loss)(params, *rows)), None

  def split(x):
    return x.reshape(-1, micro, *x.shape[1:])

  start = jax.tree.map(jnp.zeros_like, params)
  return lax.scan(add, start, (split(tokens), split(mask), split(advantage)))[0]


def optimizer(learning_rate: float) -> optax.GradientTransformation:
  return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(learning_rate))


def update(shape, rate, params, opt_state, tokens, mask, rewards, *, samples: int, micro: int):
  """One GRPO step: (params, opt_state, norm of the gradient)."""
  grads = gradient(shape, params, tokens, mask, advantages(rewards, samples), micro)
  updates, opt_state = optimizer(rate).update(grads, opt_state, params)
  return optax.apply_updates(params, updates), opt_state, optax.tree.norm(grads)
