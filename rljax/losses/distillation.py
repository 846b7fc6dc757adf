"""A teacher's distribution as the target: divergences over the vocabulary, token by token.

Each function hands on a statistic that the chunked pass has made of both distributions at the
temperature of the samples (`logprobs.token_statistics`); its gradient goes through the policy.
"""

from __future__ import annotations

import jax

from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare()
def forward_distillation(teacher_forward_kl: Array) -> tuple[Array, dict[str, Array]]:
  """KL(π^T ‖ π) at each token, over the whole vocabulary.

  The policy covers whatever the teacher might say. On demonstrations or the teacher's samples this
  is classical distillation.

  Args:
    teacher_forward_kl: float [..., T], nats; differentiated.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> print(losses.forward_distillation(jnp.array([[0.1, 0.0, 2.0]]))[0])
    [[0.1 0.  2. ]]

  Source: Hinton et al. 2015, arXiv 1503.02531, equation 2 (up to the teacher's entropy).
  Differs from the source: no factor of temperature².
  Fidelity: faithful
  """
  return widen(teacher_forward_kl), {}


@declare()
def reverse_distillation(teacher_reverse_kl: Array) -> tuple[Array, dict[str, Array]]:
  """KL(π ‖ π^T) at each token, over the whole vocabulary.

  The policy says nothing that the teacher would not. On the policy's own samples this is on-policy
  distillation without the noise of the action.

  Args:
    teacher_reverse_kl: float [..., T], nats; differentiated.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> print(losses.reverse_distillation(jnp.array([[0.1, 0.0, 2.0]]))[0])
    [[0.1 0.  2. ]]

  Source: Gu et al. 2023, arXiv 2306.08543; Agarwal et al. 2023, arXiv 2306.13649.
  Differs from the source: token-local; the KL of whole sequences is `advantages.teacher_advantage`
    with gamma = 1.
  Fidelity: adapted
  """
  return widen(teacher_reverse_kl), {}


@declare()
def generalized_jsd(
  teacher_jsd: Array, *, scale: float = 1.0
) -> tuple[Array, dict[str, Array]]:
  """scale·[β·KL(π^T ‖ m) + (1−β)·KL(π ‖ m)] / (β(1−β)),  m = (1−β)·π + β·π^T.

  β is the stage's `jsd_beta`. Divided by β(1−β) the divergence has limits at both ends: KL(π^T ‖ π)
  at β = 0 and KL(π ‖ π^T) at β = 1.

  Args:
    teacher_jsd: float [..., T], nats; differentiated.
    scale: of the loss; β(1−β) gives the paper's.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> divergence = jnp.array([[0.1, 0.0, 2.0]])
    >>> print(losses.generalized_jsd(divergence, scale=0.25)[0])  # β = ½: the paper's
    [[0.025 0.    0.5  ]]

  Source: Agarwal et al. 2023, arXiv 2306.13649 (GKD), equation 1.
  Differs from the source: the division by β(1−β); without it the paper's divergence goes to 0 at
    both ends, where public implementations jump to the two KLs.
  Fidelity: adapted
  """
  return scale * widen(teacher_jsd), {}


@declare()
def stored_distillation(stored_kl: Array) -> tuple[Array, dict[str, Array]]:
  """KL(q ‖ π) at each token over the stored entries and one bucket, q(rest) and π(rest).

  The teacher's best entries were recorded when it drew the token, maybe behind another prompt; see
  `rollouts.soft_bootstrap`.

  Args:
    stored_kl: float [..., T], nats; differentiated.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> print(losses.stored_distillation(jnp.array([[0.1, 0.0, 2.0]]))[0])
    [[0.1 0.  2. ]]

  Source: SSB, "Semantic Soft Bootstrapping: Long Context Reasoning in LLMs without Reinforcement
    Learning" (2025).
  Differs from the source: formula not confirmed against the paper; the bucket.
  Fidelity: recalled
  """
  return widen(stored_kl), {}


@declare()
def top_k_distillation(teacher_top_k_kl: Array) -> tuple[Array, dict[str, Array]]:
  """max(0, Σ_{v in the teacher's top k} π^T_v·log(π^T_v / π_v)) at each token.

  Args:
    teacher_top_k_kl: float [..., T], nats; k is the stage's `teacher_top_k`; differentiated.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> print(losses.top_k_distillation(jnp.array([[0.1, 0.0, 2.0]]))[0])
    [[0.1 0.  2. ]]

  Source: public implementations of distillation from stored teacher log-probs.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return widen(teacher_top_k_kl), {}
