"""Losses of reward models: of pairs, of steps, and of outcomes with implicit process rewards."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def bradley_terry(
  scores: Array,
  rewards: Array,
  group_ids: Array,
  margins: Array | None = None,
  *,
  margin: float = 0.0,
  center_coef: float = 0.01,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(r_w − r_l − m) + c·(r_w + r_l)².

  The same as log(1 + e^{r_l − r_w + m}). A pair is a group: its best and its worst sample by
  `rewards`; samples between them take no part.

  Args:
    scores: float [N], r, the reward head at the last action token; differentiated.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    margins: float [N], m of a pair, read at its chosen sample, added to `margin`. Constant.
    margin: m of all pairs.
    center_coef: c, keeps the scores of a pair around 0, which the first term does not; 0 = off.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N] of the scores, see `pairs.on_pairs`).

  Examples:
    >>> scores, rewards, groups = jnp.array([1.0, 0.0]), jnp.array([1.0, 0.0]), jnp.array([0, 0])
    >>> loss, seen = losses.bradley_terry(scores, rewards, groups, center_coef=0.0)
    >>> print(loss)  # log(1 + e^−1) on the chosen sample
    [0.3133 0.    ]
    >>> print(seen['accuracy'], seen['margin'])
    [1. 0.] [1. 0.]

  Source: Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155; margins: Touvron et al.
    2023, arXiv 2307.09288; centring: Eisenstein et al. 2023, arXiv 2312.09244.
  Differs from the source: one pair of a group, not all; the centring is on by default.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  chosen, rejected = pairing.of_pair(scores, pairs)
  z = chosen - rejected - margin
  if margins is not None:
    z = z - jax.lax.stop_gradient(masking.zero_where_not(margins, pairs.chosen))
  loss = pairing.logistic(z) + center_coef * jnp.square(chosen + rejected)
  return pairing.on_pairs(loss, chosen, rejected, pairs)


@declare()
def step_cross_entropy(
  token_scores: Array,
  step_labels: Array,
  segment_ids: Array,
  *,
  last_step_only: bool = False,
) -> tuple[Array, dict[str, Array]]:
  """−y·log σ(v) − (1−y)·log σ(−v) at the tokens that end a step, 0 elsewhere.

  A process reward model: one logit per token, read where a step ends. An average over tokens counts
  the tokens of `action_mask`, so data for a process reward model set it at these tokens only. The
  cross-entropy of two classes with logits a, b is this with v = b − a.

  Args:
    token_scores: float [..., T], v, the value head at the token: logit that the step is right;
      differentiated.
    step_labels: int32 [..., T], y: 1 right, 0 wrong, negative (−1, −100) = no step ends here.
    segment_ids: int32 [..., T]; −1 = padding.
    last_step_only: only the last labelled token of each sample counts.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `accuracy` 1 where the logit has the label's sign,
    `steps` 1 where a label counts).

  Examples:
    >>> scores, labels = jnp.array([[2.0, 5.0, 2.0]]), jnp.array([[1, -1, 0]])
    >>> loss, seen = losses.step_cross_entropy(scores, labels, jnp.zeros((1, 3), int))
    >>> print(loss)  # no step ends at the second token; the third is sure and wrong
    [[0.1269 0.     2.1269]]

  Source: Lightman et al. 2023, arXiv 2305.20050; Uesato et al. 2022, arXiv 2211.14275.
  Differs from the source: two classes, right and wrong; the paper has a third, neutral.
  Fidelity: adapted
  """
  labelled = (step_labels >= 0) & (segment_ids >= 0)
  if last_step_only:
    labelled = masking.last_true_in_segment(labelled, segment_ids)
  right = step_labels > 0
  value = masking.zero_where_not(token_scores, labelled)
  loss = jax.nn.softplus(jnp.where(right, -value, value))
  correct = (value > 0) == right
  diagnostics = {
    'accuracy': masking.zero_where_not(correct, labelled),
    'steps': masking.widen(labelled),
  }
  return masking.zero_where_not(loss, labelled), jax.lax.stop_gradient(diagnostics)


@declare(denominator='samples', couples='sequence')
def implicit_prm_loss(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.05,
) -> tuple[Array, dict[str, Array]]:
  """−R·log σ(βh) − (1−R)·log σ(−βh), h = Σℓ_φ − Σℓ^ref.

  A reward model that is a language model: trained on outcomes alone, its token log-ratios
  β(ℓ_φ − ℓ^ref) are process rewards. R is clipped to [0, 1], so wrong may be 0 or −1.

  Args:
    sequence_logprobs: float [N], nats, Σℓ_φ over action tokens, of the reward model;
      differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], R, the outcome; NaN = no loss. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: scale of the log-ratio, 1/nats.

  Returns:
    (loss [N], diagnostics of [N]: `accuracy` 1 where βh has the side of R − ½, `margin` ±βh towards
    that side).

  Examples:
    >>> logprobs, ref = jnp.array([-2.0, -2.0]), jnp.array([-4.0, -4.0])
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])
    >>> loss, seen = losses.implicit_prm_loss(logprobs, ref, rewards, groups)
    >>> print(loss)  # both are likelier than under the reference: right for the first only
    [0.6444 0.7444]

  Source: Yuan et al. 2024, arXiv 2412.01981; Cui et al. 2025, arXiv 2502.01456 (PRIME), the
    cross-entropy.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  scored = (group_ids >= 0) & jnp.isfinite(rewards)
  label = jnp.clip(masking.zero_where_not(rewards, scored), 0, 1)
  ref = jax.lax.stop_gradient(masking.zero_where_not(sequence_ref_logprobs, scored))
  z = beta * (masking.zero_where_not(sequence_logprobs, scored) - ref)
  loss = -label * jax.nn.log_sigmoid(z) - (1 - label) * jax.nn.log_sigmoid(-z)
  margin = masking.zero_where_not(jnp.where(label > 0.5, z, -z), scored)
  diagnostics = {'accuracy': masking.widen(margin > 0), 'margin': margin}
  return masking.zero_where_not(loss, scored), jax.lax.stop_gradient(diagnostics)
