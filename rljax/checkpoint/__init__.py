"""Checkpoints: asynchronous, restorable onto another mesh, with errors that name the leaf."""

from rljax.checkpoint.checkpointer import FOLDER, Checkpointer, load_params
from rljax.checkpoint.records import CheckpointError, decode, encode

__all__ = ['FOLDER', 'CheckpointError', 'Checkpointer', 'decode', 'encode', 'load_params']
