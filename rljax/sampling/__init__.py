"""The sampler: requests in, a rollout out, one program."""

from rljax.sampling.loop import sample, sample_and_count
from rljax.sampling.noise import gumbel, row_keys
from rljax.sampling.request_batch import filters_in_use, make_requests

__all__ = ['filters_in_use', 'gumbel', 'make_requests', 'row_keys', 'sample', 'sample_and_count']
