"""What an update needs before its first gradient: old and reference log-probs, values, advantages,
weights. Runs inside the compiled update; each forward pass is there only if a function asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rljax import corrections, masking
from rljax.forward import forward, token_temperature
from rljax.objective import SAMPLE_ARRAYS, Objective, sample_arrays, token_arrays
from rljax.structs import Array, Batch, Policy, PyTree


def map_micro(
  function: Callable[[dict[str, Any]], PyTree], arrays: dict[str, Any], num_micro: Array
) -> PyTree:
  """`function` on each used micro-batch of arrays [K, M, r, …]; results stacked, unused ones 0."""
  first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), arrays)
  shapes = jax.eval_shape(function, first)
  capacity = arrays['tokens'].shape[1]

  def minibatch(inputs):
    micros, used = inputs

    def body(m, out):
      result = function(jax.tree.map(lambda x: x[m], micros))
      # Not `.at[m].set`, which lowers to a scatter.
      return jax.tree.map(
        lambda o, y: jax.lax.dynamic_update_index_in_dim(o, y, m, 0), out, result
      )

    empty = jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), shapes)
    return jax.lax.fori_loop(0, used, body, empty)

  return jax.lax.map(minibatch, (arrays, num_micro))


def prepare(
  batch: Batch,
  params: Mapping[str, PyTree],
  frozen: Mapping[str, PyTree],
  hyper: Mapping[str, Any],
  *,
  objective: Objective,
  policies: Mapping[str, Policy],
  chunk_size: int,
  key: Array | None = None,
  method_state: Mapping[str, PyTree] | None = None,
) -> tuple[Batch, dict[str, Array], dict[str, PyTree]]:
  """Fills the slots of a batch that the objective asks for.

  Args:
    batch: as packed.
    params: trained roles, before the update.
    frozen: 'reference' where the objective needs it.
    hyper: `Objective.hyper` of the iteration.
    objective, policies, chunk_size: as in `objective.micro_loss`.
    key: of the draws of an advantage or of weights that take one.
    method_state: what an advantage that takes 'state' remembers, by its name.

  Returns:
    (batch with old_logprobs, ref_logprobs, values, returns, advantages [K, M, r, T] and weights,
    metrics of the whole iteration, the next method_state).
  """
  batch, metrics = _forward_passes(
    batch, params, frozen, objective=objective, policies=policies, chunk_size=chunk_size
  )
  scored = jnp.isfinite(batch.rewards) & (batch.group_ids >= 0)
  sampled = batch.action_mask & masking.sample_to_token(
    scored, batch.sample_ids, batch.segment_ids
  )
  key = jax.random.key(0) if key is None else key
  advantage_key, weights_key = jax.random.split(key)
  rewards, token_rewards, memory = batch.rewards, batch.token_rewards, dict(method_state or {})
  early = {**token_arrays(batch), **sample_arrays(batch), 'action_mask': sampled}
  if objective.on_policy:
    early['old_logprobs'] = batch.policy_logprobs
  if objective.kl is not None and objective.kl_in_reward:
    penalty, _ = objective.kl(early, hyper['kl'])
    token_rewards -= hyper['coefficients']['kl'] * jnp.where(sampled, penalty, 0)
    metrics['policy/kl_ref'] = masking.masked_mean(penalty, sampled)
  if objective.advantage is not None:
    if 'token_rewards' not in objective.advantage.arrays:
      rewards = rewards + masking.token_to_sample_sum(
        token_rewards, sampled, batch.segment_ids, batch.sample_slots, batch.sample_ids.shape[-1]
      )
    early |= {'rewards': rewards, 'token_rewards': token_rewards}
    result, memory = _remembering(
      objective.advantage, early, hyper['advantage'], advantage_key, memory
    )
    batch = _with_advantages(batch, result, sampled)
    if objective.value is not None:
      metrics['value/explained_variance'] = _explained(batch, sampled)
  weights = _weights(objective, early, hyper, weights_key)
  return batch.replace(weights=dict.fromkeys(objective.terms, weights)), metrics, memory


def _forward_passes(batch, params, frozen, *, objective, policies, chunk_size):
  """The batch with the arrays of `objective.needs`, and the mismatch metrics if it has old ones."""
  needs, metrics = objective.needs, {}
  if not needs:
    return batch, metrics
  shared_value = 'value' not in policies

  def passes(rows):
    temperature = token_temperature(batch.temperature, rows['sample_ids'], rows['segment_ids'])
    out = {}
    if 'old_logprobs' in needs or ('values' in needs and shared_value):
      own = forward(
        policies['policy'],
        params['policy'],
        rows,
        temperature,
        statistics=('logprobs',) if 'old_logprobs' in needs else (),
        value='values' in needs and shared_value,
        chunk_size=chunk_size,
      )
      out |= {'old_logprobs' if k == 'logprobs' else k: v for k, v in own.items()}
    if 'values' in needs and not shared_value:
      out |= forward(policies['value'], params['value'], rows, temperature, value=True)
    if 'ref_logprobs' in needs:
      out['ref_logprobs'] = forward(
        policies['reference'],
        frozen['reference'],
        rows,
        temperature,
        statistics=('logprobs',),
        chunk_size=chunk_size,
      )['logprobs']
    return out

  filled = jax.lax.stop_gradient(map_micro(passes, token_arrays(batch), batch.num_micro))
  batch = batch.replace(**filled)
  if 'old_logprobs' in needs:
    metrics |= corrections.mismatch_metrics(
      batch.policy_logprobs, batch.old_logprobs, batch.action_mask
    )
    metrics |= {f'rollout/mismatch_{k}': metrics[f'mismatch/abs_{k}'] for k in ('mean', 'max')}
  return batch, metrics


def _remembering(bound, arrays, hyper, key, memory):
  """(what the function gives, `memory` after it); it draws and remembers where it asks to."""
  if bound.init is None:
    return bound(arrays, hyper, key=key), memory
  old = memory[bound.name]
  result, new = bound(arrays, hyper, key=key, state=old)
  # In the dtypes of the first state, so that the next update is the same program.
  new = jax.tree.map(lambda x, first: jnp.asarray(x, first.dtype), new, old)
  return result, {**memory, bound.name: jax.lax.stop_gradient(new)}


def _with_advantages(batch: Batch, result: Any, sampled: Array) -> Batch:
  """Advantages (and returns) as token arrays, 0 where nothing was sampled."""
  advantages, returns = result if isinstance(result, tuple) else (result, None)
  if advantages.shape == batch.group_ids.shape:
    advantages = masking.sample_to_token(advantages, batch.sample_ids, batch.segment_ids)
  advantages = jax.lax.stop_gradient(jnp.where(sampled, advantages, 0))
  return batch.replace(advantages=advantages, returns=returns)


def _weights(
  objective: Objective, arrays: Mapping[str, Any], hyper: Mapping[str, Any], key: Array
) -> Array:
  """Aggregation weights [K, M, r, T], normalised within each minibatch."""
  bound = objective.weights
  names = [n for n in (*bound.arrays, *bound.optional) if n in arrays]
  per_minibatch = {n: arrays[n] for n in names if n not in SAMPLE_ARRAYS}
  whole = {n: arrays[n] for n in names if n in SAMPLE_ARRAYS}

  def one(tokens, key):
    return bound({**tokens, **whole}, hyper['weights'], key=key)

  keys = jax.random.split(key, arrays['tokens'].shape[0])
  return jax.vmap(one)(per_minibatch, keys)


def _explained(batch: Batch, sampled: Array) -> Array:
  """1 − Var(returns − values) / Var(returns) over sampled tokens; 0 for constant returns."""
  variance = masking.masked_var(batch.returns, sampled)
  left = masking.masked_var(batch.returns - batch.values, sampled)
  return jnp.where(variance > 0, 1 - left / jnp.where(variance > 0, variance, 1), 0)
