"""Runs of real processes, as a user starts them, and the comparison of what they leave behind."""

import os
import pathlib
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from tiny_runs import flags_of_one_device, without_times

from rljax import checkpoint, files, metrics

FOLDER = pathlib.Path(__file__).parent
CONFIG = """
import tiny_runs
from ml_collections import ConfigDict

def get_config():
  return ConfigDict(tiny_runs.tiny_config(**{}), type_safe=False)
"""
# Groups of both hosts in two minibatches; a reward by which groups differ from the first sample on.
# Evaluation has the shapes of training: one program of the sampler.
SHORT = dict(
  stages=('rl',),
  model=dict(num_kv_heads=2),
  evaluation=dict(num_prompts=8, samples=3, ks=(1, 2), batch=32),
  rewards=dict(reward='host_parts.length', workers=0),
  rl=dict(iterations=2, prompts=8, samples=4, minibatches=2, sampler=dict(slots=16)),
)
WIDE = dict(param_dtype='float64', compute_dtype='float64')
FIVE = dict(
  stages=('sft', 'rl'),
  model=WIDE,
  evaluation=dict(num_prompts=4, samples=2, ks=(1, 2), batch=24),
  rewards=dict(reward='host_parts.length', workers=0),
  sft=dict(iterations=2),
  rl=dict(
    iterations=5,
    prompts=4,
    minibatches=2,
    kl_coef=0.1,
    rollout=dict(name='rollouts.dynamic_sampling', max_rounds=3),
    advantage=dict(name='advantages.gae'),
    value=dict(name='losses.clipped_value'),
  ),
)


def command(*arguments):
  """A command line of rljax."""
  return [sys.executable, '-m', 'rljax', *arguments]


def environment(workdir, *, devices, x64):
  """The environment of a process with so many devices."""
  count = f'--xla_force_host_platform_device_count={devices}'
  return {
    **os.environ,
    'XLA_FLAGS': f'{flags_of_one_device()} {count}',
    'JAX_ENABLE_X64': str(int(x64)),
    'RLJAX_DATA': str(pathlib.Path(workdir).parent.parent),  # compiled programs
    'PYTHONPATH': os.pathsep.join([str(FOLDER), str(FOLDER.parent)]),
  }


def start(workdir, *, processes=2, devices=8, x64=False, environments=({}, {}), **config):
  """The processes of a run, as a user starts them; they talk to files beside the work directory."""
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    port = found.getsockname()[1]
  source = pathlib.Path(f'{workdir}.py')
  source.write_text(CONFIG.format(config))
  shared = environment(workdir, devices=devices // processes, x64=x64)
  train = command('train', f'--config={source}', f'--workdir={workdir}')
  several = [f'--coordinator=127.0.0.1:{port}', f'--num_processes={processes}']
  begun = []
  for process in range(processes):
    which = [*several, f'--process_id={process}'] if processes > 1 else []
    with open(f'{workdir}.{process}', 'w') as output:
      begun.append(
        subprocess.Popen(
          [*train, *which],
          env={**shared, **environments[process]},
          stdout=output,
          stderr=subprocess.STDOUT,
        )
      )
  return begun


def run(workdir, **settings):
  """A whole run of several processes, or one."""
  begun = start(workdir, **settings)
  codes = [process.wait() for process in begun]
  assert not any(codes), said(workdir, codes.index(max(codes)))
  return workdir


def said(workdir, process):
  return pathlib.Path(f'{workdir}.{process}').read_text()


def assert_same(one, other, tolerance):
  """Metrics, samples and parameters; leaves to `tolerance` of their norm."""
  assert files.read_jsonl(one / 'samples.jsonl') == files.read_jsonl(other / 'samples.jsonl')
  first, second = (without_times(metrics.read_metrics(d)) for d in (one, other))
  for a, b in zip(first, second, strict=True):
    assert a.keys() == b.keys()
    for name in a.keys() - {'rollout/capacity'}:  # capacity is of a layout for the hosts
      if isinstance(b[name], float):
        # What the sampler records is float32, and metrics of it are.
        rel = max(100 * tolerance, 1e-5)
        assert a[name] == pytest.approx(b[name], rel=rel, abs=tolerance, nan_ok=True), name
      else:
        assert a[name] == b[name], name
  for a, b in zip(*(jax.tree.leaves(checkpoint.load_params(d)) for d in (one, other)), strict=True):
    assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


def ended(begun, seconds):
  """The exit codes; what still runs after some seconds is killed, and the test fails."""
  try:
    return [process.wait(seconds) for process in begun]
  finally:
    for process in begun:
      process.kill()


def wait_for_checkpoint(workdir, begun, number):
  while not (workdir / 'checkpoints' / 'state' / str(number)).exists():
    assert all(process.poll() is None for process in begun), said(workdir, 0)
    time.sleep(0.05)
