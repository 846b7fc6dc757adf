"""What a stage function may ask for by name, and where it comes from.

Three places see arrays: the whole iteration before the update (advantages), one minibatch of it
(selections, corrections, weights), and the loss pass of one micro-batch (losses, regularizers).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.structs import Array, Batch

TOKEN_ARRAYS = (
  'tokens',
  'positions',
  'segment_ids',
  'action_mask',
  'policy_logprobs',
  'behavior_logprobs',
  'policy_step',
  'token_rewards',
  'sample_ids',
)
SAMPLE_ARRAYS = (
  'sample_slots',
  'group_ids',
  'prompt_ids',
  'rewards',
  'reward_components',
  'temperature',
  'prompt_length',
  'num_tokens',
  'truncated',
  'is_external',
  'role_ids',
)
# Made before the update by a forward pass of a role, each only if somebody asks.
OLD = {
  'old_logprobs': 'logprobs',
  'old_entropy': 'entropy',
  'old_sum_squares': 'sum_squares',
  'old_self_certainty': 'self_certainty',
}
CAPTURED = {'old_attention_entropy': 'attention_entropy', 'old_hidden': 'hidden'}
WIDE = ('old_hidden',)  # [K, M, r, T, D]: kept until the weights are made, and not for the loss
FROZEN = {
  'ref_logprobs': 'reference',
  'teacher_logprobs': 'teacher',
  'reward_token_scores': 'reward',  # at the last action token of a sample, 0 elsewhere
}
PREPARED = (*OLD, *CAPTURED, *FROZEN, 'values')
FILLED = ('returns', 'advantages')
# Sums over the action tokens of each sample: before the update, and in the loss pass too.
SEQUENCE = {
  'sequence_old_logprobs': 'old_logprobs',
  'sequence_ref_logprobs': 'ref_logprobs',
  'sequence_policy_logprobs': 'policy_logprobs',
  'sequence_teacher_logprobs': 'teacher_logprobs',
  'reward_scores': 'reward_token_scores',
}
SCALARS = ('step', 'prox_step')  # optimizer steps so far, and when the iteration began
EARLY = (
  *TOKEN_ARRAYS,
  *SAMPLE_ARRAYS,
  *PREPARED,
  *SEQUENCE,
  *SCALARS,
  'entropy',
  'completion_length',
)
FREE = ('completion_length',)  # no forward pass: made for those too that can do without
# Made by the loss pass.
LATE_STATISTICS = {
  'logprobs': None,  # name -> the frozen role whose distribution it compares with
  'entropy': None,
  'nucleus_entropy': None,
  'sum_squares': None,
  'self_certainty': None,
  'full_kl': 'reference',
  'full_forward_kl': 'reference',
  'teacher_reverse_kl': 'teacher',
  'teacher_forward_kl': 'teacher',
  'teacher_jsd': 'teacher',
  'teacher_top_k_kl': 'teacher',
  'stored_kl': None,
}
STORED = ('stored_ids', 'stored_logprobs')  # extras [K, M, r, T, k] that stored_kl looks at
LATE_SEQUENCE = {'sequence_logprobs': 'logprobs', 'sequence_forward_kl': 'full_forward_kl'}
OF_ROUTER = ('router_probs', 'router_choices')  # [K, M, r, T, L', E] and [..., k], with experts
SCORES = ('scores', 'token_scores')  # of the role 'reward'
LATE = (
  *(name for name in EARLY if name not in WIDE),
  *LATE_STATISTICS,
  *FILLED,
  *SCORES,
  *OF_ROUTER,
  *LATE_SEQUENCE,
  'new_values',
  'value_logits',  # [..., T, bins], where the value loss asks for them
)


def closure(names: Iterable[str]) -> frozenset[str]:
  """The names with those of the token arrays from which sums over samples are made."""
  names, sums = set(names), {**SEQUENCE, **LATE_SEQUENCE}
  return frozenset(names | {sums[name] for name in names & set(sums)})


def sample_arrays(batch: Batch) -> dict[str, Any]:
  """The [N] arrays by name, a method's own included."""
  own = {name: x for name, x in batch.extras.items() if x.ndim < batch.tokens.ndim}
  return {**{name: getattr(batch, name) for name in SAMPLE_ARRAYS}, **own}


def drawn_elsewhere(is_external: Array, group_ids: Array) -> Array:
  """bool [N]: external samples beside own ones, which are in no mismatch of sampler and trainer.

  Where all are external, as in iterations that a teacher samples, it is his that is looked at.
  """
  return is_external & jnp.any(~is_external & (group_ids >= 0))


def token_arrays(batch: Batch) -> dict[str, Any]:
  """The arrays with leading axes [K, M, r], those that exist; weights under 'weights'."""
  arrays = {name: getattr(batch, name) for name in TOKEN_ARRAYS}
  arrays |= {
    name: getattr(batch, name)
    for name in ('prefix_ids', 'entropy', *FILLED, 'values', 'old_logprobs', 'ref_logprobs')
    if getattr(batch, name) is not None
  }
  own = {name: x for name, x in batch.extras.items() if x.ndim >= batch.tokens.ndim}
  return {**arrays, **own, 'weights': batch.weights}


def with_sums(arrays: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
  """`arrays` with those of `names` that are sums over the action tokens of a sample, [N]."""
  sums = {**SEQUENCE, **LATE_SEQUENCE, 'completion_length': 'action_mask'}
  places = (arrays['segment_ids'], arrays['sample_slots'], arrays['sample_ids'].shape[-1])
  return {
    **arrays,
    **{
      name: masking.token_to_sample_sum(arrays[sums[name]], arrays['action_mask'], *places)
      for name in names
      if name in sums
    },
  }


def places_of(sample_ids: Array, samples: Mapping[str, Any]) -> dict[str, Any]:
  """Sample arrays of the iteration [N] -> those of a micro-batch, one entry for each place [r·S].

  A place without a scored sample has group_ids −1 and rewards 0. Includes 'sample_ids' [r, S] and
  'sample_slots' [r·S] that point into these arrays.
  """
  places = sample_ids.reshape(-1)
  used = places >= 0
  index = jnp.arange(places.shape[0], dtype=jnp.int32)

  def take(x):
    here = x[jnp.maximum(places, 0)]
    return jnp.where(used.reshape(-1, *(1,) * (here.ndim - 1)), here, jnp.zeros((), x.dtype))

  local = {name: jax.tree.map(take, x) for name, x in samples.items()}
  scored = used & jnp.isfinite(local['rewards']) & (local['group_ids'] >= 0)
  local['rewards'] = jnp.where(scored, local['rewards'], 0)
  local['group_ids'] = jnp.where(scored, local['group_ids'], -1)
  local['sample_slots'] = jnp.where(used, index, -1)
  local['sample_ids'] = jnp.where(used, index, -1).reshape(sample_ids.shape)
  return local
