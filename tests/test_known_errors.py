"""The errors that the site lists: each is provoked, and its message is the one of the table."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import types
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import tiny_config

from rljax import (
  assembly,
  binding,
  config,
  devices,
  known_errors,
  models,
  out_of_memory,
  sampling,
  sharding,
  stages,
  tasks,
  tokenization,
  workdir,
)
from rljax.rewards import Scorer
from rljax.rollouts.measures import is_hopeless
from rljax.stages.trial import try_update
from rljax.train import train

SEEN = {
  'rollout/truncated': 0.0,
  'reward/mean': 1.0,
  'reward/std': 0.0,
  'group/size': 4,
  'group/zero_variance': 1.0,
}
PROCESS = """
import sys, time
from jaxlib import _jax

place, number = sys.argv[1], int(sys.argv[2])
service = _jax.get_distributed_runtime_service(place, 2) if number == 0 else None
client = _jax.get_distributed_runtime_client(place, number)
client.connect()
print('has joined', flush=True)
time.sleep(60)
"""
PROVOKED = {}


def provokes(name):
  """The function brings about the error of this entry, and raises or returns what is said."""

  def keep(function):
    PROVOKED[name] = function
    return function

  return keep


def pretend_idle_gpu(monkeypatch, distributions):
  monkeypatch.setattr(devices, 'hardware', lambda: 'gpu')
  monkeypatch.delenv('JAX_PLATFORMS')
  named = [types.SimpleNamespace(metadata={'Name': name}) for name in distributions]
  known = types.SimpleNamespace(version=metadata.version, distributions=lambda: named)
  monkeypatch.setattr(devices, 'metadata', known)
  devices.check_accelerator()


@provokes('The accelerator is not seen')
def _(monkeypatch, tmp_path):
  pretend_idle_gpu(monkeypatch, ['jax', 'jaxlib'])


@provokes('The plugin does not start')
def _(monkeypatch, tmp_path):
  pretend_idle_gpu(monkeypatch, ['jax', 'jaxlib', 'jax-cuda13-plugin'])


@provokes('No device at all')
def _(monkeypatch, tmp_path):
  def fail():
    raise RuntimeError("Unable to initialize backend 'cuda'")

  monkeypatch.setattr(jax, 'devices', fail)
  devices.check_accelerator()


@provokes('Out of memory')
def _(monkeypatch, tmp_path):
  settings = config.resolve(config.load('quickstart'))
  with out_of_memory.explained(settings) as held:
    held['parameters'] = {'w': jnp.zeros((256, 1024))}
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.')


@provokes('A prompt is longer than its limit')
def _(monkeypatch, tmp_path):
  sampling.make_requests(
    [[1] * 9],
    samples_per_prompt=1,
    draw_ids=[0],
    max_prompt=8,
    max_new_tokens=4,
    temperature=1.0,
    stop_ids=[0],
  )


@provokes('There is no chat template')
def _(monkeypatch, tmp_path):
  tokenization.byte_level().chat([{'role': 'user', 'content': 'hello'}])


@provokes('The end of a completion is never produced')
def _(monkeypatch, tmp_path):
  return is_hopeless([{**SEEN, 'rollout/truncated': 1.0}])


@provokes('All rewards of a group are equal')
def _(monkeypatch, tmp_path):
  return is_hopeless([SEEN])


@provokes('No completion could be scored')
def _(monkeypatch, tmp_path):
  return is_hopeless([{**SEEN, 'reward/mean': float('nan')}])


@provokes('The data are not there')
def _(monkeypatch, tmp_path):
  tasks.gsm8k(path=str(tmp_path))


def answer_of_hub(monkeypatch, error):
  import huggingface_hub

  def snapshot_download(name, **kwargs):
    raise error

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)
  models.local_directory('hf://owner/name')


@provokes('The model is gated')
def _(monkeypatch, tmp_path):
  errors = pytest.importorskip('huggingface_hub.errors')
  response = types.SimpleNamespace(headers={}, status_code=403, request=None)
  answer_of_hub(monkeypatch, errors.GatedRepoError('x', response=response))


@provokes('The hub cannot be reached')
def _(monkeypatch, tmp_path):
  errors = pytest.importorskip('huggingface_hub.errors')
  answer_of_hub(monkeypatch, errors.LocalEntryNotFoundError('x'))


@provokes('The work directory is taken')
def _(monkeypatch, tmp_path):
  with workdir.open_workdir(tmp_path / 'run', 'quickstart', {}, 0):
    with workdir.open_workdir(tmp_path / 'run', 'quickstart', {}, 0):
      pass


@provokes('The work directory is that of another config')
def _(monkeypatch, tmp_path):
  for seed in (0, 1):
    with workdir.open_workdir(tmp_path / 'run', 'quickstart', {'seed': seed}, seed):
      pass


@provokes('The reward cannot be sent to a worker')
def _(monkeypatch, tmp_path):
  import threading

  lock = threading.Lock()

  def reward(completion):
    with lock:
      return 1.0

  reward.__module__ = '__main__'
  Scorer(reward, workers=1)


@provokes('An axis of a weight is not divided by the mesh')
def _(monkeypatch, tmp_path):
  sharding.partition_spec('wq', ('heads',), (9,), sharding.make_mesh(fsdp=1, tensor=-1))


@provokes('The mesh does not fit the devices')
def _(monkeypatch, tmp_path):
  sharding.make_mesh(data=3, fsdp=1)


@provokes('Rows are not divided by the mesh')
def _(monkeypatch, tmp_path):
  sharding.batch_shardings({'tokens': np.zeros((1, 1, 3, 8))}, sharding.make_mesh(data=-1, fsdp=1))


@provokes('The first process is gone')
def _(monkeypatch, tmp_path):
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    place = f'127.0.0.1:{found.getsockname()[1]}'
  first = subprocess.Popen([sys.executable, '-c', PROCESS, place, '0'], stdout=subprocess.DEVNULL)
  options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  with subprocess.Popen([sys.executable, '-c', PROCESS, place, '1'], **options) as other:
    assert other.stdout.readline() == 'has joined\n'
    first.kill()
    _, said = other.communicate()
  first.wait()
  assert other.returncode == -signal.SIGABRT
  return said


@provokes('A hyper-parameter is not known')
def _(monkeypatch, tmp_path):
  binding.bind({'name': 'losses.clipped_surrogate', 'clip_hgih': 0.3})


def trained_with(monkeypatch, function):
  function.__module__ = 'my_loss'
  monkeypatch.setitem(sys.modules, 'my_loss', types.SimpleNamespace(loss=function))
  own = config.resolve(tiny_config(rl=dict(loss=dict(name='my_loss.loss'))))
  with contextlib.closing(assembly.assemble(own)) as world:
    try_update(stages.make_stage('rl', world))


@provokes('A function of your own fails')
def _(monkeypatch, tmp_path):
  def loss(logprobs, advantages):
    return (-logprobs, {}) if advantages.mean() > 0 else (logprobs, {})

  trained_with(monkeypatch, loss)


@provokes('A function of your own returns another shape')
def _(monkeypatch, tmp_path):
  trained_with(monkeypatch, lambda logprobs: (-logprobs.mean(), {}))


@pytest.mark.parametrize('known', known_errors.ERRORS, ids=lambda known: known.name)
def test_an_error_is_met_and_known(known, monkeypatch, tmp_path):
  try:
    said = PROVOKED[known.name](monkeypatch, tmp_path)
  except Exception as error:
    said = str(error)
  assert said and re.search(known.pattern, said), said
  assert known_errors.find(said) is known


def test_the_table_and_the_provocations_are_the_same():
  assert list(PROVOKED) == [known.name for known in known_errors.ERRORS]
  page = known_errors.page()
  for known in known_errors.ERRORS:
    assert f'## {known.name}\n' in page and known.cause in page and known.cure in page
  assert known_errors.find('all is well') is None


def test_out_of_memory_has_a_table_and_three_knobs():
  settings = config.resolve(config.load('quickstart'))
  with pytest.raises(out_of_memory.OutOfMemoryError) as caught:
    with out_of_memory.explained(settings) as held:
      held |= {'parameters': {'w': jnp.zeros((256, 1024))}, 'optimizer': jnp.zeros((512, 1024))}
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')
  said = str(caught.value)
  assert re.search(r'parameters +1\.0 MiB', said) and re.search(r'optimizer +2\.0 MiB', said)
  rows = settings.rl.rows
  assert said.count('--config.') == 3 and f'--config.rl.rows={rows // 2} ' in said
  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    with out_of_memory.explained(settings):
      raise jax.errors.JaxRuntimeError('INTERNAL: something else')


def test_a_run_without_memory_says_what_stands_there(monkeypatch, tmp_path):
  def program(self, shardings):
    def fail(*given):
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')

    return fail

  monkeypatch.setattr(stages.Stage, 'program', program)
  with pytest.raises(out_of_memory.OutOfMemoryError, match='out of memory') as caught:
    train(tiny_config(), workdir=str(tmp_path / 'run'))
  said = str(caught.value)
  assert all(f'  {kind} ' in said for kind in ('parameters', 'optimizer'))
