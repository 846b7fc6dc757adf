"""The records that the parts of rljax hand to each other.

Axes: N samples · R rows · T slots of a row · S sample places in a row · P prompt slots ·
K minibatches · M micro-batches · V vocabulary · D width of the model.

Alignment, obeyed by every token array: entry t describes `tokens[..., t]`;
`logprobs[..., t] = log π(tokens[..., t] | tokens[..., <t])` in nats, and entry 0 of a sample is 0.
No field is shifted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import struct

Array = jax.Array
PyTree = Any


class Policy(NamedTuple):
  """A language model as pure functions over a parameter pytree; the only model type above models/.

  A critic or a reference is a `Policy` too. The cache is the policy's own pytree and only these
  functions touch it. Positions count the tokens of one sample from 0.

  Attributes:
    init: `init(key) -> params`, float32 leaves.
    hidden: `hidden(params, tokens, *, segment_ids, positions, prefix_ids=None, routing=None,
      capture=()) -> (hidden, aux)`. tokens, segment_ids (−1 = padding), positions: int32 [R, T];
      hidden: [R, T, D] in the compute dtype; aux: dict of arrays, and what `capture` names. A token
      sees its own segment at positions up to its own. routing: see `routed`; −1 = the router's own.
    head: `head(params) -> head`: the part of the parameters that `unembed` reads.
    unembed: `unembed(head, hidden) -> logits`: [..., D] -> float32 [..., V].
    value: `value(params, hidden) -> values`: [..., D] -> float32 [...], or logits of a histogram
      of values [..., bins]; None without a value head.
    init_cache: `init_cache(num_rows, given, drawn=0, dtype=None, routing=False) -> cache`: empty; a
      row holds `given` prefilled tokens and `drawn` decoded ones. dtype: of keys and values, 'int8'
      comes with scales; None = the compute dtype. routing: it holds what `routed` reads.
    prefill: `prefill(params, cache, tokens, starts) -> (hidden, cache)`: appends tokens [B, L],
      right padded, to cache row b from position starts[b] on; hidden [B, L, D]. Slots behind a
      row's true length may be written; they are overwritten before anything sees them.
    decode: `decode(params, cache, tokens, positions) -> (hidden, cache)`: one token for each of the
      first B rows; tokens and positions int32 [B]; hidden [B, D]. What a row held at this position
      and behind is forgotten. Position −1: the row is idle, and only its hidden means nothing. A
      row forgets what it has decoded more than `drawn` calls ago.
    extend: `extend(params, cache, tokens, positions) -> (hidden, cache)`: a few tokens [B, Q] for
      each of the first B rows, from position positions[b] on; hidden [B, Q, D]. They are given
      ones, of a cache with drawn 0; what a row held from its position on is forgotten. Position
      −1: the row is idle. None: the policy cannot, and its samples cannot be speculated on.
    draft: `draft(params, cache, tokens, positions) -> (logits, cache)`: one token [B] for each of
      the first B rows, as in `extend`, and float32 [B, V] for the next one by a cheaper model that
      shares params and cache; see `models.with_draft`. None: there is none.
    take: `take(cache, rows) -> cache` with the rows `rows` (int32 [B'], may repeat).
    put: `put(cache, rows, other, sources=None) -> cache`: row rows[i] becomes row sources[i] of
      `other` (None: row i); a row id out of range is dropped. `other` may have room for
      fewer given tokens; it has no decoded ones, or comes from the same cache at the same step.
    copy: `copy(cache, rows, sources) -> cache`: row rows[i] becomes as row sources[i] is; no row is
      both; a row id out of range is dropped.
    routed: `routed(cache, row, length) -> [length, L', k]`: the experts that were chosen for the
      tokens of a row in each of the L' layers that have some; −1: no token. None: it has none.
    axes: pytree like params whose leaves are tuples of logical axis names, one per dimension.
    cast: `cast(params) -> params`, weights in the compute dtype, once before a loop; every function
      takes either form. None: there is nothing to cast.
  """

  init: Callable[..., PyTree]
  hidden: Callable[..., tuple[Array, dict[str, Array]]]
  head: Callable[[PyTree], PyTree]
  unembed: Callable[[PyTree, Array], Array]
  init_cache: Callable[..., PyTree]
  prefill: Callable[..., tuple[Array, PyTree]]
  decode: Callable[..., tuple[Array, PyTree]]
  take: Callable[[PyTree, Array], PyTree]
  put: Callable[..., PyTree]
  copy: Callable[[PyTree, Array, Array], PyTree]
  axes: PyTree
  value: Callable[[PyTree, Array], Array] | None = None
  cast: Callable[[PyTree], PyTree] | None = None
  extend: Callable[..., tuple[Array, PyTree]] | None = None
  draft: Callable[..., tuple[Array, PyTree]] | None = None
  routed: Callable[[PyTree, Array, int], Array] | None = None
  beside: tuple[str, ...] = ()  # further roles that it takes parameters of: params is by role
  products: tuple[str, ...] = ()  # parameters that may be `models.layers.LowRank` in `hidden`


@struct.dataclass
class Requests:
  """What the sampler is asked for; all arrays, one program for one set of shapes.

  Attributes:
    prompts: int32 [Q, P], right padded; each is prefilled once.
    prompt_length: int32 [Q], tokens.
    prompt_row: int32 [N], the row of `prompts` that a sample continues.
    group_ids: int32 [N]; −1 = an unused row, nothing is sampled for it.
    draw_ids: uint32 [N], the run-wide number of the draw of this prompt (part of the noise key).
    prompt_ids: int32 [N].  sample_index: int32 [N], counts within a draw (part of the noise key).
    temperature: float32 [N]; 0 = greedy.
    max_new_tokens: int32 [N], tokens sampled after prompt and prefix.
    stop_ids: int32 [N, E], a sample ends with the first of these (kept); −1 = unused entry.
    top_k: int32 [N], 0 = off.  top_p: float32 [N], 1 = off.  min_p: float32 [N], 0 = off.
    prefix: int32 [N, F] or None: the first tokens of the completion, given and not sampled
      (no action mask, log-probs 0), right padded.
    prefix_length: int32 [N] or None.
    policy_step: int32 scalar, the optimizer step of the parameters.
    stop_sequences: int32 [N, E, L] or None: a sample also ends with the first of these in its
      completion (kept); padded with −1 on the left, all −1 = unused.
  """

  prompts: Array
  prompt_length: Array
  prompt_row: Array
  group_ids: Array
  draw_ids: Array
  prompt_ids: Array
  sample_index: Array
  temperature: Array
  max_new_tokens: Array
  stop_ids: Array
  top_k: Array
  top_p: Array
  min_p: Array
  prefix: Array | None = None
  prefix_length: Array | None = None
  policy_step: Array | int = 0
  stop_sequences: Array | None = None


@struct.dataclass
class SamplerSettings:
  """How the sampler works; nothing here but `cache_dtype` changes which tokens are drawn.

  Attributes:
    length: T, slots of the token arrays of the rollout (prompt + completion); static.
    filters: those in use, of ('top_k', 'top_p', 'min_p'); static. The others cost nothing.
    capture: optional records, of ('entropy', 'top', 'routing'); static.
    num_top: k of 'top': the best tokens at each position, with their log-probs; static.
    slots: samples that are decoded at once, 0 = all; static.
    max_new_tokens: C, most tokens that a sample may draw, 0 = length; static. It bounds the cache.
    prompts_at_once: prompts that are prefilled together; 0 = as many as fill the slots; static.
    turns: an ended sample keeps its slot until it is released, see `sampling.append`; static.
    speculate: '' or how several tokens of a sample are guessed, to be checked in one pass of the
      policy: 'lookup', what has followed the sample's last tokens before, in its prompt or
      completion; 'draft', the policy's draft model; static. The draws stay the same.
    num_draft: tokens that are guessed at each step; static.
    drains: how often the slots are halved when the queue is empty and half of them are free; each
      costs a further copy of the step in the program; static.
    cache_dtype: of keys and values, '' = the compute dtype; 'int8' changes the log-probs; static.
    window: decode steps between two looks at which slots are free; traced.
  """

  length: int = struct.field(pytree_node=False)
  filters: tuple[str, ...] = struct.field(pytree_node=False, default=())
  capture: tuple[str, ...] = struct.field(pytree_node=False, default=())
  num_top: int = struct.field(pytree_node=False, default=0)
  slots: int = struct.field(pytree_node=False, default=0)
  max_new_tokens: int = struct.field(pytree_node=False, default=0)
  prompts_at_once: int = struct.field(pytree_node=False, default=0)
  turns: bool = struct.field(pytree_node=False, default=False)
  speculate: str = struct.field(pytree_node=False, default='')
  num_draft: int = struct.field(pytree_node=False, default=4)
  drains: int = struct.field(pytree_node=False, default=1)
  cache_dtype: str = struct.field(pytree_node=False, default='')
  window: Array | int = 8

  @property
  def by_position(self) -> bool:
    """Whether the cache holds drawn tokens where given ones stand, as `Policy.extend` does."""
    return bool(self.speculate) or self.turns


@struct.dataclass
class Rollout:
  """What was sampled: facts, never edited. Rows are prompt, then completion, from slot 0.

  Attributes:
    tokens: int32 [N, T].  mask: bool [N, T], slots in use.
    action_mask: bool [N, T], tokens that the policy sampled (EOS included): the only ones with
      policy loss.
    behavior_logprobs: float32 [N, T], nats, of the draw: after temperature and filters.
    policy_logprobs: float32 [N, T], nats, at the sampling temperature before filters: what the
      trainer computes. Greedy rows: 0 in behavior_logprobs, temperature 1 here.
    policy_step: int32 [N, T], optimizer step of the parameters that drew the token.
    group_ids, prompt_ids, sample_index: int32 [N] (group −1 = unused row).
    draw_ids: uint32 [N].  temperature: float32 [N].
    prompt_length, num_tokens: int32 [N], tokens; num_tokens counts prompt and completion.
    truncated: bool [N], ended by a limit and not by a stop token.
    entropy: float32 [N, T] or None, nats, of the unfiltered distribution at the temperature.
    turn_ids: int32 [N, T] or None; what was appended belongs to the turn that follows.
    top_ids, top_logprobs: [N, T, k] or None, alternatives at each position.
    routing: int16 [N, T, L', k] or None, see `Policy.routed`; −1 = unknown, as of a last token.
  """

  tokens: Array
  mask: Array
  action_mask: Array
  behavior_logprobs: Array
  policy_logprobs: Array
  policy_step: Array
  group_ids: Array
  draw_ids: Array
  prompt_ids: Array
  sample_index: Array
  prompt_length: Array
  num_tokens: Array
  temperature: Array
  truncated: Array
  entropy: Array | None = None
  turn_ids: Array | None = None
  top_ids: Array | None = None
  top_logprobs: Array | None = None
  routing: Array | None = None


@struct.dataclass
class Batch:
  """The packed samples of one iteration. Shapes follow from the config; how much is used is data.

  Token arrays are [K, M, r, T]: minibatch (optimizer step), micro-batch, row, slot. Sample arrays
  are [N] with a capacity; group_ids −1 marks an unused place.

  Attributes:
    tokens, positions: int32 [K, M, r, T]; positions count from 0 in each sample.
    segment_ids: int32 [K, M, r, T]: the sample within its row, 0 … S−1; −1 = padding.
    action_mask: bool [K, M, r, T].
    policy_logprobs, behavior_logprobs: float32 [K, M, r, T], nats.
    policy_step: int32 [K, M, r, T].
    token_rewards: float32 [K, M, r, T]: step, turn and process rewards, besides `rewards`.
    sample_ids: int32 [K, M, r, S]: place of each segment in the sample arrays; −1 = none.
    num_micro: int32 [K]: micro-batches in use.
    sample_slots: int32 [N]: inverse of sample_ids: flat index into [K·M·r·S]; −1 = unused.
    group_ids, prompt_ids: int32 [N].
    rewards: float32 [N]; NaN = unscorable: no weight, no part in group statistics.
    reward_components: dict of float32 [N].  temperature: float32 [N].
    prompt_length, num_tokens: int32 [N].  truncated, is_external: bool [N].
    role_ids: int32 [N], which trained role acted.
    prefix_ids: int32 [K, M, r, T] or None: row-local segment that a token also sees.
    entropy: float32 [K, M, r, T] or None: the sampler's.
    old_logprobs, ref_logprobs, values, returns, advantages: float32 [K, M, r, T]; filled by
      `prepare` where a bound function asks for them, else None.
    weights: filled by `prepare`, float32 [K, M, r, T]: 'policy' ([K, M, r, S] for a loss of
      samples), 'value' where there is that term, 'full' for the others.
    extras: arrays of a method's own, by name, [K, M, r, T, …] or [N]; 'routing' of the rollout.
  """

  tokens: Array
  positions: Array
  segment_ids: Array
  action_mask: Array
  policy_logprobs: Array
  behavior_logprobs: Array
  policy_step: Array
  token_rewards: Array
  sample_ids: Array
  num_micro: Array
  sample_slots: Array
  group_ids: Array
  prompt_ids: Array
  rewards: Array
  reward_components: dict[str, Array]
  temperature: Array
  prompt_length: Array
  num_tokens: Array
  truncated: Array
  is_external: Array
  role_ids: Array
  prefix_ids: Array | None = None
  entropy: Array | None = None
  old_logprobs: Array | None = None
  ref_logprobs: Array | None = None
  values: Array | None = None
  returns: Array | None = None
  advantages: Array | None = None
  weights: dict[str, Array] = struct.field(default_factory=dict)
  extras: dict[str, Array] = struct.field(default_factory=dict)


@struct.dataclass
class TrainState:
  """Everything that an update changes.

  Attributes:
    step: int32 scalar, optimizer steps of the stage.
    params: dict, trained role ('policy', 'value', …) -> parameter pytree, float32.
    opt_state: dict, trained role -> optimizer state.
    key: PRNG key, typed; every use splits it.
    method_state: dict, name -> pytree: adaptive coefficients, running statistics, averaged
      parameters, role baselines.
  """

  step: Array
  params: dict[str, PyTree]
  opt_state: dict[str, PyTree]
  key: Array
  method_state: dict[str, PyTree] = struct.field(default_factory=dict)


Metrics = dict[str, Any]
