"""The sampler: requests in, a rollout out, one program; or step by step, with forks."""

from rljax.sampling.loop import sample, sample_and_count
from rljax.sampling.noise import gumbel, row_keys
from rljax.sampling.request_batch import filters_in_use, make_requests
from rljax.sampling.score import score
from rljax.sampling.stream import Finished, Stream, advance, begin, fork

__all__ = [
  'Finished',
  'Stream',
  'advance',
  'begin',
  'filters_in_use',
  'fork',
  'gumbel',
  'make_requests',
  'row_keys',
  'sample',
  'sample_and_count',
  'score',
]
