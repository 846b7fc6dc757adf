"""Combinations of stage functions that are known to be wrong; refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax.binding import Bound


class ObjectiveError(ValueError):
  """A combination of stage functions that would be wrong."""


def refuse_known_mistakes(objective: Any, stage: Mapping[str, Any]) -> None:
  """Raises `ObjectiveError` for an `Objective` that would not do what its config says.

  Args:
    objective: the bound functions.
    stage: the config node that they come from.
  """
  _check_advantage(objective, stage)
  _check_terms(objective)
  _check_kl(objective, stage)
  _check_correction(objective)
  _check_controllers(objective, stage)
  _check_reserved(objective)


def _check_advantage(objective: Any, stage: Mapping[str, Any]) -> None:
  advantage = objective.advantage
  if advantage is None:
    if 'advantages' in objective.loss.arrays:
      raise ObjectiveError(
        f'{objective.loss.name} takes advantages, but the stage has no advantage'
      )
    return
  if stage.get('samples') == 1 and _compares_group(advantage):
    raise ObjectiveError(
      f'samples is 1, and {advantage.name} compares the samples of a prompt, so every advantage '
      f"would be 0; raise samples, or take advantages.gae or center and scale 'batch'"
    )
  if 'values' in advantage.arrays and objective.value is None:
    raise ObjectiveError(
      f"{advantage.name} takes values, but nothing learns them; set value to "
      f"dict(name='losses.clipped_value') and value_coef above 0"
    )
  if objective.value is not None and 'values' not in advantage.arrays:
    raise ObjectiveError(f'a value loss is set, but {advantage.name} makes no use of values')
  added = [f'reward_shaping.{name}' for name in objective.reward_shaping]
  added += ["kl_placement 'reward'"] if objective.kl and objective.kl_in_reward else []
  if advantage.is_of_rljax and 'reward_components' in advantage.arrays and added:
    raise ObjectiveError(
      f'{advantage.name} is made of the components of the reward, so {added[0]} would have no '
      f'part; make it a component, or take another advantage'
    )


def _compares_group(advantage: Bound) -> bool:
  """Whether a sample that is alone in its group gets the advantage 0."""
  declared = getattr(advantage.function, 'declared', None)
  scopes = [advantage.static.get(name, 'group') for name in ('center', 'scale')]
  return declared is not None and 'group_relative' in declared.traits and 'group' in scopes


def _divides_by_group(advantage: Bound) -> bool:
  """Whether an advantage is in units of its group's rewards."""
  declared, static = getattr(advantage.function, 'declared', None), advantage.static
  if 'scale' in static or declared is None:
    return static.get('scale') == 'group'
  of_group = declared.couples == 'group' and static.get('scope', 'group') == 'group'
  return of_group and 'scale_invariant' in declared.traits and not static.get('no_std', False)


OF_SAMPLES = ('sample_mean', 'group_mean')  # of rljax's weights, those of whole samples
TOKEN_MEAN = ('token_mean',)


def _check_terms(objective: Any) -> None:
  """Losses of tokens have weights of tokens, losses of samples those of samples."""
  loss, weights, of_samples = objective.loss, objective.weights, objective.is_of_samples
  if weights.is_of_rljax and of_samples != (weights.name in OF_SAMPLES):
    what = 'samples' if of_samples else 'tokens'
    wanted = ' or '.join(f'weighting.{name}' for name in (OF_SAMPLES if of_samples else TOKEN_MEAN))
    raise ObjectiveError(
      f'{loss.name} is declared as a loss of {what}, and {weights.name} has no weights of {what}; '
      f'set weights to {wanted}'
    )
  for name, bound in objective.terms.items():
    declared = getattr(bound.function, 'declared', None)
    if name == 'value' and objective.has_histogram and getattr(declared, 'values', None) is None:
      raise ObjectiveError(
        f'{bound.name} takes value_logits, and does not declare which function of them is the value'
      )
    if name == 'policy' or declared is None:
      continue
    if declared.denominator != 'tokens' or declared.couples in ('group', 'batch'):
      raise ObjectiveError(
        f'{name} is {bound.name}, which compares whole samples; only the loss of a stage may'
      )


REWARD_KL = ('kl_reward', 'k3_reward')  # constants, to be taken off the reward


def _check_kl(objective: Any, stage: Mapping[str, Any]) -> None:
  kl, advantage = objective.kl, objective.advantage
  if kl is None:
    return
  if objective.kl_in_reward and advantage is None:
    raise ObjectiveError(
      f"kl_placement 'reward', but the stage has no advantage: {objective.loss.name} sees the "
      f"samples' rewards alone"
    )
  if objective.kl_in_reward and _divides_by_group(advantage):
    raise ObjectiveError(
      f"kl_placement 'reward' with {advantage.name}: what it divides by, the std or mean of a "
      f'group, rescales the KL (β_eff = β/σ_g, 4β at pass rate 1/16); use kl_placement '
      f"'loss', or an advantage that is not scaled by group (scale 'batch' or 'none', no_std)"
    )
  if kl.is_of_rljax and objective.kl_in_reward != (kl.name in REWARD_KL):
    wanted = 'regularizers.kl_reward' if objective.kl_in_reward else 'regularizers.reverse_kl'
    placement = stage.get('kl_placement', 'loss')
    raise ObjectiveError(
      f'kl_placement {placement!r} with {kl.name}: its gradient would not be that of '
      f'the KL; use {wanted}'
    )


ANCHORED_AT_SAMPLER = 'policy_logprobs'  # a ratio to the sampler holds the mismatch already


def _check_correction(objective: Any) -> None:
  """One ratio is corrected once, and a loss of samples has no weights of tokens."""
  correction, loss = objective.correction, objective.loss
  if correction is None:
    return
  if objective.bypass:
    raise ObjectiveError(
      f"old_logprobs 'sampler' with {correction.name}: the ratio to the sampler holds the mismatch "
      f"already, it would count twice; set correction to None or old_logprobs to 'recompute'"
    )
  if ANCHORED_AT_SAMPLER in loss.arrays:
    raise ObjectiveError(
      f'{loss.name} has the ratio to the sampler itself; with {correction.name} the mismatch would '
      f'count twice'
    )
  if objective.is_of_samples:
    raise ObjectiveError(f'{loss.name} is a loss of whole samples; {correction.name} weighs tokens')


def _check_controllers(objective: Any, stage: Mapping[str, Any]) -> None:
  for name, bound in objective.controllers.items():
    first = stage.get(f'{name}_coef', 0.0)
    given = {**bound.static, **bound.scheduled}.get('coefficient', first)
    if getattr(objective, name) is None:
      raise ObjectiveError(
        f'{name}_controller moves {name}_coef, but the stage has no {name} term'
      )
    if isinstance(first, Mapping) or given != first:
      raise ObjectiveError(
        f'{name}_controller begins with {name}_coef, which must be a number, and coefficient the '
        f'same or left out'
      )
    if bound.name == 'adaptive_kl' and not first:
      raise ObjectiveError('adaptive_kl multiplies kl_coef, and 0 stays 0; set kl_coef above 0')
    if bound.init is None:
      raise ObjectiveError(
        f'{name}_controller: {bound.name} must take state, for the coefficient that it moves'
      )


def _check_reserved(objective: Any) -> None:
  """`key` and `state` exist where all samples are seen at once, so not in the loss pass."""
  bounds = [*objective.terms.values(), objective.kl, objective.correction]
  wrong = [(b.name, name) for b in bounds if b for name in b.reserved]
  drawing = [objective.weights, *objective.selections.values(), *objective.derived.values()]
  wrong += [(b.name, name) for b in drawing for name in b.reserved if name != 'key']
  for function, name in wrong:
    raise ObjectiveError(
      f'{function} takes {name!r}, which it cannot have: losses see one micro-batch at a time. An '
      f"advantage and what shapes rewards or advantages may take 'key' and 'state'; weights, "
      f"selections and derived arrays may take 'key'"
    )
