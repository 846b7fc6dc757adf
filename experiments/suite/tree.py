"""A tree of completions that can be enumerated: policies are tables, expectations are sums.

Five tokens, at most three to a completion; token 1 ends one. A prompt is two tokens that say its
number; each has a reward table of its own, so prompts differ in difficulty.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from rljax.data.packing import make_layout, pack
from rljax.scanned import place
from rljax.structs import Array, Batch, Policy, PyTree, Rollout

VOCAB, DEPTH, END = 5, 3, 1
PROMPT = 2  # tokens
LENGTH = PROMPT + DEPTH
WORDS = [token for token in range(VOCAB) if token != END]
STATES = sum(len(WORDS) ** depth for depth in range(DEPTH))  # prefixes that have not ended


def _completions() -> np.ndarray:
  """int32 [85, 3]: all completions, zeros after the end."""
  found = []
  for depth in range(DEPTH):
    lasts = (END,) if depth < DEPTH - 1 else range(VOCAB)
    for prefix in itertools.product(WORDS, repeat=depth):
      found += [[*prefix, last] + [0] * (DEPTH - 1 - depth) for last in lasts]
  return np.array(found, np.int32)


def _state(prefix) -> int:
  """The number of a prefix of words."""
  number = sum(len(WORDS) ** depth for depth in range(len(prefix)))
  return number + sum(
    WORDS.index(token) * len(WORDS) ** i for i, token in enumerate(reversed(prefix))
  )


COMPLETIONS = _completions()
SIZES = np.argmax(np.pad(COMPLETIONS == END, ((0, 0), (0, 1)), constant_values=True), 1)
SIZES = np.minimum(SIZES + 1, DEPTH)
INSIDE = np.arange(DEPTH)[None, :] < SIZES[:, None]
VISITED = np.array(
  [[_state(row[:t]) if t < n else 0 for t in range(DEPTH)] for row, n in zip(COMPLETIONS, SIZES)]
)
TRUNCATED = np.take_along_axis(COMPLETIONS, SIZES[:, None] - 1, 1)[:, 0] != END
_PLACE_OF_WORD = np.array([WORDS.index(t) if t in WORDS else 0 for t in range(VOCAB)])


def policy(prompts: int) -> Policy:
  """The table [prompts · STATES, VOCAB] of logits as a `Policy`; it trains, and samples nowhere."""

  def hidden(params, tokens, *, segment_ids, positions, prefix_ids=None, routing=None):
    before = [jnp.roll(tokens, i, axis=1) for i in range(LENGTH)]
    word = jnp.asarray(_PLACE_OF_WORD)
    deep = positions - (PROMPT - 1)  # words of the completion so far
    number, state = jnp.zeros_like(tokens), jnp.zeros_like(tokens)
    for depth in range(DEPTH):
      first = sum(len(WORDS) ** i for i in range(depth))
      code = sum(
        (word[jnp.clip(before[i], 0, VOCAB - 1)] * len(WORDS) ** i for i in range(depth)),
        jnp.zeros_like(tokens),
      )
      state = jnp.where(deep == depth, first + code, state)
      said = before[depth] + VOCAB * before[depth + 1]
      number = jnp.where(deep == depth, said, number)
    there = (segment_ids >= 0) & (deep >= 0) & (deep < DEPTH)
    index = jnp.where(there, number * STATES + state, -1)
    return jax.nn.one_hot(index, prompts * STATES, dtype=params['table'].dtype), {}

  def refuse(*_, **__):
    raise NotImplementedError('tree.policy: completions are drawn from the enumeration')

  return Policy(
    init=lambda key: {'table': jax.random.normal(key, (prompts * STATES, VOCAB))},
    hidden=hidden,
    head=lambda params: params['table'],
    unembed=lambda head, x: x @ head,
    init_cache=refuse,
    prefill=refuse,
    decode=refuse,
    take=refuse,
    put=refuse,
    copy=refuse,
    axes={'table': (None, None)},
  )


def logprobs(table: Array) -> tuple[Array, Array]:
  """(log-probs [prompts, 85, 3] of the tokens, entropies of their states); 0 after the end."""
  distribution = jax.nn.log_softmax(table.reshape(-1, STATES, VOCAB), axis=-1)[:, VISITED]
  own = jnp.take_along_axis(distribution, COMPLETIONS[None, :, :, None], axis=-1)[..., 0]
  entropy = -jnp.sum(jnp.exp(distribution) * distribution, axis=-1)
  return jnp.where(INSIDE, own, 0), jnp.where(INSIDE, entropy, 0)


def objective(
  table: Array, rewards: Array, reference: Array | None = None, kl_coef: float = 0.0
) -> Array:
  """The mean over prompts of E R − kl_coef·KL(π ‖ reference), of whole completions.

  Args:
    table: float [prompts · STATES, VOCAB], logits.
    rewards: float [prompts, 85].
    reference: as `table`.
    kl_coef: reward per nat.
  """
  own = jnp.sum(logprobs(table)[0], axis=-1)
  worth = rewards
  if reference is not None:
    worth = worth - kl_coef * (own - jnp.sum(logprobs(reference)[0], axis=-1))
  return jnp.mean(jnp.sum(jnp.exp(own) * worth, axis=-1))


@dataclasses.dataclass(frozen=True)
class Tree:
  """Prompts with their rewards, and policies at three points of a training.

  Attributes:
    rewards: float [prompts, 85].
    checkpoints: tables; the later, the better: by exact ascent.
    reference: table of the reference.
  """

  rewards: np.ndarray
  checkpoints: tuple[Array, ...]
  reference: Array

  @property
  def prompts(self) -> int:
    return len(self.rewards)

  def gradient(self, table: Array, kl_coef: float = 0.0) -> Array:
    """∇ of the objective, of the shape of the table."""
    return jax.grad(objective)(table, self.rewards, self.reference, kl_coef)


def make_tree(*, prompts: int = 8, graded: bool = False, seed: int = 0, steps=(0, 2, 6)) -> Tree:
  """Random rewards and policies.

  Args:
    prompts: at most VOCAB².
    graded: rewards of 0 … 1 instead of 0 and 1, of which prompts have different shares.
    seed: of both.
    steps: of exact ascent before each checkpoint.

  Raises:
    ValueError: too many prompts.
  """
  if not 1 <= prompts <= VOCAB**PROMPT:
    raise ValueError(f'make_tree: prompts={prompts}; two tokens tell 1 to {VOCAB**PROMPT} apart')
  rng = np.random.default_rng(seed)
  rewards = rng.uniform(size=(prompts, len(COMPLETIONS)))
  if not graded:
    rewards = rewards < np.linspace(0.05, 0.7, prompts)[:, None]
  table = jnp.asarray(rng.normal(size=(prompts * STATES, VOCAB)), jnp.float32)
  rewards = rewards.astype(np.float32)
  ascend = jax.jit(lambda x: x + 4.0 * prompts * jax.grad(objective)(x, rewards))
  reference = table + jnp.asarray(0.3 * rng.normal(size=table.shape), jnp.float32)
  checkpoints, done = [], 0
  for step in steps:
    for _ in range(step - done):
      table = ascend(table)
    checkpoints.append(table)
    done = step
  return Tree(rewards, tuple(checkpoints), reference)


def template(prompts: int, samples: int) -> Batch:
  """A batch of the shapes of an iteration, one sample a row; see `scanned.place`."""
  count = prompts * samples
  shape, nothing = (count, LENGTH), np.zeros
  groups = np.repeat(np.arange(prompts, dtype=np.int32), samples)
  rollout = Rollout(
    tokens=nothing(shape, np.int32),
    mask=np.ones(shape, bool),
    action_mask=nothing(shape, bool),
    behavior_logprobs=nothing(shape, np.float32),
    policy_logprobs=nothing(shape, np.float32),
    policy_step=nothing(shape, np.int32),
    group_ids=groups,
    draw_ids=groups.astype(np.uint32),
    prompt_ids=groups,
    sample_index=np.tile(np.arange(samples, dtype=np.int32), prompts),
    prompt_length=np.full(count, PROMPT, np.int32),
    num_tokens=np.full(count, LENGTH, np.int32),
    temperature=np.ones(count, np.float32),
    truncated=nothing(count, bool),
    entropy=nothing(shape, np.float32),
  )
  layout = make_layout(
    samples=count, group_size=samples, max_length=LENGTH, rows=count, row_length=LENGTH,
    packed=False,
  )  # fmt: skip
  rewards = nothing(count, np.float32)
  return pack(rollout, rewards, layout, components={'reward': rewards})[0]


def draw(key: Array, table: Array, rewards: Array, samples: int, like: Batch) -> Batch:
  """An iteration: `samples` completions of each prompt, with their rewards.

  Args:
    key: of the draws.
    table: of the policy that draws.
    rewards: float [prompts, 85].
    samples: of each prompt.
    like: `template` of these sizes.
  """
  prompts = rewards.shape[0]
  each, entropy = logprobs(table)
  chosen = jax.random.categorical(
    key, jnp.sum(each, axis=-1)[:, None, :], axis=-1, shape=(prompts, samples)
  )
  number = jnp.repeat(jnp.arange(prompts), samples)
  chosen = chosen.reshape(-1)

  def behind_prompt(x, before=0):
    x = jnp.asarray(x)
    return jnp.pad(x, ((0, 0), (PROMPT, 0)), constant_values=before)

  said = jnp.stack([number // VOCAB, number % VOCAB], axis=1)
  tokens = jnp.concatenate([said, jnp.asarray(COMPLETIONS)[chosen]], axis=1)
  inside = jnp.asarray(INSIDE)[chosen]
  own = behind_prompt(each[number, chosen])
  rollout = Rollout(
    tokens=tokens.astype(jnp.int32),
    mask=behind_prompt(inside, True),
    action_mask=behind_prompt(inside, False),
    behavior_logprobs=own,
    policy_logprobs=own,
    policy_step=jnp.zeros(tokens.shape, jnp.int32),
    group_ids=number,
    draw_ids=number.astype(jnp.uint32),
    prompt_ids=number,
    sample_index=jnp.tile(jnp.arange(samples), prompts),
    prompt_length=jnp.full(number.shape, PROMPT),
    num_tokens=PROMPT + jnp.asarray(SIZES)[chosen],
    temperature=jnp.ones(number.shape),
    truncated=jnp.asarray(TRUNCATED)[chosen],
    entropy=behind_prompt(entropy[number, chosen]),
  )
  return place(like, rollout, rewards[number, chosen], {})


def params_of(table: Array) -> PyTree:
  return {'table': table}
