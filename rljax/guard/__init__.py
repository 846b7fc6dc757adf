"""Looks at the updates of a run: those that are not finite, and those far out of the ordinary."""

from rljax.guard.watch import Guard

__all__ = ['Guard']
