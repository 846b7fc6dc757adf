"""What an update needs before its first gradient: log-probs of old and frozen roles, values,
advantages, weights. Runs inside the compiled update; a forward pass is there only if a function
asks for what it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rljax import arrays, corrections, masking, returned, trips
from rljax.aggregation import minibatch_weights
from rljax.binding import Bound
from rljax.forward import forward, params_of, token_temperature
from rljax.objective import Objective
from rljax.structs import Array, Batch, Policy, PyTree


def map_micro(
  function: Callable[[dict[str, Any]], PyTree], rows: dict[str, Any], num_micro: Array
) -> PyTree:
  """`function` on each used micro-batch of arrays [K, M, r, …]; results stacked, unused ones 0."""
  first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), rows)
  shapes = jax.eval_shape(function, first)
  capacity = rows['tokens'].shape[1]

  def minibatch(inputs):
    micros, used = inputs

    def body(m, out):
      result = function(jax.tree.map(lambda x: x[m], micros))
      # Not `.at[m].set`, which lowers to a scatter.
      return jax.tree.map(
        lambda o, y: jax.lax.dynamic_update_index_in_dim(o, y, m, 0), out, result
      )

    empty = jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), shapes)
    with trips.taken(capacity):
      return jax.lax.fori_loop(0, used, body, empty)

  return jax.lax.map(minibatch, (rows, num_micro))


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
  step: Array | int = 0,
) -> tuple[Batch, dict[str, Array], dict[str, PyTree]]:
  """Fills the slots of a batch that the objective asks for.

  Args:
    batch: as packed.
    params: trained roles, before the update.
    frozen: 'reference', 'teacher' and 'reward' where the objective needs them.
    hyper: `Objective.hyper` of the iteration.
    objective, policies, chunk_size: as in `loss_pass.micro_loss`.
    key: of the draws of functions that take one.
    method_state: what functions that take 'state' remember, by their names.
    step: optimizer steps so far.

  Returns:
    (batch with old and reference log-probs, values, returns, advantages [K, M, r, T], derived
    arrays and weights, metrics of the whole iteration, the next method_state).
  """
  batch, wide, metrics = _forward_passes(
    batch, params, frozen, hyper, objective=objective, policies=policies, chunk_size=chunk_size
  )
  key = jax.random.key(0) if key is None else key
  sampled = _of_scored(batch, batch.rewards)
  early = {**arrays.token_arrays(batch), **arrays.sample_arrays(batch), 'action_mask': sampled}
  early |= {**wide, 'prox_step': step, 'step': step}
  if objective.sampler_is_old:
    early['old_logprobs'] = batch.policy_logprobs
  early = arrays.with_sums(early, objective.early)
  memory = _Memory(objective, hyper, method_state or {}, key)
  if objective.kl is not None and objective.kl_in_reward:
    penalty, _ = objective.kl(early, hyper['kl'])
    returned.array(penalty, objective.kl, 'a KL', **{'each token': sampled.shape})
    penalty = jnp.where(sampled, penalty, 0)
    early['token_rewards'] = early['token_rewards'] - hyper['coefficients']['kl'] * penalty
    metrics['policy/kl_ref'] = masking.masked_mean(penalty, sampled)
  for name in objective.reward_shaping:
    shaped, bound = memory.call(f'reward_shaping.{name}', early), objective.reward_shaping[name]
    shape = {'each sample': batch.rewards.shape}
    early['rewards'] = returned.array(shaped, bound, 'a shaping of rewards', **shape)
    metrics[f'method/{name}/reward'] = _mean_reward(early)
  kept = _of_scored(batch, early['rewards'])  # shaping may take a sample out by NaN
  if objective.advantage is not None:
    batch = _with_advantages(batch, early, objective, memory, kept)
    early |= {n: getattr(batch, n) for n in arrays.FILLED if getattr(batch, n) is not None}
    if objective.value is not None:
      metrics['value/explained_variance'] = _explained(batch, kept)
  found, seen = minibatch_weights(early, kept, hyper, objective=objective, key=memory.next_key())
  if objective.bypass:
    batch = batch.replace(old_logprobs=batch.policy_logprobs)
  rewards = jnp.where(found['left_out'], jnp.nan, early['rewards'])
  batch = batch.replace(
    rewards=rewards, weights=found['weights'], extras={**batch.extras, **found['derived']}
  )
  return batch, {**metrics, **seen}, memory.state


def _of_scored(batch: Batch, rewards: Array) -> Array:
  """bool [K, M, r, T]: action tokens of samples with a finite reward."""
  scored = jnp.isfinite(rewards) & (batch.group_ids >= 0)
  return batch.action_mask & masking.sample_to_token(scored, batch.sample_ids, batch.segment_ids)


class _Memory:
  """Calls stage functions one after the other: each gets a key, and the state that it left."""

  def __init__(self, objective: Objective, hyper, state: Mapping[str, PyTree], key: Array):
    self.state, self._key = dict(state), key
    self._bounds, self._hyper = objective.before, hyper

  def next_key(self) -> Array:
    self._key, key = jax.random.split(self._key)
    return key

  def call(self, name: str, known: Mapping[str, Any]) -> Any:
    key, bound, hyper = self.next_key(), self._bounds[name], self._hyper[name]
    if bound.init is None:
      return bound(known, hyper, key=key)
    old = self.state[name]
    result, new = bound(known, hyper, key=key, state=old)
    # In the dtypes of the first state, so that the next update is the same program.
    new = jax.tree.map(lambda x, first: jnp.asarray(x, first.dtype), new, old)
    self.state[name] = jax.lax.stop_gradient(new)
    return result


def _forward_passes(batch, params, frozen, hyper, *, objective, policies, chunk_size):
  """(the batch with the arrays of `objective.needs`, those of `arrays.WIDE`, metrics)."""
  needs, metrics = objective.needs, {}
  if not needs:
    return batch, {}, metrics
  mine = params_of(policies, {**frozen, **params}, 'policy')
  old = {arrays.OLD[name]: name for name in arrays.OLD if name in needs}
  captured = {arrays.CAPTURED[name]: name for name in arrays.CAPTURED if name in needs}
  values, shared_value = 'values' in needs, 'value' not in policies

  def passes(rows):
    temperature = token_temperature(batch.temperature, rows['sample_ids'], rows['segment_ids'])
    options = dict(where=rows['action_mask'], chunk_size=chunk_size)
    out = {}
    if old or captured or (values and shared_value):
      asked = dict(statistics=tuple(old), capture=tuple(captured), **options)
      asked |= dict(value=values and shared_value, routing=rows.get('routing'))
      own = forward(policies['policy'], mine, rows, temperature, **asked)
      out |= {{**old, **captured}.get(name, name): x for name, x in own.items()}
    if values and not shared_value:
      out |= forward(policies['value'], params['value'], rows, temperature, value=True)
    if values:
      out['values'] = objective.values_of(out['values'], hyper)
    options['statistics'] = ('logprobs',)
    for name in needs & set(arrays.FROZEN):
      role = arrays.FROZEN[name]
      if role == 'reward':
        said = forward(policies[role], frozen[role], rows, temperature, scores=True)
        last = masking.last_true_in_segment(rows['action_mask'], rows['segment_ids'])
        out[name] = masking.zero_where_not(said['token_scores'], last)
      else:
        theirs = params_of(policies, frozen, role)
        out[name] = forward(policies[role], theirs, rows, temperature, **options)['logprobs']
    return out

  rows = arrays.token_arrays(batch)
  filled = jax.lax.stop_gradient(map_micro(passes, rows, batch.num_micro))
  wide = {name: filled.pop(name) for name in arrays.WIDE if name in filled}
  fields = {name: filled.pop(name) for name in list(filled) if hasattr(batch, name)}
  batch = batch.replace(**fields, extras={**batch.extras, **filled})
  if 'old_logprobs' in needs:
    places = (batch.sample_ids, batch.segment_ids)
    elsewhere = arrays.drawn_elsewhere(batch.is_external, batch.group_ids)
    drawn = batch.action_mask & ~masking.sample_to_token(elsewhere, *places)
    metrics |= corrections.mismatch_metrics(
      batch.policy_logprobs,
      batch.old_logprobs,
      drawn,
      segment_ids=batch.segment_ids,
      sample_ids=batch.sample_ids,
    )
    metrics |= {f'rollout/mismatch_{k}': metrics[f'mismatch/abs_{k}'] for k in ('mean', 'max')}
  return batch, wide, metrics


def _with_advantages(batch, early, objective, memory, kept) -> Batch:
  """Advantages (and returns) as token arrays, 0 where nothing was sampled."""
  early = {**early, 'action_mask': kept}
  if 'token_rewards' not in objective.advantage.arrays:
    early['rewards'] = early['rewards'] + masking.token_to_sample_sum(
      early['token_rewards'],
      kept,
      batch.segment_ids,
      batch.sample_slots,
      batch.sample_ids.shape[-1],
    )
  result = memory.call('advantage', early)
  advantages, returns = result if isinstance(result, tuple) else (result, None)
  advantages = _on_tokens(batch, advantages, kept, objective.advantage)
  if returns is not None:
    shape = {'each token': kept.shape}
    early['returns'] = returned.array(returns, objective.advantage, 'returns', **shape)
  for name, bound in objective.advantage_shaping.items():
    early['advantages'] = advantages
    advantages = memory.call(f'advantage_shaping.{name}', early)
    advantages = _on_tokens(batch, advantages, kept, bound)
  return batch.replace(advantages=advantages, returns=returns)


def _on_tokens(batch: Batch, advantages: Array, kept: Array, bound: Bound) -> Array:
  shapes = {'each sample': batch.group_ids.shape, 'each token': kept.shape}
  returned.array(advantages, bound, 'an advantage', **shapes)
  if advantages.ndim == 1:
    advantages = masking.sample_to_token(advantages, batch.sample_ids, batch.segment_ids)
  return jax.lax.stop_gradient(jnp.where(kept, advantages, 0))


def _mean_reward(early: Mapping[str, Any]) -> Array:
  used = jnp.isfinite(early['rewards']) & (early['group_ids'] >= 0)
  return masking.masked_mean(early['rewards'], used)


def _explained(batch: Batch, kept: Array) -> Array:
  """1 − Var(returns − values) / Var(returns) over tokens of scored samples; 0 if constant."""
  variance = masking.masked_var(batch.returns, kept)
  left = masking.masked_var(batch.returns - batch.values, kept)
  return jnp.where(variance > 0, 1 - left / jnp.where(variance > 0, variance, 1), 0)
