"""Whole runs that take seconds: the smallest model on words of three letters."""

import contextlib
import os
import signal
from collections.abc import Mapping

import pytest

import rljax
from rljax import metrics, sharding
from rljax.train import train

MODEL = dict(num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32)
ROWS = dict(rows=8, row_length=16)


def tiny_config(**changes):
  """SFT for 6 iterations, RL for 4, on one device or eight; `changes` are nested dicts."""
  config = rljax.load_config('default').to_dict()
  small = dict(
    task=dict(
      name='tasks.reverse_text',
      letters='abcd',
      min_length=2,
      max_length=3,
      num_train=64,
      num_test=24,
      test_fraction=0.4,
    ),
    tokenizer=dict(name='tokenization.characters', alphabet='abcd>'),
    model=MODEL,
    rewards=dict(workers=0),
    evaluation=dict(num_prompts=8, samples=4, ks=(1, 2, 4), batch=16),
    writers=('jsonl',),
    checkpoint_every=2,
    health_check=False,
    sft=dict(iterations=6, prompts=8, max_length=8, optimizer=dict(learning_rate=3e-3), **ROWS),
    rl=dict(
      iterations=4,
      prompts=4,
      samples=4,
      max_prompt=4,
      max_new_tokens=4,
      optimizer=dict(learning_rate=1e-3),
      **ROWS,
    ),
  )
  return merge(merge(config, small), changes)


def merge(config, changes):
  """A copy of nested dicts with `changes`; a node of another function replaces the old one."""
  config = dict(config)
  for key, value in changes.items():
    old = config.get(key)
    same = isinstance(old, Mapping) and isinstance(value, Mapping)
    if same and value.get('name', old.get('name')) == old.get('name'):
      config[key] = merge(old, value)
    else:
      config[key] = value
  return config


def flags_of_one_device():
  """XLA_FLAGS of a process that sees one device, as a user's does; the others are those here."""
  return ' '.join(x for x in os.environ['XLA_FLAGS'].split() if 'device_count' not in x)


@contextlib.contextmanager
def small_machine(folder):
  """Runs inside see the first device only, draw no curves, and keep their programs in `folder`."""
  import jax

  make = sharding.make_mesh

  def one(devices=None, **sizes):
    return make(**sizes, devices=devices or jax.devices()[:1])

  with pytest.MonkeyPatch.context() as patch, kept_programs(folder):
    patch.setattr(sharding, 'make_mesh', one)
    patch.setattr(metrics, 'plot_curves', lambda path: None)
    yield


def run(workdir, **changes):
  """The summary of a tiny run."""
  return train(tiny_config(**changes), workdir=str(workdir))


def without_times(rows):
  """Metric lines without what depends on the clock and the machine."""
  return [
    {k: v for k, v in row.items() if not k.startswith(('time/', 'memory/'))} for row in rows
  ]


@contextlib.contextmanager
def kept_programs(folder):
  """Keeps programs that are compiled inside in `folder`: the next run with them is quick."""
  import jax
  from jax.experimental.compilation_cache import compilation_cache

  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = {name: getattr(jax.config, name) for name in names}
  for name, value in zip(names, (str(folder), 0.1)):
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


class Stopped(Exception):
  """Raised by `Stopper`."""


class Stopper:
  """A writer that ends the run when it writes a certain row, by an exception or by kill -9.

  Attributes:
    row: SFT has the rows 0 … iterations, RL those behind; None = none.
  """

  row = None

  def __init__(self, workdir):
    del workdir

  def write_scalars(self, row, scalars):
    del scalars
    if os.environ.get('KILL_AT') == str(row):
      os.kill(os.getpid(), signal.SIGKILL)
    if row == Stopper.row:
      raise Stopped

  def flush(self):
    pass

  def close(self):
    pass
