"""One config, unchanged, from one device to a TPU that is not there."""

import os
import subprocess
import sys

import pytest
from host_runs import CONFIG, SHORT, assert_same, said, start

PLACES = {
  'one device': dict(processes=1, devices=1),
  'eight devices': dict(processes=1),
  'two processes': dict(processes=2),
}
# No change to the config but where things stand.
DIVIDED = dict(mesh=dict(fsdp=2, tensor=2, sequence=2), rules=dict(policy=dict(name='rules.ep')))


@pytest.mark.thorough
def test_one_device_eight_devices_two_processes(tmp_path):
  begun = {name: start(tmp_path / name, **place, **SHORT) for name, place in PLACES.items()}
  begun['divided'] = start(tmp_path / 'divided', **SHORT, **DIVIDED)
  for name, processes in begun.items():
    codes = [process.wait() for process in processes]
    assert not any(codes), said(tmp_path / name, codes.index(max(codes)))
  first, *others = (tmp_path / name for name in begun)
  for other in others:
    assert_same(other, first, 1e-5)
  devices = [said(tmp_path / name, 0).splitlines()[1] for name in PLACES]
  assert [line.split()[1] for line in devices] == ['1', '8', '8']
  assert ['on 2 hosts' in line for line in devices] == [False, False, True]
  printed = ['trains' in said(tmp_path / 'two processes', process) for process in (0, 1)]
  assert printed == [True, False]


@pytest.mark.slow
def test_the_same_config_compiles_for_a_tpu(tmp_path):
  pytest.importorskip('libtpu', reason="pip install 'rljax[tpu-plan]'")
  source = tmp_path / 'given.py'
  source.write_text(CONFIG.format(SHORT))
  # A process of its own: the compiler for TPUs ends one that has flags for CPUs.
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  environment |= {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': os.pathsep.join(sys.path)}
  command = [sys.executable, '-m', 'rljax', 'plan', f'--config={source}', '--topology=v5e:2x4']
  done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  assert all(f'| {name} ' in done.stdout for name in ('sampler', 'update')), done.stdout
