"""What a stage function has returned is looked at: what only broadcasts would go on, wrongly."""

from __future__ import annotations

from typing import Any

from rljax.binding import Bound
from rljax.structs import Array


def array(
  found: Any, bound: Bound, kind: str, /, why: str = '', **shapes: tuple[int, ...]
) -> Array:
  """What a function has returned, if it has one of the shapes that its kind has.

  Args:
    found: that.
    bound: the function.
    kind: what it is named as, with its article.
    why: so and not otherwise, after what is said.
    **shapes: by what an entry stands for.

  Raises:
    ValueError: another shape, or no array.
  """
  shape = getattr(found, 'shape', None)
  if shape not in shapes.values():
    told = f'a {type(found).__name__}' if shape is None else f'an array of shape {list(shape)}'
    wanted = ' or '.join(f'of {name} {list(shape)}' for name, shape in shapes.items())
    raise ValueError(
      f'{bound.name} is named as {kind} and returns {told}; an array with the value {wanted} is '
      f'needed{why}'
    )
  return found


def pair(found: Any, bound: Bound, kind: str, parts: str) -> tuple[Any, Any]:
  """What a function has returned, if it is a pair of what `parts` says.

  Raises:
    ValueError: it is none.
  """
  if not (isinstance(found, tuple) and len(found) == 2):
    told = f'a tuple of {len(found)}' if isinstance(found, tuple) else f'a {type(found).__name__}'
    raise ValueError(f'{bound.name} is named as {kind} and returns {told}; {kind} returns {parts}')
  return found
