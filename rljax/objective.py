"""A stage's objective: its functions, and the forward passes that they ask for.

loss = Σ w·L + Σ w'·(kl_coef·KL + entropy_coef·L_H + value_coef·L_V + auxiliary_coef·L_A): each term
is a loss per token (or per sample) times weights that `prepare` normalised over the optimizer step;
w counts what selections and corrections leave, w' all sampled tokens. A pure sum: micro-batches,
devices and packing add up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rljax import arrays
from rljax.binding import Bound, bind, resolve, signature, value_at
from rljax.combinations import ObjectiveError, refuse_known_mistakes
from rljax.structs import Array, PyTree

COEFFICIENTS = ('kl', 'entropy', 'value', 'auxiliary')
OLD_LOGPROBS = ('recompute', 'sampler')
LOGITS = 'value_logits'


@dataclasses.dataclass(frozen=True)
class Objective:
  """The bound functions of a stage.

  Attributes:
    loss: of tokens, or of samples; asks for 'logprobs', 'old_logprobs', 'advantages', …
    weights: the aggregation, arrays of one minibatch -> [M, r, T], or [M, r, S] for a loss of
      samples.
    full_weights: the aggregation of the other terms, over all sampled tokens.
    advantage: rewards -> [N], or [..., T], or (advantages, returns); None for supervised stages.
    kl: divergence to the reference: a token loss, or a token reward where `kl_in_reward`.
    kl_in_reward: where the divergence enters.
    entropy: a token loss (−entropy, or its sampled form), scaled by entropy_coef.
    value: a token loss on `new_values`, or on `value_logits`, the histogram of a value head.
    auxiliary: one more token loss, such as the likelihood of demonstrations.
    reward_shaping, advantage_shaping: rewards -> rewards, advantages -> advantages, one after the
      other in the order of their names.
    selections: which tokens and samples carry the policy loss; all must agree.
    correction: factor of the policy loss for the mismatch of sampler and trainer.
    derived: arrays of the minibatch that a loss asks for by these names, from before the update.
    controllers: 'kl', 'entropy' -> what moves their coefficient after an update.
    coefficients: numbers or schedules of 'kl', 'entropy', 'value', 'auxiliary', and
      'jsd_beta' and 'entropy_top_p'.
    teacher_top_k: tokens of the statistic teacher_top_k_kl.
    on_policy: one optimizer step on a rollout of this very policy: the old log-probs are the new
      ones, constant.
    bypass: the sampler's log-probs serve as the old ones.
  """

  loss: Bound
  weights: Bound
  full_weights: Bound
  advantage: Bound | None
  kl: Bound | None
  kl_in_reward: bool
  entropy: Bound | None
  value: Bound | None
  auxiliary: Bound | None
  reward_shaping: dict[str, Bound]
  advantage_shaping: dict[str, Bound]
  selections: dict[str, Bound]
  correction: Bound | None
  derived: dict[str, Bound]
  controllers: dict[str, Bound]
  coefficients: dict[str, Any]
  teacher_top_k: int
  on_policy: bool
  bypass: bool

  @property
  def terms(self) -> dict[str, Bound]:
    """The losses by the name of their weights."""
    kl = None if self.kl_in_reward else self.kl
    terms = {'policy': self.loss, 'kl': kl, 'entropy': self.entropy, 'value': self.value}
    terms['auxiliary'] = self.auxiliary
    return {name: bound for name, bound in terms.items() if bound is not None}

  @property
  def before(self) -> dict[str, Bound]:
    """What is called before the update, by the name of its hyper-parameters."""
    bounds = {'advantage': self.advantage, 'correction': self.correction, 'weights': self.weights}
    bounds['full_weights'] = self.full_weights
    bounds['kl'] = self.kl if self.kl_in_reward else None
    groups = ('reward_shaping', 'advantage_shaping', 'selections', 'derived')
    bounds |= {f'{g}.{n}': b for g in groups for n, b in getattr(self, g).items()}
    return {name: bound for name, bound in bounds.items() if bound is not None}

  @property
  def early(self) -> frozenset[str]:
    """The arrays that are asked for before the update."""
    return arrays.closure(_asked(self.before.values()))

  @property
  def late(self) -> frozenset[str]:
    """The arrays that are asked for in the loss pass."""
    return arrays.closure(_asked(self.terms.values()))

  @property
  def needs(self) -> frozenset[str]:
    """The forward passes before the update, by what they make: of `arrays.PREPARED`."""
    asked = self.late | self.early
    if self.sampler_is_old:
      asked -= {'old_logprobs'}
    return asked & set(arrays.PREPARED)

  @property
  def sampler_is_old(self) -> bool:
    """Whether what comes before the update takes the sampler's log-probs for the old ones."""
    return self.bypass or (self.on_policy and self.correction is None)

  @property
  def statistics(self) -> tuple[str, ...]:
    """What the loss pass computes of the policy's distribution: see `token_statistics`."""
    asked = self.late & set(arrays.LATE_STATISTICS)
    if not asked:
      return ()
    return tuple(n for n in arrays.LATE_STATISTICS if n in {*asked, 'logprobs', 'entropy'})

  @property
  def frozen_roles(self) -> frozenset[str]:
    """The roles besides the trained ones that have a forward pass, before the update or in it."""
    roles = {arrays.FROZEN[name] for name in self.needs & set(arrays.FROZEN)}
    roles |= {arrays.LATE_STATISTICS[name] for name in self.statistics}
    return frozenset(roles - {None})

  @property
  def is_of_samples(self) -> bool:
    """Whether the loss has one entry a sample and not one a token."""
    return denominator_of(self.loss) != 'tokens'

  @property
  def couples(self) -> str:
    """The widest scope in which entries of the loss depend on each other."""
    declared = getattr(self.loss.function, 'declared', None)
    return declared.couples if declared else 'token'

  @property
  def remembering(self) -> dict[str, Bound]:
    """What has a state between updates, by its name in `TrainState.method_state`."""
    return {name: bound for name, bound in self.before.items() if bound.init is not None}

  def values_of(self, said: Array, hyper: Mapping[str, Any]) -> Array:
    """V [..., T] of what the value head says: itself, or what its loss makes of a histogram."""
    if not self.has_histogram:
      return said
    mean = self.value.function.declared.values
    given, wanted = {**self.value.static, **hyper['value']}, signature(mean)
    return mean(said, **{name: given[name] for name in (*wanted.hyper, *wanted.required)})

  @property
  def has_histogram(self) -> bool:
    """Whether the value head says logits [..., T, bins] and not values."""
    return self.value is not None and LOGITS in self.value.arrays

  def first_state(self) -> dict[str, PyTree]:
    """`TrainState.method_state` before the first update: by the name of what remembers."""
    first = {name: bound.first_state() for name, bound in self.remembering.items()}
    for name, bound in self.controllers.items():
      coefficient = value_at(self.coefficients[name], 0)
      first[f'{name}_controller'] = {'coefficient': coefficient, 'state': bound.first_state()}
    # With their dtypes said: the arrays of Python numbers are weakly typed, and those of the next
    # update are not, which would be another program.
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), first)

  def hyper(self, iteration: int) -> dict[str, Any]:
    """The traced hyper-parameters of an iteration: nested dict of Python floats."""
    bounds = {**self.terms, **self.before}
    bounds |= {f'{name}_controller': bound for name, bound in self.controllers.items()}
    values = {name: bound.hyper(iteration) for name, bound in bounds.items()}
    values['coefficients'] = {
      name: float(value_at(value, iteration)) for name, value in self.coefficients.items()
    }
    return values


def _asked(bounds: Iterable[Bound]) -> set[str]:
  bounds = list(bounds)
  free = {name for bound in bounds for name in bound.optional if name in arrays.FREE}
  return free | {name for bound in bounds for name in bound.arrays}


def denominator_of(bound: Bound) -> str:
  """What an average of a loss counts: 'tokens', 'samples' or 'groups'."""
  declared = getattr(bound.function, 'declared', None)
  return declared.denominator if declared else 'tokens'


def value_outputs(stage: Mapping[str, Any]) -> bool | int:
  """The head that a stage with a value loss needs: True = a scalar, a number = so many bins."""
  node = stage['value']
  known = signature(resolve(node['name']))
  return {**known.hyper, **node}['num_bins'] if LOGITS in known.arrays else True


def build(stage: Mapping[str, Any], extras: Iterable[str] = ()) -> Objective:
  """The objective of a stage's config node, checked.

  A term whose coefficient is the constant 0 is left out of the program: no forward pass, no
  parameters of a reference.

  Args:
    stage: the node.
    extras: names of arrays that the kind of stage makes, besides the node's own `extras`.

  Raises:
    BindingError: a function, array or hyper-parameter that does not exist.
    ObjectiveError: a combination that is known to be wrong.
  """
  own = (*extras, *stage.get('extras', ()))
  early = (*arrays.EARLY, *own)
  filled = arrays.FILLED if stage.get('advantage') else ()
  shaped = (*early, *filled)
  late = (*arrays.LATE, *own, *(stage.get('derived') or ()))

  def term(name: str, available) -> Bound | None:
    node = stage.get(name)
    coefficient, moves = stage.get(f'{name}_coef', 1.0), stage.get(f'{name}_controller')
    off = not isinstance(coefficient, Mapping) and coefficient == 0 and not moves
    return None if off or not node else bind(node, available)

  def several(name: str, available) -> dict[str, Bound]:
    nodes = stage.get(name) or {}  # sorted, as those of a ConfigDict are
    return {key: bind(nodes[key], available) for key in sorted(nodes) if nodes[key]}

  if taken := [name for name in stage.get('derived') or () if name in (*arrays.LATE, *own)]:
    raise ObjectiveError(f'derived.{taken[0]}: there is an array of this name already')
  for name, known in (('kl_placement', ('loss', 'reward')), ('old_logprobs', OLD_LOGPROBS)):
    if stage.get(name, known[0]) not in known:
      raise ObjectiveError(f'{name} is {stage[name]!r}; it is one of {str(known)[1:-1]}')
  loss = bind(stage['loss'], late)
  weights = bind(stage['weights'], shaped)
  of_samples = denominator_of(loss) != 'tokens'
  controllers = {name: _controller(stage, name) for name in ('kl', 'entropy')}
  objective = Objective(
    loss=loss,
    weights=weights,
    full_weights=bind({'name': 'weighting.token_mean'}, early) if of_samples else weights,
    advantage=term('advantage', early),
    kl=term('kl', late),
    kl_in_reward=stage.get('kl_placement', 'loss') == 'reward',
    entropy=term('entropy', late),
    value=term('value', late),
    auxiliary=term('auxiliary', late),
    reward_shaping=several('reward_shaping', early),
    advantage_shaping=several('advantage_shaping', shaped),
    selections=several('selections', shaped),
    correction=term('correction', early),
    derived=several('derived', shaped),
    controllers={name: bind(node) for name, node in controllers.items() if node},
    coefficients={
      **{name: stage.get(f'{name}_coef', 0.0) for name in COEFFICIENTS},
      'jsd_beta': stage.get('jsd_beta', 0.5),
      'entropy_top_p': stage.get('entropy_top_p', 1.0),
    },
    teacher_top_k=stage.get('teacher_top_k', 32),
    on_policy=is_on_policy(stage),
    bypass=stage.get('old_logprobs', 'recompute') == 'sampler',
  )
  if 'stored_kl' in objective.late and not set(arrays.STORED) <= set(own):
    raise ObjectiveError(
      f"{objective.loss.name} takes stored_kl, so extras must have {', '.join(arrays.STORED)}, "
      f'which rollouts.soft_bootstrap makes'
    )
  refuse_known_mistakes(objective, stage)
  if objective.kl_in_reward:
    term('kl', early)  # here, so that rljax's own functions are refused with their reason
  return objective


def is_on_policy(stage: Mapping[str, Any]) -> bool:
  """Whether a rollout is learnt from in one step, by the policy that drew it."""
  steps = stage.get('epochs', 1) * stage.get('minibatches', 1)
  return steps == 1 and not stage.get('max_staleness', 0)


def _controller(stage: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
  """The node of a controller; one that asks for its first `coefficient` gets the stage's."""
  node = stage.get(f'{name}_controller')
  if not node or 'coefficient' not in signature(resolve(node['name'])).required:
    return node
  return {'coefficient': float(value_at(stage.get(f'{name}_coef', 0.0), 0)), **node}
