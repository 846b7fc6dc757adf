"""The summed objective of one micro-batch: what is differentiated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rljax import arrays, masking, returned, router
from rljax.forward import forward, params_of, token_temperature
from rljax.objective import Objective, denominator_of
from rljax.structs import Array, Policy, PyTree

POLICY_METRICS = ('ratio_max', 'clip_low', 'clip_high', 'kl_ref', 'kl_old')
# Numbers of a batch of which none may be infinite: a clamped ratio to one is finite and wrong.
FINITE = (
  'policy_logprobs', 'token_rewards', 'old_logprobs', 'ref_logprobs', 'advantages', 'returns'
)  # fmt: skip


def micro_loss(
  params: PyTree,
  rows: Mapping[str, Any],
  samples: Mapping[str, Array],
  hyper: Mapping[str, Any],
  *,
  objective: Objective,
  policies: Mapping[str, Policy],
  chunk_size: int,
  frozen: Mapping[str, PyTree] | None = None,
) -> tuple[Array, dict[str, dict[str, Array]]]:
  """The summed objective of one micro-batch.

  Args:
    params: dict of trained roles.
    rows: token arrays [r, T] of `Batch`, weights included.
    samples: sample arrays [N] of the iteration, and scalars.
    hyper: traced hyper-parameters, `Objective.hyper`.
    objective: the stage's.
    policies: role -> Policy.
    chunk_size: slots that pass the vocabulary at once.
    frozen: 'reference' and 'teacher' where a term compares whole distributions.

  Returns:
    (loss, {'total': sums, 'mean': Σ over sampled tokens, 'max': maxima}); the caller adds up
    micro-batches and divides 'mean' by its 'count', the mismatch by 'drawn': what the sampler drew.
  """
  known = _arrays(
    params,
    rows,
    samples,
    frozen or {},
    objective=objective,
    policies=policies,
    hyper=hyper,
    chunk_size=chunk_size,
  )
  loss = jnp.zeros(())
  seen, total = {}, {}
  if 'entropy' in known and objective.statistics:
    seen['policy/entropy'] = known['entropy']
  if 'router_load' in known:
    more, sums = router.seen(known, rows)
    seen, total = {**seen, **more}, sums
  elsewhere = arrays.drawn_elsewhere(samples['is_external'], samples['group_ids'])
  places = (rows['sample_ids'], rows['segment_ids'])
  drawn = rows['action_mask'] & ~masking.sample_to_token(elsewhere, *places)
  if objective.on_policy and 'logprobs' in known:
    # With several steps the parameters have moved on, and `prepare` has compared.
    gap = jax.lax.stop_gradient(jnp.abs(known['logprobs'] - rows['policy_logprobs']))
    gap = jnp.where(drawn, gap, 0)
    seen |= {'rollout/mismatch_mean': gap, 'rollout/mismatch_max': gap}
  for name, bound in objective.terms.items():
    weights = rows['weights'].get(name, rows['weights']['full'])
    term_loss, weights, diagnostics = _of_term(bound, known, hyper[name], weights)
    part = masking.weighted_sum(term_loss, weights)
    loss += part if name == 'policy' else hyper['coefficients'][name] * part
    prefix = 'value' if name == 'value' else 'policy'
    if name in ('policy', 'value'):
      total[f'{prefix}/loss'] = part
    named = {_metric(name, bound.name, key): x for key, x in diagnostics.items()}
    if name == 'policy' and objective.is_of_samples:
      total |= {key: masking.weighted_sum(x, weights) for key, x in named.items()}
    else:
      seen |= named
  sampled = rows['action_mask'] & _counted(rows, objective)
  maxima = {k: masking.masked_max(v, sampled) for k, v in seen.items() if k.endswith('_max')}
  means = {k: masking.masked_sum(v, sampled) for k, v in seen.items() if not k.endswith('_max')}
  means['count'] = jnp.sum(sampled).astype(jnp.float32)
  means['drawn'] = jnp.sum(sampled & drawn).astype(jnp.float32)
  return loss, jax.lax.stop_gradient({'total': total, 'mean': means, 'max': maxima})


def _of_term(bound: Any, known: Mapping[str, Any], hyper: Any, weights: Array) -> tuple:
  """(values, weights in their shape, diagnostics) of a loss."""
  parts = '(its values [..., T] or [N], a dict of diagnostics of that shape, maybe {})'
  found, diagnostics = returned.pair(bound(known, hyper), bound, 'a loss', parts)
  if not isinstance(diagnostics, Mapping):
    raise ValueError(f'{bound.name} is named as a loss; a loss returns {parts}')
  if denominator_of(bound) == 'tokens':
    why = ': the weights of the objective add them up'
    returned.array(found, bound, 'a loss', why, **{'each token': weights.shape})
  for name, x in diagnostics.items():
    if jnp.shape(x) not in ((), found.shape):
      raise ValueError(
        f'{bound.name}: its diagnostic {name} has the shape {list(jnp.shape(x))}; that of the '
        f'loss, {list(found.shape)}, or a number is needed'
      )
  return found, weights.reshape(found.shape), diagnostics


def _counted(rows: Mapping[str, Any], objective: Objective) -> Array:
  """bool [r, T]: the tokens of which metrics are means: those of scored samples."""
  if objective.is_of_samples:
    return masking.segment_to_token(rows['weights']['policy'] != 0, rows['segment_ids'])
  return rows['weights']['full'] != 0


def are_finite(
  rows: Mapping[str, Any], samples: Mapping[str, Array], objective: Objective
) -> Array:
  """bool scalar: whether the numbers of a minibatch are, at the tokens of scored samples.

  Args:
    rows: token arrays [M, r, T] of `Batch` as `prepare` leaves them, weights included.
    samples: sample arrays [N] of the iteration.
    objective: the stage's.
  """
  unused, counted = samples['group_ids'] < 0, rows['action_mask'] & _counted(rows, objective)
  tokens = jnp.bool_(True)  # of arrays of one shape, so that all are looked at in one pass
  for name in FINITE:
    tokens &= ~counted | jnp.isfinite(rows[name]) if name in rows else True
  scored = ~jnp.isinf(samples['rewards'])  # NaN: there is none
  whole = jnp.all(tokens) & jnp.all(unused | (jnp.isfinite(samples['temperature']) & scored))
  for weights in rows['weights'].values():  # of tokens or of samples
    whole &= jnp.all(jnp.isfinite(weights))
  return whole


def _metric(term: str, function: str, key: str) -> str:
  if term == 'value':
    return f'value/{key}'
  return f'policy/{key}' if key in POLICY_METRICS else f'method/{function}/{key}'


def of_pairs(metrics: Mapping[str, Any], objective: Objective) -> dict[str, Any]:
  """The metrics of a loss of pairs as means over pairs: a group without one is no wrong pair.

  The weights are 1/groups on all groups, so what `micro_loss` adds up is a mean over groups; the
  diagnostic `pairs` is the fraction of them that have a pair. It and the loss stay as they are.
  """
  own = f'method/{objective.loss.name}/'
  if own + 'pairs' not in metrics:
    return dict(metrics)
  pairs = metrics[own + 'pairs']
  told = [name for name in metrics if name.startswith(own) and name != own + 'pairs']
  return {**metrics, **{name: metrics[name] / jnp.where(pairs > 0, pairs, 1) for name in told}}


def _arrays(params, rows, samples, frozen, *, objective, policies, hyper, chunk_size):
  """What the terms may ask for, by name, and 0 where nothing was sampled."""
  scalars = {name: x for name, x in samples.items() if name in arrays.SCALARS}
  local = arrays.places_of(
    rows['sample_ids'], {name: x for name, x in samples.items() if name not in scalars}
  )
  temperature = token_temperature(local['temperature'], local['sample_ids'], rows['segment_ids'])
  options = dict(objective=objective, policies=policies, hyper=hyper, chunk_size=chunk_size)
  tokens = {name: x for name, x in rows.items() if name != 'weights'}
  tokens |= _passes(params, rows, temperature, frozen, **options)
  if objective.on_policy and not objective.bypass and 'logprobs' in tokens:
    tokens['old_logprobs'] = jax.lax.stop_gradient(tokens['logprobs'])
  known = masking.shield(tokens, rows['action_mask']) | local | scalars
  if 'scores' in objective.late:
    last = masking.last_true_in_segment(rows['action_mask'], rows['segment_ids'])
    places = (rows['segment_ids'], known['sample_slots'], known['sample_ids'].shape[-1])
    known['scores'] = masking.token_to_sample_sum(known['token_scores'], last, *places)
  return arrays.with_sums(known, objective.late)


def _passes(params, rows, temperature, frozen, *, objective, policies, hyper, chunk_size):
  """The forward passes of the trained roles."""
  shared_value = objective.value is not None and 'value' not in policies
  now = {}
  capture = ('router_probs',) if objective.late & set(arrays.OF_ROUTER) else ()
  if objective.statistics or shared_value or capture:
    roles = {arrays.LATE_STATISTICS[name] for name in objective.statistics} - {None}
    now = forward(
      policies['policy'],
      params_of(policies, {**frozen, **params}, 'policy'),
      rows,
      temperature,
      statistics=objective.statistics,
      constant=tuple(n for n in objective.statistics if n not in objective.late),
      value=shared_value,
      capture=capture,
      router=True,
      routing=rows.get('routing'),
      where=rows['action_mask'],
      chunk_size=chunk_size,
      others={role: (policies[role], params_of(policies, frozen, role)) for role in roles},
      jsd_beta=hyper['coefficients']['jsd_beta'],
      top_k=objective.teacher_top_k,
      top_p=hyper['coefficients']['entropy_top_p'],
      stored=tuple(rows[n] for n in arrays.STORED) if 'stored_kl' in objective.late else None,
    )
  if objective.value is not None and not shared_value:
    now |= forward(policies['value'], params['value'], rows, temperature, value=True)
  if 'values' in now:
    said = now.pop('values')
    now['new_values'] = objective.values_of(said, hyper)
    now |= {'value_logits': said} if objective.has_histogram else {}
  if objective.late & set(arrays.SCORES):
    now |= forward(policies['reward'], params['reward'], rows, temperature, scores=True)
  return now
