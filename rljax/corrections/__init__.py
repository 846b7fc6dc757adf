"""Sampler against trainer: how far apart their log-probs of the same tokens are."""

from rljax.corrections.mismatch import mismatch_metrics

__all__ = ['mismatch_metrics']
