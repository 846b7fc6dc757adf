"""Token-level DPO: the margin less what the two samples differ in forward KL."""

from __future__ import annotations

import jax

from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def tdpo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  sequence_forward_kl: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  alpha: float = 0.5,
  chosen_is_constant: bool = True,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(β(Δ − α(D_l − sg(D_w)))), D = Σ_t KL(ref_t ‖ π_t), Δ = h_w − h_l, h = Σℓ − Σℓ^ref.

  TDPO2 by default; TDPO1 is alpha 1 with chosen_is_constant False.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    sequence_forward_kl: float [N], nats, D: the forward KL over the vocabulary, summed over action
      tokens; differentiated.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    alpha: weight of the difference of the divergences.
    chosen_is_constant: no gradient through the chosen sample's divergence.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`; implicit rewards
    are β(h + D)).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> kl = jnp.array([0.5, 2.5])
    >>> print(losses.tdpo(now, ref, kl, rewards, groups)[0])  # −log σ(0.1·(2 − 0.5·2))
    [0.6444 0.    ]

  Source: Zeng et al. 2024, arXiv 2404.11999, TDPO1 and TDPO2.
  Differs from the source: formula not confirmed against the paper (as in public implementations).
  Fidelity: recalled
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  kl_w, kl_l = pairing.of_pair(sequence_forward_kl, pairs)
  held = jax.lax.stop_gradient(kl_w) if chosen_is_constant else kl_w
  z = beta * (h_w - h_l - alpha * (kl_l - held))
  return pairing.on_pairs(pairing.logistic(z), beta * (h_w + kl_w), beta * (h_l + kl_l), pairs)
