"""Groups and samples that teach nothing, or the wrong thing, are left out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.corrections.ratio import in_denominator

Array = jax.Array


def _scored(rewards: Array, group_ids: Array) -> tuple[Array, Array]:
  """(rewards, 0 where unscorable, samples with a finite reward)."""
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  scored = jnp.isfinite(rewards) & (group_ids >= 0)
  return masking.zero_where_not(rewards, scored), scored


def overlong_filter(
  truncated: Array, group_ids: Array, *, denominator: str = 'kept'
) -> tuple[Array, Array]:
  """keep_i = not truncated_i: samples that ended by a limit carry no loss.

  Their rewards stay in the statistics of their group: only their loss is left out.

  Args:
    truncated: bool [N].
    group_ids: int32 [N]; −1 = unused.
    denominator: 'kept': truncated samples leave the average too; 'all': they are zeros in it.

  Returns:
    (keep, counted), bool [N].

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> truncated = jnp.array([False, True, False])
    >>> keep, counted = selection.overlong_filter(truncated, jnp.zeros(3, int))
    >>> print(keep, counted)
    [ True False  True] [ True False  True]

  Source: Yu et al. 2025, arXiv 2503.14476 (DAPO), section 3.4 (overlong filtering).
  Differs from the source: the paper does not say what becomes of the denominator; the default is
    that of public implementations.
  Fidelity: faithful
  """
  used = group_ids >= 0
  keep = used & ~truncated
  return keep, in_denominator('overlong_filter', denominator, used, keep)


def own_samples(is_external: Array, group_ids: Array) -> tuple[Array, Array]:
  """keep_i = not is_external_i: the policy loss is of what the policy drew; the rest leaves it.

  External samples stay in the other terms of the objective.

  Args:
    is_external: bool [N].
    group_ids: int32 [N]; −1 = unused.

  Returns:
    (keep, counted), bool [N].

  Examples:
    >>> print(selection.own_samples(jnp.array([False, True, False]), jnp.zeros(3, int))[0])
    [ True False  True]

  Source: public implementations of supervised terms beside a policy loss.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  keep = ~is_external & (group_ids >= 0)
  return keep, keep


def zero_variance(
  rewards: Array, group_ids: Array, *, denominator: str = 'kept'
) -> tuple[Array, Array]:
  """keep_i = max_g R − min_g R > 1e-6·max(1, max_g |R|): groups of equal rewards leave.

  With a group-relative advantage their policy term is 0 anyway; what changes is the denominator.
  A group with one scored sample is one of equal rewards.

  Args:
    rewards: float [N]; not finite = unscorable: neither kept nor counted. Constant.
    group_ids: int32 [N]; −1 = unused.
    denominator: 'kept': these groups leave the average (ScaleRL); 'all': they dilute it.

  Returns:
    (keep, counted), bool [N].

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.array([0, 0, 1, 1])
    >>> print(selection.zero_variance(rewards, groups)[0])  # the first group is all right
    [False False  True  True]

  Source: Khatri et al. 2025, arXiv 2510.13786 (ScaleRL), zero-variance filtering.
  Differs from the source: the tolerance.
  Fidelity: faithful
  """
  rewards, scored = _scored(rewards, group_ids)
  keep = scored & ~masking.group_is_constant(rewards, group_ids, scored)
  return keep, in_denominator('zero_variance', denominator, scored, keep)


def pass_rate_band(
  rewards: Array,
  group_ids: Array,
  *,
  low: float = 0.0,
  high: float = 1.0,
  denominator: str = 'kept',
) -> tuple[Array, Array]:
  """keep_i = low < mean_g R < high: groups that are too hard or too easy leave.

  With continuous rewards (0, 1) does not find the groups of equal rewards: `zero_variance` does.

  Args:
    rewards: float [N]; not finite = unscorable: neither kept nor counted. Constant.
    group_ids: int32 [N]; −1 = unused.
    low, high: bounds on the group's mean reward, both excluded.
    denominator: 'kept': the other groups leave the average too; 'all': they are zeros in it.

  Returns:
    (keep, counted), bool [N].

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.array([0, 0, 1, 1])
    >>> print(selection.pass_rate_band(rewards, groups, low=0.2, high=0.8)[0])
    [False False  True  True]

  Source: Bae et al. 2025, arXiv 2504.03380 (online difficulty filtering); public implementations.
  Differs from the source: the paper draws further prompts for those that leave
    (`rollouts.dynamic_sampling`).
  Fidelity: adapted
  """
  rewards, scored = _scored(rewards, group_ids)
  mean = masking.group_mean(rewards, group_ids, scored)
  keep = scored & (mean > low) & (mean < high)
  return keep, in_denominator('pass_rate_band', denominator, scored, keep)


def unanimous_filter(
  rewards: Array, group_ids: Array, *, threshold: float = 0.5, denominator: str = 'kept'
) -> tuple[Array, Array]:
  """keep_i = some R_j > threshold and some R_j ≤ threshold in the group (Reinforce-Rej).

  Groups that are all right or all wrong leave. For binary rewards the same as `zero_variance`; for
  graded ones a group of different wrong answers leaves here and stays there.

  Args:
    rewards: float [N]; not finite = unscorable: neither kept nor counted. Constant.
    group_ids: int32 [N]; −1 = unused.
    threshold: a sample is right above it, in units of the reward.
    denominator: 'kept': unanimous groups leave the average too; 'all': they are zeros in it.

  Returns:
    (keep, counted), bool [N].

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> rewards, groups = jnp.array([0.1, 0.3, 1.0, 0.0]), jnp.array([0, 0, 1, 1])
    >>> print(selection.unanimous_filter(rewards, groups)[0])  # 0.1 and 0.3 are both wrong
    [False False  True  True]

  Source: Xiong et al. 2025, arXiv 2504.11343 (Reinforce-Rej).
  Differs from the source: a threshold for rewards that are not binary.
  Fidelity: faithful
  """
  rewards, scored = _scored(rewards, group_ids)
  right = masking.group_count(group_ids, scored & (rewards > threshold))
  wrong = masking.group_count(group_ids, scored & ~(rewards > threshold))
  keep = scored & (right > 0) & (wrong > 0)
  return keep, in_denominator('unanimous_filter', denominator, scored, keep)


def with_feedback(
  rewards: Array, group_ids: Array, *, denominator: str = 'kept'
) -> tuple[Array, Array]:
  """keep_i = R_i ≠ 0: samples without a judgement leave, such as the mismatched ones of KTO.

  For losses of unpaired feedback, where the sign of the reward is the label and 0 is none. What is
  left out is in no mean; a loss may still look at it (`losses.kto` measures its KL there).

  Args:
    rewards: float [N]; not finite = unscorable: neither kept nor counted. Constant.
    group_ids: int32 [N]; −1 = unused.
    denominator: 'kept': samples without feedback leave the average too; 'all': they are zeros in
      it.

  Returns:
    (keep, counted), bool [N].

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> print(selection.with_feedback(jnp.array([1.0, 0.0, -1.0]), jnp.array([0, 1, 2]))[0])
    [ True False  True]

  Source: Ethayarajh et al. 2024, arXiv 2402.01306 (KTO): the mean is over the samples with a label.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  rewards, scored = _scored(rewards, group_ids)
  keep = scored & (rewards != 0)
  return keep, in_denominator('with_feedback', denominator, scored, keep)
