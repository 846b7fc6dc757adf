"""Where metrics and samples go: JSON lines, event files, Weights & Biases, clu's writers."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from rljax import files

METRICS = 'metrics.jsonl'
SAMPLES = 'samples.jsonl'
SPIKES = 'spikes.jsonl'  # samples of iterations that were out of the ordinary: `rljax.guard`
REMOTE_SECONDS = 60.0  # between two writes of an object that grows


class WriterError(ValueError):
  """A writer that does not exist or cannot work here."""


class Writer(Protocol):
  """What a writer does; numbers are Python's, `row` grows along the run."""

  def write(self, row: int, record: Mapping[str, Any], scalars: Mapping[str, float]) -> None: ...

  def samples(self, row: int, record: Mapping[str, Any], rows: Sequence[Mapping]) -> None: ...

  def flush(self) -> None: ...

  def close(self) -> None: ...


def to_number(name: str, value: Any) -> float | int:
  """A scalar as a Python number; float32 as the shortest decimal that gives its bits back."""
  array = np.asarray(value)
  if array.size != 1 or array.dtype == object:
    raise WriterError(f'metric {name} is no scalar: {type(value).__name__} of shape {array.shape}')
  scalar = array.reshape(())[()]
  if isinstance(scalar, np.bool_ | np.integer):
    return int(scalar)
  if isinstance(scalar, np.float64):
    return float(scalar)
  return float(str(np.float32(scalar)))


class JsonlWriter:
  """`metrics.jsonl` and `samples.jsonl`, one line of JSON for an iteration or a sample.

  JSON has no NaN: such a metric is null, and stands under 'nonfinite' as 'nan', 'inf' or '-inf'.
  """

  def __init__(self, workdir: files.PathLike):
    folder = files.as_path(workdir)
    self._files = {name: files.LineFile(folder / name) for name in (METRICS, SAMPLES)}
    self._pending: dict[str, list[str]] = {}
    self._seconds = REMOTE_SECONDS if files.is_remote(workdir) else 0.0
    self._flushed = time.monotonic()

  def write(self, row: int, record: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
    line, nonfinite = dict(record), {}
    for name, value in scalars.items():
      line[name] = value if math.isfinite(value) else None
      if line[name] is None:
        nonfinite[name] = str(value)
    if nonfinite:
      line['nonfinite'] = nonfinite
    self._append(METRICS, [line])

  def samples(self, row: int, record: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    self._append(SAMPLES, sample_lines(record, rows))

  def _append(self, name: str, lines: list[Any]) -> None:
    self._pending.setdefault(name, []).append(files.json_lines(lines))
    if time.monotonic() - self._flushed >= self._seconds:
      self._write_pending()

  def _write_pending(self) -> None:
    while self._pending:
      name = next(iter(self._pending))
      self._files[name].append(''.join(self._pending[name]))
      del self._pending[name]  # not before: what follows may fail, and be tried again
    self._flushed = time.monotonic()

  def flush(self) -> None:
    self._write_pending()
    for file in self._files.values():
      file.end_part()  # an object store has one for each checkpoint

  def close(self) -> None:
    self.flush()


def sample_lines(record: Mapping[str, Any], rows: Sequence[Mapping]) -> list[dict[str, Any]]:
  """Samples of an iteration as `samples.jsonl` has them."""
  return [files.plain({**record, **row}, nonfinite=_null) for row in rows]


def _null(_: float) -> None:
  """What becomes of a NaN in a sample."""


class TensorboardWriter:
  """Event files in `tensorboard/`, without TensorFlow.

  On an object store each flush puts one file there, and the next events begin another.
  """

  def __init__(self, workdir: files.PathLike, first_row: int):
    import logging

    from tensorboardX import SummaryWriter

    # It would print a line for each NaN; the files show them.
    logging.getLogger('tensorboardX.x2num').setLevel(logging.ERROR)
    self._folder = files.as_path(workdir) / 'tensorboard'
    self._temporary = tempfile.TemporaryDirectory() if files.is_remote(workdir) else None
    self._local = self._temporary.name if self._temporary else os.fspath(self._folder)
    self._number = len(files.names(self._folder))
    self._make, self._first_row = SummaryWriter, first_row
    self._made: Any = None

  @property
  def _writer(self) -> Any:
    if self._made is None:
      # Two files made within a second would share a name, and the second wipe the first.
      suffix = f'.{self._number:04}'
      # On a resume the events from this row on, written before the kill, do not count.
      self._made = self._make(self._local, purge_step=self._first_row, filename_suffix=suffix)
      self._number, self._first_row = self._number + 1, None
    return self._made

  def write(self, row: int, record: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
    for name, value in scalars.items():
      self._writer.add_scalar(name, value, row)

  def samples(self, row: int, record: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    parts = [f'{r.get("prompt")} **{r.get("completion")}** ({r.get("reward")})' for r in rows]
    self._writer.add_text(f'samples/{record["stage"]}', '\n\n'.join(parts), row)

  def flush(self) -> None:
    if self._made is None:
      return
    if self._temporary is None:
      self._made.flush()
      return
    self._made.close()
    self._made = None
    for name in files.names(self._local):
      files.upload(files.as_path(self._local) / name, self._folder / name)

  def close(self) -> None:
    self.flush()
    if self._made is not None:
      self._made.close()
    if self._temporary is not None:
      self._temporary.cleanup()


class WandbWriter:
  """A page of Weights & Biases; without a login an offline run in the work directory.

  The id of the page is kept in `wandb.json`, so a resumed run writes on. What it writes again is
  what stands there already (runs are exact), and wandb keeps the first of two equal steps.
  """

  def __init__(self, workdir: files.PathLike, config: Any):
    try:
      import wandb
    except ImportError:
      raise WriterError(
        "writer 'wandb': the package wandb is not installed; install rljax with its extra [wandb], "
        'or: pip install wandb'
      ) from None
    place = files.as_path(workdir) / 'wandb.json'
    if files.exists(place):
      run_id = files.read_json(place)['id']
    else:
      run_id = os.urandom(6).hex()
      files.write_json(place, {'id': run_id})
    mode = os.environ.get('WANDB_MODE') or ('online' if _has_login() else 'offline')
    self._wandb = wandb
    self._run = wandb.init(
      id=run_id,
      resume='allow',
      mode=mode,
      dir=None if files.is_remote(workdir) else os.fspath(files.as_path(workdir)),
      name=files.as_path(workdir).name,
      project=os.environ.get('WANDB_PROJECT', 'rljax'),
      config=config,
    )

  def write(self, row: int, record: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
    self._run.log({**record, **scalars}, step=row)

  def samples(self, row: int, record: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    columns = ['prompt', 'completion', 'reward']
    data = [[str(r.get('prompt')), str(r.get('completion')), r.get('reward')] for r in rows]
    table = self._wandb.Table(columns=columns, data=data)
    self._run.log({f'samples/{record["stage"]}': table}, step=row)

  def flush(self) -> None:
    pass  # wandb's own process writes on when this one is killed

  def close(self) -> None:
    self._run.finish()


def _has_login() -> bool:
  """True if wandb would find a key without asking."""
  if os.environ.get('WANDB_API_KEY'):
    return True
  import netrc

  try:
    hosts = netrc.netrc().hosts
  except (OSError, netrc.NetrcParseError):
    return False
  return any('wandb' in host for host in hosts)


class CluWriter:
  """A writer of clu's interface."""

  def __init__(self, inner: Any):
    self._inner = inner

  def write(self, row: int, record: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
    self._inner.write_scalars(row, dict(scalars))

  def samples(self, row: int, record: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    pass

  def flush(self) -> None:
    self._inner.flush()

  def close(self) -> None:
    self._inner.close()
