"""SIGTERM and SIGINT: what a run does with them, and that nothing is lost; notices of a VM."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from test_resume import assert_same_run
from tiny_runs import run, small_machine

from rljax import checkpoint, interruptions, metrics, notices

# Neither sleeps nor listens: only a thread can hear a signal while the main one is in there.
STUCK = """
import ctypes, os, signal, sys, threading, time
from rljax import interruptions

def twice():
  for _ in range(int(sys.argv[1])):
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

with interruptions.heard() as interruption:
  interruption.waits = True
  threading.Thread(target=twice, daemon=True).start()
  mutex = ctypes.create_string_buffer(256)
  system = ctypes.CDLL(None)
  system.pthread_mutex_lock(mutex)
  if sys.argv[1] == '1':
    time.sleep(1.0)
    print(interruption.is_due(), interruption.name)
  else:
    system.pthread_mutex_lock(mutex)  # for ever
"""


class Sender:
  """A writer of clu's interface that sends SIGTERM when it writes a certain row."""

  row = None

  def __init__(self, workdir):
    del workdir

  def write_scalars(self, row, scalars):
    del scalars
    if row == Sender.row:
      os.kill(os.getpid(), signal.SIGTERM)

  def flush(self):
    pass

  close = flush


def damage(states):
  """Flips bits of the newest checkpoint, in the middle of its largest file."""
  newest = max(states.iterdir(), key=lambda p: int(p.name))
  largest = max(newest.rglob('d/*'), key=lambda p: p.stat().st_size)
  content = bytearray(largest.read_bytes())
  for i in range(len(content) // 3, 2 * len(content) // 3):  # one alone may stand where nothing is
    content[i] ^= 1
  largest.write_bytes(content)
  return newest


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_an_exception_until_a_run_waits(number):
  before = signal.getsignal(number)
  with pytest.raises(interruptions.Interrupted, match=number.name):
    with interruptions.heard():
      signal.raise_signal(number)
  assert signal.getsignal(number) is before
  assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize(('times', 'status'), [('1', 0), ('2', interruptions.AT_ONCE)])
def test_a_second_ctrl_c_leaves_at_once_whatever_runs(times, status):
  done = subprocess.run([sys.executable, '-c', STUCK, times], capture_output=True, text=True)
  assert done.returncode == status, done.stderr
  assert 'SIGINT: ends the iteration, saves and leaves' in done.stderr
  if times == '1':
    assert done.stdout == 'True SIGINT\n'
  else:
    assert 'SIGINT again: leaves at once' in done.stderr


@pytest.mark.thorough
def test_sigterm_saves_the_iteration(tmp_path, tmp_path_factory, monkeypatch, capfd):
  """In each stage, between two checkpoints, of which the last is damaged afterwards.

  The run is then the one that was never stopped.
  """
  changes = dict(writers=('jsonl', 'test_interruptions.Sender'), checkpoint_every=100)
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    run(tmp_path / 'whole', **changes)
    for row, done, stage in ((2, 3, 'sft'), (8, 2, 'rl')):  # metrics are written an iteration late
      monkeypatch.setattr(Sender, 'row', row)
      said = f'SIGTERM: iteration {done} of stage {stage} is saved'
      with pytest.raises(interruptions.Interrupted, match=said):
        run(tmp_path / 'stopped', **changes)
      assert 'ends the iteration, saves and leaves' in capfd.readouterr().err
      last = metrics.read_metrics(tmp_path / 'stopped')[-1]
      assert (last['stage'], last['iteration']) == (stage, done)
      with checkpoint.Checkpointer(tmp_path / 'stopped' / 'checkpoints', read_only=True) as saved:
        assert saved.host()['done'] == done
    monkeypatch.setattr(Sender, 'row', None)
    newest = damage(tmp_path / 'stopped' / 'checkpoints' / 'state')
    capfd.readouterr()
    run(tmp_path / 'stopped', **changes)
    said = capfd.readouterr().out
    assert f'WARNING: checkpoint {newest}' in said and 'goes on from the one before it' in said
    assert len(list((tmp_path / 'stopped' / 'checkpoints' / 'damaged').iterdir())) == 1
  assert_same_run(tmp_path / 'whole', tmp_path / 'stopped')


# -- notices of a VM


class Metadata(http.server.BaseHTTPRequestHandler):
  """A metadata server: says of each key what `answers` hold, and counts what it was asked."""

  answers, asked, flavor = {}, 0, 'Google'

  def do_GET(self):
    key = self.path.removeprefix('/computeMetadata/v1/instance/')
    known = self.headers['Metadata-Flavor'] == 'Google' and key in self.answers
    self.send_response(200 if known else 404)
    self.send_header('Metadata-Flavor', self.flavor)
    self.end_headers()
    self.wfile.write(f'{self.answers.get(key, "")}\n'.encode())
    type(self).asked += 1

  def log_message(self, *_):
    pass

  @classmethod
  def wait_for_questions(cls, number=4):
    """Returns when all has been asked again, twice; or when nobody asks any more."""
    until = cls.asked + number
    while cls.asked < until and any(t.name == 'notices' for t in threading.enumerate()):
      time.sleep(0.005)


@pytest.fixture
def metadata(monkeypatch):
  """The class above, at work on a port of this machine, whose address the environment names."""
  with http.server.HTTPServer(('127.0.0.1', 0), Metadata) as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv(notices.SERVER, f'127.0.0.1:{server.server_port}')
    monkeypatch.setattr(notices, 'SECONDS', 0.05)
    monkeypatch.setattr(Metadata, 'answers', {'preempted': 'FALSE', 'maintenance-event': 'NONE'})
    yield Metadata
    server.shutdown()
    thread.join()


ENDS = 'TERMINATE_ON_HOST_MAINTENANCE'


@pytest.mark.parametrize(
  ('key', 'value', 'said'),
  [
    ('preempted', 'TRUE', 'this VM is preempted'),
    ('maintenance-event', ENDS, 'maintenance of its host ends this VM'),
    ('maintenance-event', 'MIGRATE_ON_HOST_MAINTENANCE', ''),
  ],
)
def test_a_notice_of_the_vm_is_a_sigterm(metadata, monkeypatch, capfd, key, value, said):
  with interruptions.heard() as interruption:
    interruption.waits = True
    metadata.wait_for_questions()
    assert not interruption.is_due()
    monkeypatch.setitem(metadata.answers, key, value)
    metadata.wait_for_questions()
    assert interruption.is_due() == bool(said)
  assert not any(t.name == 'notices' for t in threading.enumerate())
  told = capfd.readouterr().err
  assert (said in told and 'SIGTERM: ends the iteration, saves' in told) if said else not told


def test_a_maintenance_that_was_known_at_the_start_lets_the_run_go_on(metadata, capfd):
  metadata.answers['maintenance-event'] = ENDS
  del metadata.answers['preempted']  # of a VM that never is
  with interruptions.heard() as interruption:
    interruption.waits = True
    metadata.wait_for_questions(8)
    assert not interruption.is_due()
    metadata.answers['maintenance-event'] = 'NONE'
    metadata.wait_for_questions()
    metadata.answers['maintenance-event'] = ENDS
    metadata.wait_for_questions()
    assert interruption.is_due()
  assert capfd.readouterr().err.count('will end this VM; the run goes on') == 1


def test_what_is_no_metadata_server_is_said_and_left_alone(metadata, monkeypatch, capfd):
  monkeypatch.setattr(metadata, 'flavor', 'none')
  monkeypatch.setitem(metadata.answers, 'preempted', 'TRUE')
  with interruptions.heard() as interruption:
    interruption.waits = True
    metadata.wait_for_questions()
    assert not interruption.is_due()
  assert 'does not answer (200 OK); signals are heard still' in capfd.readouterr().err
  monkeypatch.delenv(notices.SERVER)
  monkeypatch.setattr(notices, '_PRODUCT', notices.pathlib.Path('/nowhere'))
  before = metadata.asked
  with interruptions.heard():
    assert not any(t.name == 'notices' for t in threading.enumerate())
  assert metadata.asked == before


class Taker(Sender):
  """A writer in whose row the VM is preempted; goes on when the run has asked for that."""

  def write_scalars(self, row, scalars):
    if row == 2:
      Metadata.answers['preempted'] = 'TRUE'
      Metadata.wait_for_questions()


def test_a_preempted_vm_saves_the_iteration(metadata, tmp_path, tmp_path_factory):
  changes = dict(writers=('jsonl', 'test_interruptions.Taker'), checkpoint_every=100)
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    with pytest.raises(interruptions.Interrupted, match='SIGTERM: iteration 3 of stage sft is sav'):
      run(tmp_path / 'taken', **changes)
  with checkpoint.Checkpointer(tmp_path / 'taken' / 'checkpoints', read_only=True) as saved:
    assert saved.host()['done'] == 3


WITHIN = """
import sys
from rljax import train
from rljax.metrics import compilations
train.PATIENCE, compilations.LOOK_SECONDS = 0.05, 0.01
from rljax.__main__ import main
sys.argv[1:] = ['train', '--config=quickstart', f'--workdir={sys.argv[1]}']
main()
"""


@pytest.mark.thorough
def test_ctrl_c_within_a_compilation_has_the_exit_code_of_any(tmp_path):
  environment = {**os.environ, 'RLJAX_DATA': str(tmp_path), 'JAX_PLATFORMS': 'cpu'}  # all compiles
  command = [sys.executable, '-c', WITHIN, str(tmp_path / 'run')]
  with subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
  ) as run:
    while line := run.stdout.readline():
      if line.startswith('compiling'):
        run.send_signal(signal.SIGINT)
        break
    _, said = run.communicate()
  assert run.returncode == interruptions.STATUS, said
  assert 'this goes on from there' in said
