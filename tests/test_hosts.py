"""Runs of two real processes: they give what one process gives, and none waits for ever."""

import dataclasses
import json
import re
import signal
import socket
import types

import jax
import numpy as np
import pytest
from host_runs import FIVE, SHORT, assert_same, ended, run, said, start, wait_for_checkpoint
from tiny_runs import merge

from rljax import hosts, interruptions, metrics, rollouts, shares
from rljax.checkpoint.records import decode, encode
from rljax.data import packing
from rljax.data.demonstrations import as_rollout
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer
from rljax.rewards.shared import SharedScorer
from rljax.rollouts.level import level
from rljax.stages import several, waiting
from rljax.stages.stage import Collected

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


def where_it_stands(batch, sample, layout):
  """Tokens of a sample in a whole batch."""
  place = int(batch.sample_slots[sample])
  line, segment = divmod(place, layout.samples_per_row)
  rows = batch.tokens.reshape(-1, layout.row_length)
  return rows[line][batch.segment_ids.reshape(rows.shape)[line] == segment].tolist()


@pytest.mark.parametrize('hosts_before', [1, 2])
def test_a_rollout_that_waits_goes_on_with_other_hosts(hosts_before):
  rng = np.random.default_rng(0)
  rollout = as_rollout(
    [rng.integers(1, 9, 3).tolist() for _ in range(6)],
    [rng.integers(1, 9, rng.integers(1, 9)).tolist() for _ in range(6)],
    length=12, prompt_ids=range(6),
  ).replace(group_ids=np.repeat(np.arange(3), 2).astype(np.int32))  # fmt: skip
  sizes = dict(samples=6, group_size=2, max_length=12, rows=2, row_length=16, minibatches=1)
  two = [
    packing.make_layout(**sizes, shares=shares.Shares(((0,), (1,)), own)) for own in (0, 1)
  ]
  one = packing.make_layout(**sizes)
  assert (one.micro_batches, two[0].micro_batches) == (3, 4)
  before, after = (([one], two), (two, [one]))[hosts_before - 1]
  rewards = np.arange(6, dtype=np.float32)
  whole = joined([packing.pack(rollout, rewards, layout)[0] for layout in before])
  record = decode(encode(waiting.to_record([(4, Collected(whole, {'a': 1.0}, []))], lambda b: b)))
  found = [waiting.from_record(record, layout)[0] for layout in after]
  assert {(drawn, c.metrics['a']) for drawn, c in found} == {(4, 1.0)}
  batch = joined([collected.batch for _, collected in found])
  assert batch.tokens.shape == (1, after[0].micro_batches, 2, 16)
  for sample in range(6):
    expected = where_it_stands(whole, sample, before[0])
    assert expected == rollout.tokens[sample, : rollout.num_tokens[sample]].tolist()
    assert where_it_stands(batch, sample, after[0]) == expected
  full = dataclasses.replace(after[0], micro_batches=1)
  with pytest.raises(packing.CapacityError, match='go on with the number of processes'):
    waiting.from_record(record, full)


def joined(batches):
  """The batch of all hosts."""
  return jax.tree.map(
    lambda *x: np.concatenate(x, axis=2) if x[0].ndim >= 4 else x[0], *batches
  )


def test_one_process_says_everything_to_itself():
  assert hosts.count() == 1 and hosts.is_first()
  with hosts.together():
    hosts.meet('nothing')
    assert hosts.agree({'a': [1]}, 'a value') == {'a': [1]}
    np.testing.assert_array_equal(hosts.total([1, 2], 'a sum'), [1, 2])
  with pytest.raises(ValueError, match='--num_processes, --process_id'):
    hosts.start('127.0.0.1:1')


@pytest.mark.parametrize(
  ('node', 'message'),
  [
    (
      dict(kind='rehearsal'),
      "rl: kind='rehearsal' is for one process, and there are 2; run it on the devices of one "
      'host, or take one of the kinds rl, distill, interleaved, masked_rl',
    ),
    (dict(prompts=3), 'prompts=3 must be a multiple of the 2 hosts'),
    (dict(prompts=2, samples=1), 'prompts × samples = 2 of data × fsdp = 8'),
  ],
)
def test_what_is_for_one_process_is_refused(monkeypatch, node, message):
  monkeypatch.setattr(hosts, 'count', lambda: 2)
  node = types.SimpleNamespace(
    **{**dict(kind='rl', prompts=4, samples=4), **node}
  )
  world = types.SimpleNamespace(
    shares=shares.Shares(((0,), (1,))),
    mesh=types.SimpleNamespace(shape={'data': 1, 'fsdp': 8}),
  )
  strategy = types.SimpleNamespace(name='rollouts.single_turn', function=rollouts.single_turn)
  stage = types.SimpleNamespace(name='rl', node=node, world=world, strategy=strategy)
  with pytest.raises(ValueError, match=re.escape(message)):
    several.check_hosts(stage)
  node.kind, strategy.function, strategy.name = 'rl', rollouts.streamed, 'rollouts.streamed'
  with pytest.raises(ValueError, match=r'is for one process.*take rollouts\.single_turn, '):
    several.check_hosts(stage)


def test_all_rewards_have_a_bound(monkeypatch):
  monkeypatch.setenv('VERIFIER', 'hangs')
  completions = [Completion(Prompt('p', 0), (1,), 'abc', False, sample_index=i) for i in range(3)]
  with Scorer('host_parts.hanging', workers=1, cpu_seconds=100, seconds=3) as scorer:
    found = scorer.score(completions)
    assert np.isnan(found.rewards).all() and (found.timeouts, found.errors) == (3, 0)
    assert list(found.messages) == ['over the time limit of all rewards']


def test_one_host_sees_what_all_have_said(monkeypatch):
  there = {1: [[2, 2], 'bb', '', '', {'turns': 2}]}
  said = {'what all have said': {'said': np.asarray(json.dumps(there))}}
  said['rewards'] = dict(here=np.zeros(0, int), rewards=np.zeros(0), counts=[0, 0], messages='{}')
  monkeypatch.setattr(hosts, 'count', lambda: 2)
  monkeypatch.setattr(hosts, 'exchange', lambda arrays, what: [arrays, said[what]])
  completions = [
    Completion(Prompt('p', 0), (1,), 'bb', False),
    Completion(Prompt('p', 0), (), '', False, draw_id=1, is_here=False),
    Completion(Prompt('p', 0), (1, 1, 1), 'c', False, draw_id=2),
  ]
  with SharedScorer('host_parts.agreement', workers=0) as scorer:
    found = scorer.score(completions)
  np.testing.assert_allclose(found.rewards, [2.1, 2.2, 1.3], rtol=1e-6)


# -- runs


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
@pytest.mark.parametrize(
  ('how', 'who', 'then'), [(signal.SIGKILL, 1, 2), (signal.SIGINT, 1, 1), (signal.SIGKILL, 0, 1)]
)
def test_killed_and_continued(tmp_path, whole, how, who, then):
  config = merge(FIVE, dict(checkpoint_every=1, hosts=dict(seconds=120.0, silence=20.0)))
  begun = start(tmp_path / 'w', x64=True, **config)
  wait_for_checkpoint(tmp_path / 'w', begun, 5)
  begun[who].send_signal(how)
  codes = ended(begun, 300)
  told = said(tmp_path / 'w', 1 - who)
  if how == signal.SIGINT:  # both end the same iteration and save it
    assert codes == [interruptions.STATUS] * 2 and 'is saved' in told
  else:
    assert codes[1 - who] != 0
    assert who == 0 or f'process 1 on {socket.gethostname()}' in told
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
