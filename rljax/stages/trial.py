"""Functions of the user's are tried on shapes before anything runs."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterable

import jax

from rljax import hosts, places
from rljax.binding import Bound
from rljax.stages import outlines
from rljax.stages.stage import Stage

KINDS = ('sft', 'rl')  # of the others the arrays are known only in a run


def try_update(stage: Stage) -> None:
  """Traces the update of a stage in which functions are not rljax's; nothing is compiled.

  A mistake in one of them would else be said after the stages before it, and after a rollout.

  Raises:
    ValueError: one of them fails, or returns what it must not.
  """
  terms = stage.objective
  bounds = (*terms.terms.values(), *terms.before.values(), *terms.controllers.values())
  own = [bound for bound in bounds if not bound.is_of_rljax]
  unknown = stage.node.kind not in KINDS or stage.node.get('extras') or hosts.count() > 1
  if not own or unknown:
    return
  params = jax.eval_shape(stage.start_params, stage.world.params)
  state = outlines.state(stage, params)
  batch = outlines.batch(stage, outlines.rollout(stage, params['policy'])[1])
  try:
    jax.eval_shape(stage.make_step(), state, outlines.frozen(stage), batch, stage.hyper(0))
  except Exception as error:
    bound = _raised_in(own, error)
    if bound is None:
      raise
    text = ' '.join(str(error).split())
    rows = stage.layout.rows
    raise ValueError(
      f'{stage.name}: {bound.name} fails, tried with {rows} rows of {stage.layout.row_length} '
      f'tokens: {type(error).__name__}: {text}{places.of(error)}'
    ) from error


def _raised_in(bounds: Iterable[Bound], error: BaseException) -> Bound | None:
  """The function in which an error was raised, or in what it called."""
  frames = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
  codes = [(getattr(inspect.unwrap(b.function), '__code__', None), b) for b in bounds]
  return next((bound for code, bound in codes if code in frames), None)
