"""Checkpoints: asynchronous, restorable onto another mesh, with errors that name the leaf."""

from rljax.checkpoint.checkpointer import FOLDER, Checkpointer, load_params
from rljax.checkpoint.records import CheckpointError, DamagedError, decode, encode

__all__ = [
  'FOLDER',
  'CheckpointError',
  'Checkpointer',
  'DamagedError',
  'decode',
  'encode',
  'load_params',
]
