"""Losses on arrays: one entry per token (or per sample), unreduced, with diagnostics."""

from rljax.losses.clipped_surrogate import clipped_surrogate
from rljax.losses.clipped_value import clipped_value
from rljax.losses.hl_gauss_value import hl_gauss_mean, hl_gauss_value
from rljax.losses.huber_value import huber_value
from rljax.losses.nll import nll
from rljax.losses.reinforce import reinforce

__all__ = [
  'clipped_surrogate',
  'clipped_value',
  'hl_gauss_mean',
  'hl_gauss_value',
  'huber_value',
  'nll',
  'reinforce',
]
