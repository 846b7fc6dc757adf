"""Losses on arrays: one entry per token (or per sample), unreduced, with diagnostics."""

from rljax.losses.clipped_surrogate import clipped_surrogate
from rljax.losses.clipped_value import clipped_value
from rljax.losses.nll import nll
from rljax.losses.reinforce import reinforce

__all__ = ['clipped_surrogate', 'clipped_value', 'nll', 'reinforce']
