"""What a loss, a regularizer or an advantage estimator promises; the tests hold it to its word.

A function that is not declared promises nothing and works the same: the declaration is an attribute
of the function (`function.declared`), read by the tests and by whoever cuts micro-batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar('F', bound=Callable[..., Any])

TRAITS = {
  'shift_invariant': 'a constant added to the rewards of a group changes nothing',
  'scale_invariant': 'rewards times a positive constant give the same advantages (up to epsilon)',
  'zero_mean_in_group': 'advantages of a group sum to 0',
  'group_relative': 'a group of equal rewards, or of one sample, gets exactly 0',
  'on_policy_is_reinforce': 'where new and old log-probs agree the gradient is −A·∇ℓ',
}
DENOMINATORS = ('tokens', 'samples', 'groups')
COUPLES = ('token', 'sequence', 'group', 'batch')


@dataclasses.dataclass(frozen=True)
class Declared:
  """The promises of one function, with the hyper-parameters at their defaults.

  Attributes:
    denominator: what an average of the result counts: 'tokens' (the result is [..., T]), 'samples'
      or 'groups' ([N]).
    couples: the widest scope in which one entry of the result depends on other entries of the
      arguments. Micro-batches may cut anything wider than 'sequence' only on group boundaries.
    traits: names of `TRAITS` that hold; those that are not named are violated.
    values: of a value loss on `value_logits`: the function of them that is the value; it has
      hyper-parameters of the loss.
  """

  denominator: str = 'tokens'
  couples: str = 'token'
  traits: frozenset[str] = frozenset()
  values: Callable[..., Any] | None = None


def declare(
  *,
  denominator: str = 'tokens',
  couples: str = 'token',
  traits: tuple[str, ...] = (),
  values: Callable[..., Any] | None = None,
) -> Callable[[F], F]:
  """Decorator: sets `function.declared` and returns the function itself."""
  unknown = [name for name in traits if name not in TRAITS]
  if unknown or denominator not in DENOMINATORS or couples not in COUPLES:
    raise ValueError(f'cannot declare {denominator!r}, {couples!r}, {unknown!r}')

  def decorate(function: F) -> F:
    function.declared = Declared(denominator, couples, frozenset(traits), values)
    return function

  return decorate
