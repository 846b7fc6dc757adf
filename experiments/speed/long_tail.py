"""Part long_tail: completions of very different lengths, where slots are refilled or wait."""

from __future__ import annotations

import dataclasses
import time

import jax.numpy as jnp
import numpy as np

from speed import ours, timing
from speed.context import Context, check
from speed.shapes import Work

MEAN, LIMIT, SLOTS = 64, 512, 64
SEED = 7  # of the lengths: the first with which their mean is within one of 64
WINDOWS = (1, 2, 4, 8, 16, 32, 64)
STOP = 0  # an id that no prompt holds


def measure(context: Context) -> dict:
  """The curve over windows; then its best point against lockstep batches, in turns."""
  work = dataclasses.replace(context.work, prompts=32, samples=8, completion=LIMIT)
  asked, policy, limits = requests(work)
  params = ours.make_params(work.shape)
  sampler = ours.Sampler('long tail: rljax', work, ours.LONG_TAIL, slots=SLOTS, policy=policy)
  engine = {w: Engine(sampler, params, asked, w) for w in WINDOWS}
  found = {'work': work.as_json(), 'settings': {'rljax': repr(ours.LONG_TAIL)}, 'checks': []}

  curve = {f'window {w}': run for w, run in engine.items()}
  found['curve'] = timing.interleave(curve, rounds=2, say=context.say)
  seconds = {w: timing.median(found['curve'][f'window {w}']) for w in WINDOWS}
  best = min(seconds, key=seconds.get)
  if limits is None:  # a stop token has ended them: the others end at the same lengths
    limits = np.asarray(engine[best].rollout.action_mask.sum(1))
  lockstep = {}
  for rows in (SLOTS, work.rows):
    name = f'lockstep, batches of {rows}'
    lockstep[name] = Lockstep(f'long tail: {name}', work, params, limits, rows)
  contestants = {f'rljax, window {best}': engine[best], **lockstep}
  found['arms'] = timing.interleave(contestants, rounds=3, warm_up=0, say=context.say)

  lengths = np.asarray(engine[best].rollout.action_mask.sum(1))
  same = np.array_equal(lengths, limits)
  check(found['checks'], 'rljax: length of each sample', same, f'{int(lengths.sum())} tokens')
  add_busy(found, limits, engine, best)
  for name, run in lockstep.items():
    check(found['checks'], f'{name}: tokens', run.tokens == limits.sum(), f'{run.tokens}')
  found['lengths'] = describe(limits)
  # Of all rows that are decoded at once.
  found['cache_mib'] = {
    name: rows * work.length * work.shape.cache_bytes / 2**20
    for name, rows in zip(contestants, (SLOTS, SLOTS, work.rows))
  }
  return found


def geometric(count: int, seed: int = SEED) -> np.ndarray:
  """Lengths ≥ 1 of mean 64, cut at 512."""
  lengths = np.random.default_rng(seed).geometric(1 / MEAN, count)
  return np.minimum(lengths, LIMIT).astype(np.int32)


def requests(work: Work):
  """(requests, policy, limits): the lengths are limits of the requests, or a stop token makes them.

  With a stop token nothing can know the lengths beforehand; limits is None then. Without one the
  policy is that of the work, None.
  """
  if ours.LENGTHS == 'limits':
    limits = geometric(work.rows)
    return ours.requests(work, limits=limits), None, limits
  policy = ours.make_policy(work.shape, ours.LONG_TAIL)
  return ours.requests(work, stop_ids=(STOP,)), rigged(policy, work.shape.vocab_size), None


def rigged(policy, vocab_size: int):
  """The policy with the logit of STOP such that about one token in 64 ends its sample.

  Logits of random weights are near to a standard normal, so their log-sum is log V + 1/2.
  """
  logit = np.log(vocab_size) + 0.5 - np.log(MEAN - 1)

  def unembed(head, hidden):
    logits = policy.unembed(head, hidden)
    return jnp.where(jnp.arange(logits.shape[-1]) == STOP, logit, logits)

  return policy._replace(unembed=unembed)


def simulate(
  lengths: np.ndarray, slots: int, window: int, drains: int = 1, least: int = 4
) -> dict[str, int]:
  """The engine's schedule: samples enter in order, slots are refilled after each window.

  When nothing waits and at most half of the slots are live, they go on in half as many, `drains`
  times, as long as `least` are left.

  Returns:
    'all' slot-steps that are computed; of those until the queue was empty: 'empty', and 'busy',
    those that gave a token.
  """
  queue = list(map(int, lengths))
  left = np.zeros(slots, int)
  found = {'all': 0, 'empty': 0, 'busy': 0}
  sizes = [slots, *(size for i in range(1, drains + 1) if (size := slots >> i) >= least)]
  for size, until in zip(sizes, [*sizes[1:], 0]):
    while True:
      if size == slots:
        for place in np.flatnonzero(left == 0)[: len(queue)]:
          left[place] = queue.pop(0)
      live = int((left > 0).sum())
      if not queue and live <= until:
        break
      steps = min(window, int(left.max()))
      if queue:
        found['empty'] += steps * size
        found['busy'] += int(np.minimum(left, steps).sum())
      found['all'] += steps * size
      left = np.maximum(left - steps, 0)
  return found


def add_busy(found: dict, lengths: np.ndarray, engine: dict, best: int) -> None:
  """How busy the slots were until the queue was empty, by the schedule that the counts confirm."""
  options = dict(ours.LONG_TAIL.sampler)
  plan = {'drains': options.get('drains', 1)}
  for window, run in engine.items():
    planned = simulate(lengths, SLOTS, window, **plan)
    if window == best:
      for seen in next(iter(found['arms'].values()))['runs']:
        seen |= {name: planned[name] for name in ('busy', 'empty')}
      said = f'{run.computed} and {planned["all"]}'
      same = run.computed == planned['all']
      check(found['checks'], 'rljax: computed slot-steps, as planned', same, said)
    for seen in found['curve'][f'window {window}']['runs']:
      seen |= {name: planned[name] for name in ('busy', 'empty')}


class Engine:
  """A rollout of rljax with a window; its lengths do not depend on it."""

  def __init__(self, sampler: ours.Sampler, params, asked, window: int):
    self._given = params, asked, 1, window
    self._sampler, self.window = sampler, window

  def __call__(self) -> dict:
    started = time.perf_counter()
    self.rollout = self._sampler(*self._given)
    seconds = time.perf_counter() - started
    useful = int(self.rollout.action_mask.sum())
    seen = {'seconds': seconds, 'tokens': useful, 'useful': useful}
    self.computed = int(self._sampler.counts.slot_steps.sum())
    return {**seen, 'all': self.computed}


class Lockstep:
  """rljax without refill: batches in the order of the requests, each until all its rows have ended.

  The same model, attention bounded to what lives, too; only the slots wait.
  """

  def __init__(self, name: str, work: Work, params, limits: np.ndarray, rows: int):
    self._params, self._limits, self._rows = params, limits, rows
    settings = dataclasses.replace(ours.LONG_TAIL, window=1, sampler=(('drains', 0),))
    part = dataclasses.replace(work, prompts=rows // work.samples)
    self._sampler = ours.Sampler(name, part, settings)

  def __call__(self) -> dict:
    tokens, computed = 0, 0
    for start in range(0, len(self._limits), self._rows):
      limits = self._limits[start : start + self._rows]
      asked = ours.requests(self._sampler.work, limits=limits)
      tokens += int(self._sampler(self._params, asked, start).action_mask.sum())
      computed += int(self._sampler.counts.slot_steps.sum())
    self.tokens = tokens
    return {'tokens': tokens, 'useful': tokens, 'all': computed}


def describe(lengths: np.ndarray) -> dict:
  return {
    'mean': float(lengths.mean()),
    'median': float(np.median(lengths)),
    'longest': int(lengths.max()),
    'total': int(lengths.sum()),
    'forced_by': ours.LENGTHS,
  }
