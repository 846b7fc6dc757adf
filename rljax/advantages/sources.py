"""Samples of several tasks in one batch: which is whose."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

Array = jax.Array


def source_ids(
  label: str, reward_components: Mapping[str, Array], sources: tuple[str, ...]
) -> Array:
  """int32 [N]: the first of `sources` whose component of the reward is finite; −1 = none.

  `tasks.mixture` rewards have the component <source>; for samples of other sources it is NaN.

  Args:
    label: of the caller, for messages.
    reward_components: name -> float [N].
    sources: names of components.

  Raises:
    ValueError: no sources, or one without a component.
  """
  unknown = [name for name in sources if name not in reward_components]
  if unknown or not sources:
    known = ', '.join(sorted(reward_components)) or 'none'
    raise ValueError(
      f'{label}: sources={sources!r} names {unknown or "nothing"}; there are the components '
      f"{known}, those of the stage's `reward_components`"
    )
  finite = jnp.stack([jnp.isfinite(reward_components[name]) for name in sources])
  return jnp.where(jnp.any(finite, axis=0), jnp.argmax(finite, axis=0), -1).astype(jnp.int32)
