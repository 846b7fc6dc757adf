"""rljax in these measurements: every setting of it, and its iteration.

All that may be tuned stands in `Settings`; what else is here is the work itself.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import binding, objective
from rljax.data.packing import Layout, make_layout, pack
from rljax.models import decoder
from rljax.sampling import make_requests, sample_and_count
from rljax.structs import Policy, Requests, Rollout, SamplerSettings
from rljax.update import init_train_state, make_update_step
from speed.programs import Program
from speed.shapes import Shape, Work

STAGE = dict(
  loss=dict(name='losses.clipped_surrogate'),
  weights=dict(name='weighting.token_mean'),
  advantage=dict(name='advantages.group_normalize'),
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """What may be tuned, for one machine.

  Attributes:
    window: decode steps between two looks at which rows have ended.
    sampler: further fields of `SamplerSettings`.
    model: further arguments of `decoder`: remat, query_block …
    rows: r, rows of a micro-batch.
    row_samples: maximal samples that a row holds.
    share_prompts: a row holds the prompt of several samples once.
    chunk_size: slots that pass the vocabulary at once.
  """

  window: int = 8
  sampler: tuple[tuple[str, Any], ...] = ()
  model: tuple[tuple[str, Any], ...] = ()
  rows: int = 4
  row_samples: int = 1
  share_prompts: bool = False
  chunk_size: int = 512


# Arm -> settings, for the whole step on a CPU. The first one is rljax in ratios.
STEP = {'rljax': Settings()}
if 'share_prompts' in inspect.signature(make_layout).parameters:
  STEP['rljax, shared prompts'] = Settings(rows=2, row_samples=4, share_prompts=True)
LONG_TAIL = Settings(sampler=(('drains', 3),))  # over windows
# How lengths are forced in the part long_tail: 'limits' = the requests' max_new_tokens, which must
# then not order the queue; 'stop' = a stop token that is drawn once in so many tokens.
LENGTHS = 'limits'
GPU = Settings(window=16, model=(('remat', 'full'),), rows=4, chunk_size=1024)


# ------------------------------------------------------------------------------------ the policy


@functools.cache
def make_policy(shape: Shape, settings: Settings) -> Policy:
  options = dataclasses.asdict(shape)
  dtype = options.pop('dtype')
  return decoder(**options, compute_dtype=dtype, **dict(settings.model))


@functools.cache
def make_params(shape: Shape, seed: int = 0) -> Any:
  """Random weights, float32; one copy for all parts."""
  return jax.jit(make_policy(shape, Settings()).init)(jax.random.key(seed))


# ---------------------------------------------------------------------------------- generation


def requests(work: Work, *, limits: np.ndarray | None = None, **changes: Any) -> Requests:
  """For all samples of the work, without stop tokens; limits: tokens of each."""
  arguments = {
    'samples_per_prompt': work.samples,
    'draw_ids': range(work.prompts),
    'max_prompt': work.prompt,
    'max_new_tokens': work.completion if limits is None else limits,
    'temperature': 1.0,
    'stop_ids': (),
    **changes,
  }
  return make_requests(work.prompt_ids(), **arguments)


def sampler_settings(
  work: Work, settings: Settings, *, slots: int = 0, window: int | None = None
) -> SamplerSettings:
  return SamplerSettings(
    length=work.length,
    max_new_tokens=work.completion,
    slots=slots,
    window=settings.window if window is None else window,
    **dict(settings.sampler),
  )


_samplers: dict[tuple, Program] = {}


class Sampler:
  """The compiled sampler of a work.

  Attributes:
    program: `(params, requests, seed, SamplerSettings) -> (Rollout, Counts)`.
    counts: what the last rollout took: decode steps, and slots that they computed.
  """

  def __init__(
    self, name: str, work: Work, settings: Settings, *, slots: int = 0, policy: Policy | None = None
  ):
    chosen = policy or make_policy(work.shape, settings)
    self.work, self.slots, self.settings = work, slots, settings

    def run(params, requests, seed, how):
      return sample_and_count(chosen, params, requests, seed=seed, settings=how)

    how = sampler_settings(work, settings, slots=slots)
    key = (work, settings, slots, policy)
    if key not in _samplers:  # parts share them
      given = (make_params(work.shape), requests(work), np.uint32(0), how)
      _samplers[key] = Program(name, run, *given)
    self.program = _samplers[key]

  def __call__(
    self, params: Any, asked: Requests, seed: int, window: int | None = None
  ) -> Rollout:
    how = sampler_settings(self.work, self.settings, slots=self.slots, window=window)
    out = self.program(params, asked, np.uint32(seed), how)
    rollout, self.counts = jax.block_until_ready(out)
    return rollout


# -------------------------------------------------------------------------------------- update


def make_work_layout(work: Work, settings: Settings) -> Layout:
  spared = (settings.row_samples - 1) * (work.prompt - 1) if settings.share_prompts else 0
  return make_layout(
    samples=work.rows,
    group_size=work.samples,
    max_length=work.length,
    rows=settings.rows,
    row_length=settings.row_samples * work.length - spared,
    **({'share_prompts': True} if settings.share_prompts else {}),
  )


def rewards(rollout: Rollout) -> np.ndarray:
  """The same for everybody: which part of the ids in a completion is even."""
  even = (np.asarray(rollout.tokens) % 2 == 0) & rollout.action_mask
  return (even.sum(1) / np.maximum(rollout.action_mask.sum(1), 1)).astype(np.float32)


def random_rollout(work: Work, seed: int = 0) -> Rollout:
  """Host arrays of random tokens, in whole completions; log-probs 0."""
  n, t = work.rows, work.length
  zeros, whole = np.zeros((n, t), np.float32), np.ones((n, t), bool)
  tokens = np.random.default_rng(seed).integers(0, work.shape.vocab_size, (n, t), np.int32)
  groups = np.repeat(np.arange(work.prompts, dtype=np.int32), work.samples)
  return Rollout(
    tokens=tokens,
    mask=whole,
    action_mask=whole & (np.arange(t) >= work.prompt),
    behavior_logprobs=zeros,
    policy_logprobs=zeros,
    policy_step=np.zeros((n, t), np.int32),
    group_ids=groups,
    draw_ids=groups.astype(np.uint32),
    prompt_ids=groups,
    sample_index=np.arange(n, dtype=np.int32) % work.samples,
    prompt_length=np.full(n, work.prompt, np.int32),
    num_tokens=np.full(n, t, np.int32),
    temperature=np.ones(n, np.float32),
    truncated=np.ones(n, bool),
  )


_updates: dict[tuple, Program] = {}


class Update:
  """The compiled update of a work, with its optimizer.

  Attributes:
    program: `(state, frozen, batch, hyper) -> (state, metrics)`; donates the state.
  """

  def __init__(self, name: str, work: Work, settings: Settings):
    self.layout, self.settings = make_work_layout(work, settings), settings
    policy = make_policy(work.shape, settings)
    terms = objective.build(STAGE)
    rate = {'name': 'optimizers.adamw', 'learning_rate': work.learning_rate}
    self.optimizers = {'policy': binding.bind(rate)}
    rates = {role: bound.hyper(0) for role, bound in self.optimizers.items()}
    self.hyper = {**terms.hyper(0), 'optimizer': rates}
    step = make_update_step(
      terms, {'policy': policy}, self.optimizers, chunk_size=settings.chunk_size
    )
    self.state = self.first_state(work)
    key = (work.shape, work.learning_rate, settings, self.layout)
    if key not in _updates:  # works of other groups share a program
      batch = self.pack(random_rollout(work))
      _updates[key] = Program(name, step, self.state, {}, batch, self.hyper, donate=(0,))
    self.program = _updates[key]

  def first_state(self, work: Work):
    params = jax.tree.map(jnp.copy, make_params(work.shape))  # the update donates them
    return init_train_state({'policy': params}, self.optimizers, jax.random.key(1))

  def pack(self, rollout: Rollout):
    return pack(rollout, rewards(rollout), self.layout)[0]

  def __call__(self, batch: Any) -> dict[str, Any]:
    """One update; the metrics."""
    self.state, metrics = self.program(self.state, {}, batch, self.hyper)
    jax.block_until_ready(self.state)
    return metrics


class Step:
  """The whole iteration: requests, generation, rewards, packing, update.

  Attributes:
    limits: tokens of each completion; None = those of the work.
    rollout: the last one, on the host.
    metrics: of the last update.
  """

  def __init__(self, name: str, work: Work, settings: Settings, *, slots: int = 0):
    self.work, self.count, self.limits = work, 0, None
    self.sampler = Sampler(f'{name}: generation', work, settings, slots=slots)
    self.update = Update(f'{name}: update', work, settings)

  def __call__(self) -> dict[str, float]:
    started = time.perf_counter()
    asked = requests(self.work, limits=self.limits, policy_step=self.update.state.step)
    rollout = self.sampler(self.update.state.params['policy'], asked, self.count)
    generated = time.perf_counter()
    self.rollout = jax.device_get(rollout)
    batch = self.update.pack(self.rollout)
    packed = time.perf_counter()
    self.metrics = jax.device_get(self.update(batch))
    ended = time.perf_counter()
    self.count += 1
    return {
      'seconds': ended - started,
      'generation': generated - started,
      'host': packed - generated,
      'update': ended - packed,
      'tokens': int(self.rollout.action_mask.sum()),
      'trained_tokens': int(batch_tokens(batch)),
      'grad_norm': float(self.metrics['update/grad_norm']),
    }


def batch_tokens(batch: Any) -> int:
  """Tokens of samples in a packed batch, a shared prompt counted for each of its samples."""
  return int(batch.num_tokens[batch.group_ids >= 0].sum())
