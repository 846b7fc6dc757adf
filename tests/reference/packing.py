"""The same samples in other rows and micro-batches."""

import numpy as np
from reference import batches

SHAPE, PLACES = (3, 2, 15), 4


def repacked(batch, seed=0):
  """(batch with the samples in random order in rows of another length, [(old, new) place, …])."""
  rng = np.random.default_rng(seed)
  samples = list(batches.samples(batch))
  out = {n: x for n, x in batch.items() if n not in ('sample_ids', 'sample_slots')}
  tokens = [n for n, x in out.items() if getattr(x, 'shape', ()) == batch['segment_ids'].shape]
  for name in tokens:
    out[name] = np.full(SHAPE, -1 if name == 'segment_ids' else 0, batch[name].dtype)
  out['sample_ids'] = np.full((*SHAPE[:2], PLACES), -1, np.int32)
  out['sample_slots'] = np.full(batches.N, -1, np.int32)
  space = {row: 0 for row in np.ndindex(SHAPE[:2])}
  moved = []
  for i in rng.permutation(len(samples)):
    sample, places = samples[i]
    fits = [r for r, start in space.items() if start + len(places) <= SHAPE[2]]
    row = fits[rng.integers(len(fits))]
    segment = int(np.sum(out['sample_ids'][row] >= 0))
    if segment == PLACES:
      return repacked(batch, seed + 1)
    new = [(*row, space[row] + t) for t in range(len(places))]
    for old_place, new_place in zip(places, new, strict=True):
      for name in tokens:
        out[name][new_place] = batch[name][old_place]
      out['segment_ids'][new_place] = segment
      moved.append((old_place, new_place))
    out['sample_ids'][(*row, segment)] = sample
    out['sample_slots'][sample] = np.ravel_multi_index((*row, segment), (*SHAPE[:2], PLACES))
    space[row] += len(places)
  return out, moved
