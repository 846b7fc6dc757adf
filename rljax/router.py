"""What an update reports of the router of a model with experts: `router/*`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from rljax.structs import Array

LOAD, MASS = 'router/load', 'router/mass'


def seen(
  known: Mapping[str, Any], rows: Mapping[str, Any]
) -> tuple[dict[str, Array], dict[str, Array]]:
  """Of one micro-batch: (arrays [r, T] whose mean is a metric, sums that `shares` understands).

  Args:
    known: what `forward` says with `router`.
    rows: token arrays [r, T, …].

  Returns:
    'router/entropy', nats, and where choices are replayed 'router/replayed', whether the choice of
    the token was recorded, and 'router/replaced', the fraction of it that the router had not made;
    tokens that went to an expert [L', E], and Σ of its probabilities.
  """
  means = {'router/entropy': known['router_entropy']}
  if 'routing' in rows:
    means['router/replayed'] = (rows['routing'][..., 0, 0] >= 0).astype(jnp.float32)
    means['router/replaced'] = known['router_replaced']
  sums = {LOAD: known['router_load'], MASS: known['router_mass']}
  return means, {name: jnp.sum(x, axis=0) for name, x in sums.items()}


def shares(total: Mapping[str, Array]) -> dict[str, Array]:
  """The sums of a minibatch with metrics in place of loads.

  router/load_max, router/load_min: E · f_e, the most and the least that an expert of any layer was
  asked, 1 = an even share; router/balance: E · Σ_e f_e·P_e, a mean over layers, ≈ 1 where even. f_e
  is the fraction of choices, P_e the mean probability of expert e among all tokens of the
  minibatch, prompts included.

  Source: balance: Fedus et al., arXiv 2101.03961, eq. 4–6; over all micro-batches: Qiu et al.,
  2501.11873.

  Differs from the source: f_e is divided by the choices of a token, so that an even share gives 1.
  """
  if LOAD not in total:
    return dict(total)
  load, mass = (total[n] / jnp.maximum(jnp.sum(total[n], -1, keepdims=True), 1e-9) for n in
                (LOAD, MASS))  # fmt: skip
  even = load.shape[-1] * load
  return {
    **{name: x for name, x in total.items() if name not in (LOAD, MASS)},
    'router/load_max': jnp.max(even),
    'router/load_min': jnp.min(even),
    'router/balance': jnp.mean(jnp.sum(even * mass, axis=-1)),
  }
