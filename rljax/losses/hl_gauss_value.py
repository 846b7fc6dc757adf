"""A value function as a histogram: cross-entropy to a Gaussian around the return."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


def hl_gauss_mean(value_logits: Array, *, low: float, high: float) -> Array:
  """V = Σ_b softmax(z)_b·(x_b + x_{b+1})/2, x the edges of the bins from low to high.

  Args:
    value_logits: float [..., num_bins], z; differentiated.
    low: lower end of the range of values, in units of the reward.
    high: its upper end.

  Returns:
    [...], in units of the reward, at least float32.

  Examples:
    >>> logits = jnp.array([[0.0, 0.0, 20.0, 0.0]])  # four bins from 0 to 1
    >>> print(losses.hl_gauss_mean(logits, low=0.0, high=1.0))
    [0.625]

  Source: Farebrother et al. 2024, arXiv 2403.03950, equation 4.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  share = jax.nn.softmax(widen(value_logits), axis=-1)
  edges = _edges(low, high, value_logits.shape[-1], share.dtype)
  centres = 0.5 * (edges[1:] + edges[:-1])
  return jnp.sum(share * jnp.expand_dims(centres, range(share.ndim - 1)), axis=-1)


@declare(values=hl_gauss_mean)
def hl_gauss_value(
  value_logits: Array,
  returns: Array,
  action_mask: Array,
  *,
  low: float,
  high: float,
  num_bins: int = 51,
  sigma: float = 0.75,
) -> tuple[Array, dict[str, Array]]:
  """−Σ_b p_b·log softmax(z)_b, p_b = (Φ((x_{b+1} − G)/s) − Φ((x_b − G)/s))/mass, s = sigma·width.

  The bins b have the edges x from low to high; p is the Gaussian around the return that lies in
  each, divided by what lies in all. Returns beyond the range count as its ends. The value is
  `hl_gauss_mean`, which near an end of the range lies up to about s inside of it: leave room.

  Args:
    value_logits: float [..., T, num_bins], z, of a head with as many outputs; differentiated.
    returns: float [..., T], G. Constant.
    action_mask: bool [..., T]; other tokens have no gradient.
    low: lower end of the range of values, in units of the reward.
    high: its upper end.
    num_bins: number of bins, that of the head.
    sigma: of the Gaussian, in widths of a bin.

  Returns:
    (loss [..., T], nats, no diagnostics). Its minimum is the entropy of p and not 0.

  Raises:
    ValueError: the head has another number of outputs.

  Examples:
    >>> returns, mask = jnp.array([[0.625]]), jnp.ones((1, 1), bool)
    >>> for logits in (jnp.zeros((1, 1, 4)), jnp.array([[[0.0, 2.0, 4.0, 2.0]]])):
    ...   print(losses.hl_gauss_value(logits, returns, mask, low=0.0, high=1.0, num_bins=4)[0])
    [[1.3863]]
    [[1.286]]

  Source: Imani and White 2018, arXiv 1806.04613; Farebrother et al. 2024, arXiv 2403.03950,
    section 3.1 (sigma 0.75).
  Differs from the source: nothing; the paper gives no range for returns of language models, so low
    and high have no default.
  Fidelity: faithful
  """
  if value_logits.shape[-1] != num_bins:
    raise ValueError(
      f'hl_gauss_value: num_bins is {num_bins}, but the head has {value_logits.shape[-1]} outputs'
    )
  logits = jnp.where(action_mask[..., None], widen(value_logits), 0)
  target = jax.lax.stop_gradient(jnp.clip(widen(returns), low, high))
  edges = _edges(low, high, num_bins, target.dtype)
  scale = math.sqrt(2) * sigma * (high - low) / num_bins
  distance = (jnp.expand_dims(edges, range(target.ndim)) - target[..., None]) / scale
  below = jax.scipy.special.erf(distance)
  mass = below[..., -1:] - below[..., :1]
  share = (below[..., 1:] - below[..., :-1]) / mass
  return -jnp.sum(share * jax.nn.log_softmax(logits, axis=-1), axis=-1), {}


def _edges(low: float, high: float, num_bins: int, dtype: jnp.dtype) -> Array:
  return low + (high - low) * jnp.linspace(0, 1, num_bins + 1, dtype=dtype)
