"""Part scaling: cost of generation and of the update against sizes of the work."""

from __future__ import annotations

import dataclasses

import numpy as np

from speed import ours, timing
from speed.context import Context
from speed.shapes import Work

ROUNDS = 2
GROUPS = (1, 8, 32)  # samples of a prompt, 64 in all
LENGTHS = (32, 128, 256)  # tokens of a completion
BATCHES = (16, 64, 256)  # samples, groups of 8
SPREADS = ('all 96', '48 … 144', 'geometric')  # mean 96, limit 384
MEAN, LIMIT = 96, 384


def measure(context: Context) -> dict:
  """Points of each axis: seconds of generation and update, means of two after a warm-up."""
  settings, base = next(iter(ours.STEP.values())), context.work
  points = {}
  axes = {'group size': {}, 'completion length': {}, 'samples': {}}
  for samples in GROUPS:
    axes['group size'][samples] = dataclasses.replace(
      base, prompts=base.rows // samples, samples=samples
    )
  for completion in LENGTHS:
    axes['completion length'][completion] = dataclasses.replace(base, completion=completion)
  for rows in BATCHES:
    axes['samples'][rows] = dataclasses.replace(base, prompts=rows // base.samples)
  found = {'settings': {'rljax': repr(settings)}, 'axes': {}}
  for axis, works in axes.items():
    found['axes'][axis] = []
    for value, work in works.items():
      if work not in points:
        context.say(f'  {axis} {value}', flush=True)
        points[work] = point(f'scaling: {axis} {value}', work, settings)
      found['axes'][axis].append({'value': value, **points[work]})
  found['axes']['length spread'] = spreads(context, settings)
  return found


def point(name: str, work: Work, settings: ours.Settings) -> dict:
  step = ours.Step(name, work, settings)
  arm = timing.interleave({name: step}, rounds=ROUNDS, say=_silent)[name]
  return summary(arm)


def summary(arm: dict) -> dict:
  parts = ('seconds', 'generation', 'update', 'tokens', 'trained_tokens')
  return {part: timing.median(arm, part) for part in parts}


def spreads(context: Context, settings: ours.Settings) -> list[dict]:
  """One program for all: 64 samples in 16 slots; the update packs what there is."""
  work = dataclasses.replace(context.work, completion=LIMIT)
  step = ours.Step('scaling: length spread', work, settings, slots=16)
  found = []
  for name in SPREADS:
    context.say(f'  length spread {name}', flush=True)
    step.limits = lengths(name, work.rows)
    arm = timing.interleave({name: step}, rounds=ROUNDS, say=_silent)[name]
    found.append({'value': name, **summary(arm), 'longest': int(step.limits.max())})
  return found


def lengths(name: str, count: int, seed: int = 0) -> np.ndarray:
  """Tokens of each completion, of (about) the same mean."""
  generator = np.random.default_rng(seed)
  if name == SPREADS[0]:
    found = np.full(count, MEAN)
  elif name == SPREADS[1]:
    found = generator.permutation(np.linspace(MEAN // 2, MEAN * 3 // 2, count).round())
  else:
    found = np.minimum(generator.geometric(1 / MEAN, count), LIMIT)
  return found.astype(np.int32)


def _silent(*_, **__):
  pass

