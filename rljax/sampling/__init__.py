"""The sampler: requests in, a rollout out, one program; or step by step, with forks and turns."""

from rljax.sampling.live import append, fork, release
from rljax.sampling.loop import sample, sample_and_count
from rljax.sampling.noise import gumbel, row_keys
from rljax.sampling.request_batch import filters_in_use, make_requests
from rljax.sampling.score import score
from rljax.sampling.stream import Finished, Stream, advance, begin

__all__ = [
  'Finished',
  'Stream',
  'advance',
  'append',
  'begin',
  'filters_in_use',
  'fork',
  'gumbel',
  'make_requests',
  'release',
  'row_keys',
  'sample',
  'sample_and_count',
  'score',
]
