"""`sample`: prefill each prompt once, then decode all rows in one loop on the device.

Inside the loop the records are [C, N], one line per step: a step writes one line in place, however
ragged the prompts are. The [N, T] arrays of the rollout are assembled once at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rljax import filters
from rljax.sampling import noise
from rljax.sampling.draw import Draw, draw
from rljax.structs import Policy, PyTree, Requests, Rollout, SamplerSettings

Array = jax.Array

CAPTURE = ('entropy',)
# The fields of `Requests` that belong to the sample; the others belong to the prompt or to all.
ROW_FIELDS = (
  'prompt_row', 'group_ids', 'draw_ids', 'prompt_ids', 'sample_index', 'temperature',
  'max_new_tokens', 'stop_ids', 'top_k', 'top_p', 'min_p', 'prefix', 'prefix_length',
)  # fmt: skip


class _State(NamedTuple):
  """The carry of the loop; lines of `records` are steps."""

  step: Array  # int32 scalar: tokens drawn so far by a row that lives
  cache: PyTree
  tokens: Array  # int32 [N], the last drawn
  alive: Array  # bool [N]
  stopped: Array  # bool [N], by a stop token
  num_new: Array  # int32 [N]
  records: Draw | None  # leaves [C, N]


def sample(
  policy: Policy,
  params: PyTree,
  requests: Requests,
  *,
  seed: Array | int,
  settings: SamplerSettings,
) -> Rollout:
  """Samples a completion for each row of `requests`; pure, to be jitted with `policy` closed over.

  The token at position t of a sample is `argmax_v filter(logits_v / τ) + g_v` with the noise g a
  function of (seed, draw_id, sample_index, t) alone, see `sampling.noise`. So a sample does not
  depend on its batch, on its place in it or on the mesh, and it continues from any prefix of its
  own completion with the same tokens (up to near ties, since logits agree to rounding only).

  A row ends with the first of its stop ids, which is kept, or after `max_new_tokens` tokens, or at
  slot `settings.length`. A prefix whose last token is a stop id has ended already. Rows with group
  −1 are empty in the rollout; rows with max_new_tokens 0 hold prompt and prefix only.

  Args:
    policy: of the model; its `prefill`, `decode` and `take` are used.
    params: its parameters; `policy.cast` is applied once, before the loop.
    requests: arrays, see `Requests` and `make_requests`. With [N] arrays sharded over rows and
      prompts and parameters replicated, rows are decoded where they lie.
    seed: integer in [0, 2³²), may be traced. Evaluation takes another one than training.
    settings: see `SamplerSettings`. `slots` must divide N: the rows are then decoded in N / slots
      turns, with a cache of that many rows.

  Returns:
    Rollout with [N, T] arrays; log-probs and entropy in the dtype of the logits (float32 at
    least), 0 where nothing was drawn; `policy_step` is the requests' in all slots.

  Raises:
    ValueError: an unknown filter or capture, or slots that do not divide N.
  """
  num_rows = requests.prompt_row.shape[0]
  slots = settings.slots or num_rows
  _check(settings, num_rows, slots)
  params = params if policy.cast is None else policy.cast(params)
  prompt = _prefill_prompts(policy, params, requests, settings)
  if slots >= num_rows:
    return _sample_rows(policy, params, prompt, requests, seed=seed, settings=settings)

  # Row n goes to turn n mod (N / slots), so that each turn has rows of every shard.
  turns = num_rows // slots
  rows = {name: getattr(requests, name) for name in ROW_FIELDS}
  rows = jax.tree.map(lambda x: x.reshape(slots, turns, *x.shape[1:]).swapaxes(0, 1), rows)

  def turn(rows):
    chunk = requests.replace(**rows)
    return _sample_rows(policy, params, prompt, chunk, seed=seed, settings=settings)

  rollouts = lax.map(turn, rows)
  return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(num_rows, *x.shape[2:]), rollouts)


def _check(settings: SamplerSettings, num_rows: int, slots: int) -> None:
  filters.check_filters(settings.filters)
  for name in settings.capture:
    if name not in CAPTURE:
      raise ValueError(f'unknown capture {name!r}; there is {", ".join(CAPTURE)}')
  if slots < num_rows and num_rows % slots:
    raise ValueError(f'slots={slots} does not divide the {num_rows} rows of the requests')


def _prefill_prompts(policy, params, requests, settings) -> PyTree:
  """The cache of the Q prompts."""
  num_prompts, prompt_slots = requests.prompts.shape
  prefix_slots = 0 if requests.prefix is None else requests.prefix.shape[1]
  # A prefix is written as a whole, padding included, behind the longest prompt.
  cache = policy.init_cache(num_prompts, max(settings.length, prompt_slots + prefix_slots))
  return policy.prefill(params, cache, requests.prompts, jnp.zeros(num_prompts, jnp.int32))[1]


def _sample_rows(policy, params, prompt_cache, requests, *, seed, settings) -> Rollout:
  """`sample` for the rows of `requests`, all decoded at once."""
  keys = noise.row_keys(seed, requests.draw_ids, requests.sample_index)
  row = requests.prompt_row
  given = prompt_length = jnp.asarray(requests.prompt_length)[row]
  last = _at(jnp.asarray(requests.prompts), prompt_length - 1, row)
  cache = policy.take(prompt_cache, row)
  ended = jnp.zeros(given.shape, bool)
  if requests.prefix is not None:
    given = prompt_length + requests.prefix_length
    cache = policy.prefill(params, cache, requests.prefix, prompt_length)[1]
    has_prefix = requests.prefix_length > 0
    last_of_prefix = _at(jnp.asarray(requests.prefix), requests.prefix_length - 1)
    last = jnp.where(has_prefix, last_of_prefix, last)
    ended = has_prefix & _is_stop(last, requests)
  allowed = jnp.minimum(requests.max_new_tokens, settings.length - given)
  allowed = jnp.where((requests.group_ids >= 0) & ~ended, jnp.maximum(allowed, 0), 0)
  start = _State(
    step=jnp.zeros((), jnp.int32),
    cache=cache,
    tokens=last,
    alive=allowed > 0,
    stopped=ended,
    num_new=jnp.zeros_like(allowed),
    records=None,
  )
  end = _decode_loop(policy, params, requests, settings, keys, given, allowed, start)
  return _assemble(requests, settings, prompt_length, given, end)


def _at(tokens: Array, slot: Array, rows: Array | None = None) -> Array:
  """[B, L], int32 [N] -> [N]: tokens[rows[n], slot[n]]; rows None = 0 … N − 1."""
  rows = jnp.arange(slot.shape[0]) if rows is None else rows
  return tokens[rows, jnp.maximum(slot, 0)]


def _is_stop(tokens: Array, requests: Requests) -> Array:
  return jnp.any(tokens[:, None] == requests.stop_ids, axis=1)  # unused entries are −1


def _decode_loop(policy, params, requests, settings, keys, given, allowed, state) -> _State:
  """Draws until all rows have ended.

  The last given token passes through `decode` once more than it must, so that the loop has one
  form of step; the tokens drawn last never do.

  Args:
    keys: typed keys [N].
    given: int32 [N], tokens of prompt and prefix.
    allowed: int32 [N], tokens that the row may draw.
    state: the start; `tokens` are the last given ones and `cache` holds all given ones.
  """
  head = policy.head(params)
  limit = jnp.max(allowed)
  window = jnp.maximum(jnp.asarray(settings.window, jnp.int32), 1)

  def advance(state: _State) -> tuple[PyTree, Draw]:
    # Rows that have ended go on in their last slot of the cache, which nobody reads any more.
    positions = jnp.clip(given + state.step, 1, settings.length)
    hidden, cache = policy.decode(params, state.cache, state.tokens, positions - 1)
    logits, options = policy.unembed(head, hidden), (settings.filters, settings.capture)
    return cache, draw(logits, keys, positions, requests, *options)

  def step(_, state: _State) -> _State:
    cache, drawn = advance(state)
    num_new = state.num_new + state.alive
    stop = state.alive & _is_stop(drawn.tokens, requests)
    return _State(
      step=state.step + 1,
      cache=cache,
      tokens=drawn.tokens,
      alive=state.alive & ~stop & (num_new < allowed),
      stopped=state.stopped | stop,
      num_new=num_new,
      records=jax.tree.map(
        lambda lines, line: lax.dynamic_update_index_in_dim(lines, line, state.step, 0),
        state.records,
        drawn,
      ),
    )

  def run_window(state: _State) -> _State:
    end = jnp.minimum(state.step + window, limit)
    return lax.fori_loop(state.step, end, step, state)

  def going_on(state: _State) -> Array:
    return (state.step < limit) & jnp.any(state.alive)

  lines = jax.tree.map(
    lambda x: jnp.zeros((settings.length, *x.shape), x.dtype), jax.eval_shape(advance, state)[1]
  )
  return lax.while_loop(going_on, run_window, state._replace(records=lines))


def _assemble(requests, settings, prompt_length, given, state: _State) -> Rollout:
  """The [N, T] arrays from the lines of the loop."""
  used = requests.group_ids >= 0
  slot = jnp.arange(settings.length, dtype=jnp.int32)[None, :]
  num_tokens = jnp.where(used, jnp.minimum(given + state.num_new, settings.length), 0)
  mask = slot < num_tokens[:, None]
  action_mask = mask & (slot >= given[:, None])
  line = jnp.clip(slot - given[:, None], 0, settings.length - 1)

  def place(lines: Array) -> Array:
    return jnp.where(action_mask, jnp.take_along_axis(lines.T, line, axis=1), 0)

  records = jax.tree.map(place, state.records)
  tokens = _to_length(requests.prompts, settings.length)[requests.prompt_row]
  if requests.prefix is not None:
    index = jnp.clip(slot - prompt_length[:, None], 0, requests.prefix.shape[1] - 1)
    prefix = jnp.take_along_axis(jnp.asarray(requests.prefix), index, axis=1)
    tokens = jnp.where(slot < prompt_length[:, None], tokens, prefix)
  tokens = jnp.where(action_mask, records.tokens, jnp.where(mask, tokens, 0))
  return Rollout(
    tokens=tokens,
    mask=mask,
    action_mask=action_mask,
    behavior_logprobs=records.behavior_logprobs,
    policy_logprobs=records.policy_logprobs,
    policy_step=jnp.full(mask.shape, requests.policy_step, jnp.int32),
    group_ids=jnp.asarray(requests.group_ids),
    draw_ids=jnp.asarray(requests.draw_ids),
    prompt_ids=jnp.asarray(requests.prompt_ids),
    sample_index=jnp.asarray(requests.sample_index),
    prompt_length=jnp.where(used, prompt_length, 0),
    num_tokens=num_tokens,
    temperature=jnp.asarray(requests.temperature),
    truncated=used & ~state.stopped,
    entropy=records.entropy,
  )


def _to_length(prompts: Array, length: int) -> Array:
  """[Q, P] -> [Q, T] by padding or cutting on the right."""
  cut = jnp.asarray(prompts)[:, :length]
  return jnp.pad(cut, ((0, 0), (0, length - cut.shape[1])))
