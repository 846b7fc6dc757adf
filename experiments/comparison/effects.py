"""Effects between arms that share their seeds: paired intervals, IQM, gates and the verdict."""

import dataclasses
import math

import numpy as np
from scipy import stats

LEVEL = 0.95


def area(samples, rewards, until=None):
  """Mean reward over the samples 0 … until: the area under the curve, as a fraction of its width.

  Args:
    samples: [I] samples drawn up to the end of each iteration.
    rewards: [I] mean reward of the samples of each iteration.
    until: samples; None = all.
  """
  until = samples[-1] if until is None else until
  edges = np.minimum(np.concatenate([[0], samples]), until)
  return float(np.sum(np.diff(edges) * np.asarray(rewards)) / until)


@dataclasses.dataclass(frozen=True)
class Effect:
  """The paired difference of two arms.

  Attributes:
    each: of the seeds, in their order.
    mean: of `each`.
    low, high: 95 % t interval of the mean; NaN with fewer than two seeds.
  """

  each: tuple[float, ...]
  mean: float
  low: float
  high: float

  @property
  def half_width(self):
    return (self.high - self.low) / 2


def paired(ours, theirs):
  """The effect ours − theirs, seed by seed."""
  each = np.asarray(ours, float) - np.asarray(theirs, float)
  mean, half = float(each.mean()), math.nan
  if len(each) > 1:
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(each) - 1) * stats.sem(each))
  return Effect(tuple(each.tolist()), mean, mean - half, mean + half)


def interquartile_mean(values, axis=-1):
  """The mean without the lowest and the highest quarter."""
  return stats.trim_mean(values, 0.25, axis=axis)


def interquartile_interval(strata, *, resamples=9999, seed=0):
  """(IQM, low, high) over all seeds of all strata; 95 % bootstrap, drawn within each stratum.

  Args:
    strata: values of the seeds, one sequence for each task (or stratum).
    resamples, seed: of the bootstrap.

  Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice",
  arXiv 2108.13264, section 4.1.
  """
  strata = [np.asarray(values, float) for values in strata]
  mean = float(interquartile_mean(np.concatenate(strata)))
  if any(len(values) < 2 for values in strata):
    return mean, math.nan, math.nan
  if all(np.ptp(values) == 0 for values in strata):
    return mean, mean, mean
  found = stats.bootstrap(
    strata,
    lambda *parts, axis=-1: interquartile_mean(np.concatenate(parts, axis=axis), axis=axis),
    confidence_level=LEVEL,
    n_resamples=resamples,
    method='percentile',
    vectorized=True,
    rng=np.random.default_rng(seed),
  ).confidence_interval
  return mean, float(found.low), float(found.high)


def spread(effect):
  """What the seeds of an A/A row differ by: the root mean square of its paired differences."""
  return float(np.sqrt(np.mean(np.square(effect.each))))


def detectable(effect, noise):
  """The smallest effect that these seeds could show: the interval and twice the A/A spread."""
  return float(np.fmax(effect.half_width, 2 * noise))


def verdict(effect, noise, *, claim=1):
  """'holds', 'reversed', 'no effect at this size' or 'undecided' (spec of the suite, rule 8).

  Args:
    effect: method − baseline.
    noise: spread of the A/A row.
    claim: +1 if the method is claimed to be higher, −1 if lower.
  """
  signs = np.sign(effect.each)
  excludes_zero = effect.low > 0 or effect.high < 0
  agree = np.sum(signs == np.sign(effect.mean)) >= 0.8 * len(signs)
  if excludes_zero and abs(effect.mean) >= 2 * noise and agree:
    return 'holds' if effect.mean * claim > 0 else 'reversed'
  if -2 * noise <= effect.low and effect.high <= 2 * noise:
    return 'no effect at this size'
  return 'undecided'


GATES = (
  'start pass@1 in [.2, .5]',
  'start pass@16 ≥ .8',
  'zero variance ≤ 50 %',
  'baseline gains ≥ 10 points',
  'no arm above .95 of the ceiling',
)
GAINS = GATES[3]  # does not apply where the claim is not about reward
NOT_REWARD = ('distinct', 'entropy', 'held-out length', 'zero variance')
FIRST = 5  # iterations whose groups tell how many had no variance at the start


def gates(ours, baseline, *, ceiling=1.0, about_reward=True):
  """Which of rule 6 hold: name -> (seeds that pass, seeds); None where it was not measured.

  Both arms have to start inside.

  Args:
    ours, baseline: records of the seeds, paired, as `runs` writes them.
    ceiling: the highest reward that can be reached.
    about_reward: whether the claim is; if not, `GAINS` is not among them.
  """

  def count(test):
    found = [test(mine, theirs) for mine, theirs in zip(ours, baseline, strict=True)]
    return None if None in found else (sum(found), len(found))

  def start(name, test):
    return lambda *both: (
      all(test(r['start'][name]) for r in both)
      if all(name in r['start'] for r in both)
      else None
    )

  def gains(_, theirs):
    return theirs['end']['pass@1'] - theirs['start']['pass@1'] >= 0.1

  def below(mine, theirs):
    return max(r['end']['pass@1'] for r in (mine, theirs)) <= 0.95 * ceiling

  def varied(*both):
    groups = [r.get('zero_variance') for r in both]  # an iteration without rollouts has none
    return None if None in groups else all(np.mean(g[:FIRST]) <= 0.5 for g in groups)

  tests = (
    start('pass@1', lambda x: 0.2 <= x <= 0.5),
    start('pass@16', lambda x: x >= 0.8),
    varied,
    gains,
    below,
  )
  asked = [gate for gate in zip(GATES, tests) if about_reward or gate[0] != GAINS]
  return {name: count(test) for name, test in asked}


def is_idle(ours, baseline, mechanism=None):
  """Whether the mechanism has not acted: no activity, or the very curves of the baseline.

  Args:
    ours, baseline: records of the seeds, paired.
    mechanism: metric of its activity; None = the curves alone decide.
  """
  if mechanism is not None and all(not r['activity'].get(mechanism) for r in ours):
    return True
  curves = ('reward', 'tokens', 'length', 'entropy', 'end')
  return all(
    mine.get(name) == theirs.get(name) for mine, theirs in zip(ours, baseline) for name in curves
  )
