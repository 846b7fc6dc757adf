"""A stage's objective: its functions, the forward passes that they ask for, and its sum.

loss = Σ w·L + Σ w·(kl_coef·KL + entropy_coef·L_H) + Σ w·value_coef·L_V; each term is a token loss
times weights that `prepare` normalised over the optimizer step. A pure sum: micro-batches, devices
and packing add up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.binding import Bound, bind, value_at
from rljax.combinations import ObjectiveError, refuse_known_mistakes
from rljax.forward import forward, token_temperature
from rljax.structs import Array, Batch, Policy, PyTree

TOKEN_ARRAYS = (
  'tokens',
  'positions',
  'segment_ids',
  'action_mask',
  'policy_logprobs',
  'behavior_logprobs',
  'policy_step',
  'token_rewards',
  'sample_ids',
)
OPTIONAL_TOKEN_ARRAYS = (
  'prefix_ids',
  'entropy',
  'old_logprobs',
  'ref_logprobs',
  'values',
  'returns',
  'advantages',
)
SAMPLE_ARRAYS = (
  'sample_slots',
  'group_ids',
  'rewards',
  'temperature',
  'prompt_length',
  'num_tokens',
  'truncated',
  'is_external',
  'role_ids',
)
PREPARED = ('old_logprobs', 'ref_logprobs', 'values')
COMPUTED = ('logprobs', 'new_values', 'full_kl')  # by the loss pass, differentiated


@dataclasses.dataclass(frozen=True)
class Objective:
  """The bound functions of a stage.

  Attributes:
    loss: token loss; asks for 'logprobs', 'old_logprobs', 'advantages', …
    weights: the aggregation, arrays of one minibatch -> [M, r, T].
    advantage: rewards -> [N], or [..., T], or (advantages, returns); None for supervised stages.
    kl: divergence to the reference: a token loss, or a token reward where `kl_in_reward`.
    kl_in_reward: where the divergence enters.
    entropy: a token loss (−entropy, or its sampled form), scaled by entropy_coef.
    value: a token loss on `new_values`.
    coefficients: numbers or schedules of 'kl', 'entropy', 'value'.
    on_policy: one optimizer step an iteration: the old log-probs are the new ones, constant.
  """

  loss: Bound
  weights: Bound
  advantage: Bound | None
  kl: Bound | None
  kl_in_reward: bool
  entropy: Bound | None
  value: Bound | None
  coefficients: dict[str, Any]
  on_policy: bool

  @property
  def terms(self) -> dict[str, Bound]:
    """The token losses by the name of their weights."""
    kl = None if self.kl_in_reward else self.kl
    terms = {'policy': self.loss, 'kl': kl, 'entropy': self.entropy, 'value': self.value}
    return {name: bound for name, bound in terms.items() if bound is not None}

  @property
  def early(self) -> frozenset[str]:
    """The arrays that are asked for before the update."""
    bounds = (self.advantage, self.weights, self.kl if self.kl_in_reward else None)
    return frozenset(name for bound in bounds if bound for name in bound.arrays)

  @property
  def needs(self) -> frozenset[str]:
    """The forward passes before the update: of 'old_logprobs', 'ref_logprobs', 'values'."""
    asked = {name for bound in self.terms.values() for name in bound.arrays} | self.early
    if self.on_policy:
      asked.discard('old_logprobs')
    return frozenset(asked & set(PREPARED))

  @property
  def statistics(self) -> tuple[str, ...]:
    """What the loss pass computes of the policy's distribution: see `token_statistics`."""
    asked = {name for bound in self.terms.values() for name in bound.arrays}
    return ('logprobs', 'entropy', *(('full_kl',) if 'full_kl' in asked else ()))

  @property
  def needs_reference(self) -> bool:
    """Whether there is a forward pass of the reference, before the update or in it."""
    return 'ref_logprobs' in self.needs or 'full_kl' in self.statistics

  def first_state(self) -> dict[str, PyTree]:
    """`TrainState.method_state` before the first update: by the name of what remembers."""
    bound = self.advantage
    if bound is None or bound.init is None:
      return {}
    # With their dtypes said: the arrays of Python numbers are weakly typed, and those of the next
    # update are not, which would be another program.
    first = jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), bound.first_state())
    return {bound.name: first}

  def hyper(self, iteration: int) -> dict[str, Any]:
    """The traced hyper-parameters of an iteration: nested dict of Python floats."""
    bounds = {**self.terms, 'weights': self.weights, 'advantage': self.advantage, 'kl': self.kl}
    values = {name: bound.hyper(iteration) for name, bound in bounds.items() if bound}
    values['coefficients'] = {
      name: float(value_at(value, iteration)) for name, value in self.coefficients.items()
    }
    return values


def build(stage: Mapping[str, Any]) -> Objective:
  """The objective of a stage's config node, checked.

  A term whose coefficient is the constant 0 is left out of the program: no forward pass, no
  parameters of a reference.

  Raises:
    BindingError: a function, array or hyper-parameter that does not exist.
    ObjectiveError: a combination that is known to be wrong.
  """
  on_policy = stage.get('epochs', 1) * stage.get('minibatches', 1) == 1
  early = (*TOKEN_ARRAYS, *SAMPLE_ARRAYS, *PREPARED, 'entropy', *stage.get('extras', ()))
  late = (*COMPUTED, *OPTIONAL_TOKEN_ARRAYS, *early)

  def term(name: str, available) -> Bound | None:
    node = stage.get(name)
    coefficient = stage.get(f'{name}_coef', 1.0)
    off = not node or (not isinstance(coefficient, Mapping) and coefficient == 0)
    return None if off else bind(node, available)

  placement = stage.get('kl_placement', 'loss')
  if placement not in ('loss', 'reward'):
    raise ObjectiveError(f"kl_placement is {placement!r}; it is one of 'loss', 'reward'")
  objective = Objective(
    loss=bind(stage['loss'], late),
    weights=bind(stage['weights'], early),
    advantage=term('advantage', early),
    kl=term('kl', late),
    kl_in_reward=placement == 'reward',
    entropy=term('entropy', late),
    value=term('value', late),
    coefficients={n: stage.get(f'{n}_coef', 0.0) for n in ('kl', 'entropy', 'value')},
    on_policy=on_policy,
  )
  refuse_known_mistakes(objective, stage)
  if objective.kl_in_reward:
    term('kl', early)  # here, so that rljax's own functions are refused with their reason
  return objective


def sample_arrays(batch: Batch) -> dict[str, Array]:
  """The [N] arrays by name, a method's own included."""
  return {**{name: getattr(batch, name) for name in SAMPLE_ARRAYS}, **batch.extras}


def token_arrays(batch: Batch) -> dict[str, Any]:
  """The arrays with leading axes [K, M, r], those that exist; weights under 'weights'."""
  arrays = {name: getattr(batch, name) for name in TOKEN_ARRAYS}
  arrays |= {
    name: getattr(batch, name)
    for name in OPTIONAL_TOKEN_ARRAYS
    if getattr(batch, name) is not None
  }
  return {**arrays, 'weights': batch.weights}


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
    samples: sample arrays [N] of the iteration.
    hyper: traced hyper-parameters, `Objective.hyper`.
    objective: the stage's.
    policies: role -> Policy.
    chunk_size: slots that pass the vocabulary at once.
    frozen: 'reference' where a term asks for 'full_kl'.

  Returns:
    (loss, {'total': sums, 'mean': Σ over sampled tokens, 'max': maxima}); the caller adds up
    micro-batches and divides 'mean' by its 'count'.
  """
  arrays = _loss_arrays(
    params, rows, samples, frozen, objective=objective, policies=policies, chunk_size=chunk_size
  )
  arrays = masking.shield(arrays, rows['action_mask'])

  loss = jnp.zeros(())
  sampled = rows['action_mask'] & (rows['weights']['policy'] != 0)
  seen = {'policy/entropy': arrays['entropy']}
  if objective.on_policy:  # else the parameters have moved on, and `prepare` has compared
    gap = jax.lax.stop_gradient(jnp.abs(arrays['logprobs'] - rows['policy_logprobs']))
    seen |= {'rollout/mismatch_mean': gap, 'rollout/mismatch_max': gap}
  total = {}
  for name, bound in objective.terms.items():
    token_loss, diagnostics = bound(arrays, hyper[name])
    part = masking.weighted_sum(token_loss, rows['weights'][name])
    loss += part if name == 'policy' else hyper['coefficients'][name] * part
    prefix = 'value' if name == 'value' else 'policy'
    if name in ('policy', 'value'):
      total[f'{prefix}/loss'] = part
    seen |= {f'{prefix}/{key}': value for key, value in diagnostics.items()}
  maxima = {k: masking.masked_max(v, sampled) for k, v in seen.items() if k.endswith('_max')}
  means = {k: masking.masked_sum(v, sampled) for k, v in seen.items() if not k.endswith('_max')}
  means['count'] = jnp.sum(sampled).astype(jnp.float32)
  return loss, jax.lax.stop_gradient({'total': total, 'mean': means, 'max': maxima})


def _loss_arrays(params, rows, samples, frozen, *, objective, policies, chunk_size):
  """What the terms may ask for, by name: the batch's arrays and those of the forward passes."""
  temperature = token_temperature(samples['temperature'], rows['sample_ids'], rows['segment_ids'])
  shared_value = objective.value is not None and 'value' not in policies
  full = 'full_kl' in objective.statistics
  now = forward(
    policies['policy'],
    params['policy'],
    rows,
    temperature,
    statistics=objective.statistics,
    value=shared_value,
    chunk_size=chunk_size,
    reference=(policies['reference'], frozen['reference']) if full else None,
  )
  if objective.value is not None and not shared_value:
    now |= forward(policies['value'], params['value'], rows, temperature, value=True)
  arrays = {name: x for name, x in rows.items() if name != 'weights'} | dict(samples)
  arrays |= {name: now[name] for name in objective.statistics}
  if objective.on_policy:
    arrays['old_logprobs'] = jax.lax.stop_gradient(now['logprobs'])
  if objective.value is not None:
    arrays['new_values'] = now['values']
  return arrays
