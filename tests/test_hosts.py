"""Runs of two real processes: they give what one process gives, and none waits for ever."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest
from tiny_runs import flags_of_one_device, merge, without_times

from rljax import checkpoint, files, hosts, metrics, rollouts, shares
from rljax.data import packing
from rljax.data.demonstrations import as_rollout
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer
from rljax.rollouts.level import level
from rljax.stages import several

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


def start(workdir, *, processes=2, devices=8, x64=False, environments=({}, {}), **config):
  """The processes of a run, as a user starts them; they talk to files beside the work directory."""
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    port = found.getsockname()[1]
  source = pathlib.Path(f'{workdir}.py')
  source.write_text(CONFIG.format(config))
  count = f'--xla_force_host_platform_device_count={devices // processes}'
  environment = {
    **os.environ,
    'XLA_FLAGS': f'{flags_of_one_device()} {count}',
    'JAX_ENABLE_X64': str(int(x64)),
    'RLJAX_DATA': str(source.parent.parent),  # compiled programs
    'PYTHONPATH': os.pathsep.join([str(FOLDER), str(FOLDER.parent)]),
  }
  command = [sys.executable, '-m', 'rljax', 'train', f'--config={source}', f'--workdir={workdir}']
  several = [f'--coordinator=127.0.0.1:{port}', f'--num_processes={processes}']
  begun = []
  for process in range(processes):
    which = [*several, f'--process_id={process}'] if processes > 1 else []
    with open(f'{workdir}.{process}', 'w') as output:
      begun.append(
        subprocess.Popen(
          [*command, *which],
          env={**environment, **environments[process]},
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


# -- what is shared


def test_rows_of_shares():
  one = shares.Shares()
  np.testing.assert_array_equal(one.rows(6), np.arange(6))
  np.testing.assert_array_equal(one.deal(np.arange(6), np.ones(6, bool)), np.arange(6))
  two = shares.Shares(((0, 3), (1, 2)), own=1)
  assert two.rows(8).tolist() == [2, 3, 4, 5] and two.rows(8, 0).tolist() == [0, 1, 6, 7]
  draws, used = np.array([6, 6, 7, 7, 8, 8, 0, 0]), np.arange(8) < 6
  order = two.deal(draws, used)
  assert sorted(order) == list(range(8))
  assert {int(i) for i in order[two.rows(8, 0)]} == {0, 1, 4, 5}
  with pytest.raises(ValueError, match='must be a multiple of the 2 hosts'):
    two.deal(np.full(8, 4), np.ones(8, bool))
  with pytest.raises(ValueError, match='not divided by the 4 shards'):
    two.deal(np.arange(6), np.ones(6, bool))


def test_groups_are_level():
  groups, owners = np.repeat(np.arange(6), 2), np.repeat([0, 0, 0, 1, 0, 0], 2)
  found = level(owners, groups, np.repeat([0, 0, 0, 0, 1, 1], 2), 2)
  assert found.reshape(6, 2).tolist() == [[1, 1], [0, 0], [0, 0], [1, 1], [1, 1], [0, 0]]
  unused = np.where(groups > 3, -1, groups)
  assert level(owners, unused, np.zeros(12, int), 2)[:8].reshape(4, 2)[:, 0].tolist() == [
    1, 0, 0, 1,
  ]  # fmt: skip


def test_hosts_pack_what_one_packs():
  rng = np.random.default_rng(0)
  prompts = [rng.integers(1, 9, 3).tolist() for _ in range(8)]
  answers = [rng.integers(1, 9, rng.integers(1, 9)).tolist() for _ in range(8)]
  rollout = as_rollout(prompts, answers, length=12, prompt_ids=range(8))
  rollout = rollout.replace(group_ids=np.repeat(np.arange(4), 2).astype(np.int32))
  sizes = dict(samples=8, group_size=2, max_length=12, rows=4, row_length=16, minibatches=2)
  rewards, parts = np.arange(8, dtype=np.float32), []
  for own in (0, 1):
    layout = packing.make_layout(**sizes, shares=shares.Shares(((0,), (1,)), own))
    parts.append(packing.pack(rollout, rewards, layout)[0])
  first, second = parts
  np.testing.assert_array_equal(first.sample_slots, second.sample_slots)
  np.testing.assert_array_equal(first.num_micro, second.num_micro)
  ids = np.concatenate([part.sample_ids for part in parts], axis=2)
  tokens = np.concatenate([part.tokens for part in parts], axis=2)
  segments = np.concatenate([part.segment_ids for part in parts], axis=2)
  s = ids.shape[-1]
  for sample in range(8):
    place = int(first.sample_slots[sample])
    assert ids.reshape(-1)[place] == sample
    row, segment = tokens.reshape(-1, 16)[place // s], segments.reshape(-1, 16)[place // s]
    whole = [*prompts[sample], *answers[sample]]
    assert row[segment == place % s].tolist() == whole


def test_one_process_says_everything_to_itself():
  assert hosts.count() == 1 and hosts.is_first()
  with hosts.together():
    hosts.meet('nothing')
    assert hosts.agree({'a': [1]}, 'a value') == {'a': [1]}
    np.testing.assert_array_equal(hosts.total([1, 2], 'a sum'), [1, 2])
  with pytest.raises(ValueError, match='--num_processes, --process_id'):
    hosts.start('127.0.0.1:1')


@pytest.mark.parametrize(
  ('node', 'environment', 'message'),
  [
    (dict(kind='rehearsal'), None, "rl: kind='rehearsal' is for one process, and there are 2"),
    (dict(max_staleness=1), None, 'rl: max_staleness=1 is for one'),
    (dict(), 'an environment', 'rl: environment is for one'),
    (dict(prompts=3), None, 'prompts=3 must be a multiple of the 2 hosts'),
    (dict(prompts=2, samples=1), None, 'prompts × samples = 2 of data × fsdp = 8'),
  ],
)
def test_what_is_for_one_process_is_refused(monkeypatch, node, environment, message):
  monkeypatch.setattr(hosts, 'count', lambda: 2)
  node = types.SimpleNamespace(
    **{**dict(kind='rl', max_staleness=0, prompts=4, samples=4), **node}
  )
  world = types.SimpleNamespace(
    environment=environment,
    shares=shares.Shares(((0,), (1,))),
    mesh=types.SimpleNamespace(shape={'data': 1, 'fsdp': 8}),
  )
  strategy = types.SimpleNamespace(name='rollouts.single_turn', function=rollouts.single_turn)
  stage = types.SimpleNamespace(name='rl', node=node, world=world, strategy=strategy)
  with pytest.raises(ValueError, match=re.escape(message)):
    several.check_hosts(stage)
  strategy.function = rollouts.streamed
  strategy.name = 'rollouts.streamed'
  with pytest.raises(ValueError, match='is for one process'):
    several.check_hosts(stage)


def test_all_rewards_have_a_bound(monkeypatch):
  monkeypatch.setenv('VERIFIER', 'hangs')
  completions = [Completion(Prompt('p', 0), (1,), 'abc', False, sample_index=i) for i in range(3)]
  with Scorer('host_parts.hanging', workers=1, cpu_seconds=100, seconds=3) as scorer:
    found = scorer.score(completions)
    assert np.isnan(found.rewards).all() and (found.timeouts, found.errors) == (3, 0)
    assert list(found.messages) == ['over the time limit of all rewards']


# -- runs


@pytest.mark.thorough
def test_two_processes_give_what_one_gives(tmp_path):
  both = [start(tmp_path / name, processes=n, **SHORT) for name, n in (('two', 2), ('one', 1))]
  codes = [process.wait() for begun in both for process in begun]
  assert not any(codes), [said(tmp_path / n, p) for n, p in (('two', 0), ('two', 1), ('one', 0))]
  assert_same(tmp_path / 'two', tmp_path / 'one', 1e-5)
  printed = ['trains' in said(tmp_path / 'two', process) for process in (0, 1)]
  assert printed == [True, False]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The five iterations of one device."""
  folder = tmp_path_factory.mktemp('hosts')
  return run(folder / 'one', processes=1, devices=1, x64=True, **FIVE)


@pytest.mark.slow
def test_five_iterations(tmp_path, whole):
  run(tmp_path / 'eight', processes=1, x64=True, **FIVE)
  run(tmp_path / 'two', x64=True, **FIVE)
  assert_same(tmp_path / 'eight', whole, 1e-8)
  assert_same(tmp_path / 'two', whole, 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize('tensor', [4, 8])
def test_heads_over_the_devices_of_a_host_and_of_both(tmp_path, tensor):
  sizes = dict(num_heads=tensor, num_kv_heads=tensor)
  mesh = dict(data=8 // tensor, fsdp=1, tensor=tensor)
  changed = merge(FIVE, dict(mesh=mesh, model=sizes, sft=dict(iterations=1), rl=dict(iterations=2)))
  one = run(tmp_path / 'one', processes=1, x64=True, **changed)
  assert_same(run(tmp_path / 'two', x64=True, **changed), one, 1e-8)


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


@pytest.mark.slow
@pytest.mark.parametrize(
  ('how', 'who', 'then'), [(signal.SIGKILL, 1, 2), (signal.SIGINT, 1, 1), (signal.SIGKILL, 0, 1)]
)
def test_killed_and_continued(tmp_path, whole, how, who, then):
  config = merge(FIVE, dict(checkpoint_every=1, hosts=dict(seconds=120.0, silence=20.0)))
  begun = start(tmp_path / 'w', x64=True, **config)
  wait_for_checkpoint(tmp_path / 'w', begun, 5)
  begun[who].send_signal(how)
  codes = ended(begun, 300)
  assert codes[1 - who] != 0
  told = said(tmp_path / 'w', 1 - who)
  if who == 1:
    assert f'process 1 on {socket.gethostname()}' in told
  run(tmp_path / 'w', processes=then, x64=True, **config)
  assert_same(tmp_path / 'w', whole, 1e-8)


@pytest.mark.slow
def test_one_process_continued_by_two(tmp_path, whole):
  config = merge(FIVE, dict(checkpoint_every=1))
  begun = start(tmp_path / 'w', processes=1, x64=True, **config)
  wait_for_checkpoint(tmp_path / 'w', begun, 5)
  begun[0].kill()
  ended(begun, 60)
  run(tmp_path / 'w', x64=True, **config)
  assert_same(tmp_path / 'w', whole, 1e-8)


@pytest.mark.slow
def test_a_verifier_that_hangs_costs_its_samples(tmp_path):
  verifier = dict(reward='host_parts.hanging', workers=1, cpu_seconds=100.0)
  config = merge(SHORT, dict(rewards=verifier, hosts=dict(seconds=60.0, silence=30.0)))
  run(tmp_path / 'w', environments=({}, {'VERIFIER': 'hangs'}), **config)
  rows = [row for row in metrics.read_metrics(tmp_path / 'w') if 'reward/timeouts' in row]
  assert [row['reward/timeouts'] for row in rows] == [16, 16], 'those of one host of two'
  assert all(np.isfinite(row['reward/mean']) and row['reward/errors'] == 0 for row in rows)


@pytest.mark.slow
def test_a_host_that_does_not_come_is_named(tmp_path):
  config = merge(
    SHORT, dict(writers=('host_parts.Stuck',), hosts=dict(seconds=5.0, silence=60.0))
  )
  begun = start(tmp_path / 'w', **config)
  assert ended(begun[1:], 120) == [1]
  begun[0].kill()
  assert f'process 0 on {socket.gethostname()} has not come within 5 s' in said(tmp_path / 'w', 1)
