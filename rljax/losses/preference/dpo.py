"""Direct preference optimization, with smoothed labels, offsets and other divergences."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import LIMIT
from rljax.losses.preference import pairs as pairing
from rljax.masking import zero_where_not
from rljax.traits import declare

Array = jax.Array

DIVERGENCES = ('kl', 'forward_kl', 'js', 'alpha')


def divergence_score(h: Array, f_divergence: str, alpha: Array | float) -> Array:
  """f'(e^h) up to a constant: h, −e^{−h}, log σ(h), (e^{(α−1)h} − 1)/(α−1)."""
  if f_divergence == 'kl':
    return h
  if f_divergence == 'forward_kl':
    return -jnp.exp(-jnp.where(h < -LIMIT, -LIMIT, h))
  if f_divergence == 'js':
    return jax.nn.log_sigmoid(h)
  if f_divergence == 'alpha':
    return pairing.exponential_score(h, alpha - 1)
  raise ValueError(f'dpo: f_divergence {f_divergence!r} is not one of {", ".join(DIVERGENCES)}')


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def dpo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  completion_length: Array | None = None,
  margins: Array | None = None,
  *,
  beta: float = 0.1,
  label_smoothing: float = 0.0,
  f_divergence: str = 'kl',
  alpha: float = 0.5,
  margin: float = 0.0,
  length_normalize: bool = False,
) -> tuple[Array, dict[str, Array]]:
  """−(1−ε)·log σ(z) − ε·log σ(−z), z = β(s(h_w) − s(h_l)) − m, h = Σℓ − Σℓ^ref.

  A pair is a group: its best sample w and its worst l by `rewards`; the loss stands on w. Special
  cases: DPO (the defaults) · cDPO (ε = label_smoothing > 0) · f-DPO (`f_divergence`: s(h) = h for
  'kl', −e^{−h} for 'forward_kl', log σ(h) for 'js', (e^{(α−1)h} − 1)/(α−1) for 'alpha', which is
  'kl' at α = 1) · length-normalised DPO of Tülu 3 (length_normalize, with β 5) · DPO with an offset
  (`margin`, or `margins` for each pair). Online and iterative DPO are this loss on pairs that the
  present policy drew and a judge or reward ranked.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats, of the reference. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    completion_length: float [N], action tokens; needed where length_normalize. Constant.
    margins: float [N], the offset of a pair, read at its chosen sample. Constant.
    beta: strength of the tie to the reference, 1/nats.
    label_smoothing: ε, the probability that a label is wrong, fraction.
    f_divergence: 'kl' (reverse), 'forward_kl', 'js' or 'alpha'.
    alpha: of 'alpha'.
    margin: offset m of all pairs.
    length_normalize: s(h) over the number of tokens.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`; implicit rewards
    are β·s(h)).

  Raises:
    ValueError: an unknown divergence, or length_normalize without completion_length.

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.dpo(now, ref, rewards, groups)[0])  # on the chosen sample: −log σ(0.1·2)
    [0.5981 0.    ]
    >>> print(losses.dpo(ref, ref, rewards, groups)[0])  # at the reference: log 2
    [0.6931 0.    ]
    >>> print(jax.grad(lambda now: losses.dpo(now, ref, rewards, groups)[0].sum())(now))
    [-0.045  0.045]

  Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7; Wang et al. 2023, arXiv 2309.16240
    (f-DPO); Amini et al. 2024, arXiv 2402.10571 (offset); Lambert et al. 2024, arXiv 2411.15124
    (length-normalised).
  Differs from the source: exponents are at most 20; constants of s that cancel in the difference
    are left out; with smoothing the offset moves both terms.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  score_w = beta * divergence_score(h_w, f_divergence, alpha)
  score_l = beta * divergence_score(h_l, f_divergence, alpha)
  if length_normalize:
    if completion_length is None:
      raise ValueError('dpo: length_normalize needs the array completion_length')
    lengths = pairing.of_pair(jax.lax.stop_gradient(completion_length), pairs)
    score_w, score_l = (s / jnp.maximum(t, 1) for s, t in zip((score_w, score_l), lengths))
  z = score_w - score_l - margin
  if margins is not None:
    z = z - jax.lax.stop_gradient(zero_where_not(margins, pairs.chosen))
  return pairing.on_pairs(pairing.logistic(z, label_smoothing), score_w, score_l, pairs)
