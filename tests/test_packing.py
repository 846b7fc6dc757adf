"""Packing: every token of every sample stands in a row exactly once, in one minibatch a group."""

import jax
import numpy as np
import pytest
from rollouts import random_rollout

from rljax.data.demonstrations import as_rollout
from rljax.data.packing import TOKEN_DTYPES, CapacityError, make_layout, pack


@pytest.mark.parametrize('minibatches', [1, 2, 3])
@pytest.mark.parametrize('packed', [True, False])
def test_every_sample_stands_once(packed, minibatches):
  rollout, rewards = random_rollout(3, ragged_groups=True)
  n = len(rewards)
  layout = make_layout(
    samples=24, group_size=4, max_length=20, rows=2, row_length=48, packed=packed,
    minibatches=minibatches,
  )
  batch, capacity = pack(rollout, rewards, layout)
  assert 0 < capacity <= 1
  rows = batch.tokens.reshape(-1, 48)
  segments = batch.segment_ids.reshape(-1, 48)
  sample_ids = batch.sample_ids.reshape(len(rows), -1)
  assert sorted(sample_ids[sample_ids >= 0]) == list(range(n))
  for row, segment in np.argwhere(sample_ids >= 0):
    sample = sample_ids[row, segment]
    slots = segments[row] == segment
    count = rollout.num_tokens[sample]
    assert slots.sum() == count
    np.testing.assert_array_equal(rows[row, slots], rollout.tokens[sample, :count])
    positions = batch.positions.reshape(-1, 48)[row, slots]
    np.testing.assert_array_equal(positions, np.arange(count))
    assert batch.sample_slots[sample] == row * layout.samples_per_row + segment
    if not packed:
      assert segment == 0
  assert (batch.sample_slots[n:] == -1).all() and (batch.group_ids[n:] == -1).all()
  where = sample_ids.reshape(minibatches, -1)
  for group in np.unique(rollout.group_ids):
    members = np.flatnonzero(rollout.group_ids == group)
    assert sum(np.isin(members, part).any() for part in where) == 1
  used = (segments >= 0).any(axis=1).reshape(minibatches, -1, layout.rows).any(axis=2)
  np.testing.assert_array_equal(used.sum(axis=1), batch.num_micro)


def test_layout_always_holds_what_it_promises():
  for seed in range(20):
    rollout, rewards = random_rollout(seed, prompts=8, group=4, length=30)
    layout = make_layout(samples=32, group_size=4, max_length=30, rows=2, minibatches=2)
    pack(rollout, rewards, layout)


def lengthened(rollout, lengths):
  """The rollout with samples of other lengths, as far as packing looks at them."""
  shape = (len(lengths), max(lengths))
  tokens = np.zeros(shape, np.int32)
  empty = {name: tokens.astype(getattr(rollout, name).dtype) for name in TOKEN_DTYPES}
  return rollout.replace(num_tokens=np.array(lengths, np.int32), **empty)


@pytest.mark.parametrize('whole_groups', [False, True])
def test_capacity_holds_groups_of_any_sizes_and_lengths(whole_groups):
  """Up to the longest of all: never an error, and no group in two micro-batches."""
  rng = np.random.default_rng(0)
  for trial in range(60):
    group, prompts, longest = rng.integers(1, 7), rng.integers(1, 9), int(rng.integers(7, 40))
    rollout, _ = random_rollout(trial, prompts=prompts, group=group + 1, length=22)
    keep = rollout.sample_index < rng.integers(1, group + 1, prompts)[rollout.group_ids]
    if trial % 3:
      keep = rollout.sample_index < group
    rollout = jax.tree.map(lambda x, keep=keep: x[keep], rollout)
    n, k = len(rollout.group_ids), int(rng.integers(1, prompts + 1))
    lengths = rng.integers(1, longest + 1, n) if trial % 2 else np.full(n, longest)
    rows = int(rng.integers(1, 6))
    length = longest + int(rng.integers(0, 2 * longest)) if trial % 5 else 0
    sizes = dict(samples=prompts * group, group_size=group, max_length=longest, minibatches=k)
    if whole_groups and rows < group:
      rows = group
    layout = make_layout(**sizes, rows=rows, row_length=length, whole_groups=whole_groups)
    batch, _ = pack(lengthened(rollout, lengths), np.zeros(n), layout)
    owners = np.where(batch.sample_ids >= 0, batch.group_ids[batch.sample_ids], -1)
    pieces = owners.reshape(k if not whole_groups else k * layout.micro_batches, -1)
    for g in np.unique(rollout.group_ids):
      assert np.any(pieces == g, axis=1).sum() == 1
    there = (owners >= 0).any(axis=(2, 3)).sum(axis=1)
    np.testing.assert_array_equal(there, batch.num_micro)


def test_a_group_that_cannot_stay_together_is_an_error():
  sizes = dict(samples=8, group_size=4, max_length=20, row_length=40, whole_groups=True)
  make_layout(**sizes, rows=2)
  with pytest.raises(ValueError, match='a group of 4 samples must stand in one micro-batch'):
    make_layout(**sizes, rows=1)
  rollout, rewards = random_rollout(0, prompts=2, group=4)
  larger = rollout.replace(group_ids=np.zeros(8, np.int32))  # a strategy that has made it so
  with pytest.raises(CapacityError, match='does not fit into the 2 rows of a micro-batch'):
    pack(lengthened(larger, [20] * 8), rewards, make_layout(**sizes, rows=2))


def test_arrays_of_a_method_land_where_they_belong():
  rollout, rewards = random_rollout(4, ragged_groups=True)
  n, shape = len(rewards), rollout.tokens.shape
  rng = np.random.default_rng(0)
  extras = {
    'turn_ids': rng.integers(0, 3, shape),
    'score': rng.normal(size=shape),
    'right': rng.random(shape) < 0.5,
    'token_rewards': rng.integers(0, 2, shape),
    'baseline_rewards': rng.normal(size=n),
    'vectors': rng.normal(size=(n, 3)),
    'is_external': rng.random(n) < 0.5,
    'role_ids': rng.integers(0, 2, n),
  }
  layout = make_layout(
    samples=24, group_size=4, max_length=20, rows=3, row_length=48, minibatches=2
  )
  batch, _ = pack(rollout, rewards, layout, extras=extras, components={'length': rewards + 1})
  assert {*batch.extras} == {'turn_ids', 'score', 'right', 'baseline_rewards', 'vectors'}
  nothing = {'turn_ids': -1, 'score': 0, 'right': False, 'token_rewards': 0}
  packed = {**batch.extras, 'token_rewards': batch.token_rewards}
  assert packed['turn_ids'].dtype == np.int32
  assert packed['token_rewards'].dtype == packed['score'].dtype == np.float32
  there = batch.segment_ids >= 0
  for name, fill in nothing.items():
    assert packed[name].shape == batch.tokens.shape
    assert np.all(packed[name][~there] == fill)
    for sample in range(n):
      place = np.unravel_index(batch.sample_slots[sample], batch.sample_ids.shape)
      own = batch.segment_ids[place[:3]] == place[3]
      found = packed[name][place[:3]][own]
      expected = extras[name][sample, : rollout.num_tokens[sample]]
      np.testing.assert_array_equal(found, expected.astype(found.dtype))
  samples = {**batch.extras, 'is_external': batch.is_external, 'role_ids': batch.role_ids}
  for name in ('baseline_rewards', 'vectors', 'is_external', 'role_ids'):
    np.testing.assert_array_equal(samples[name][:n], extras[name])
    assert len(samples[name]) == 24 and not np.any(samples[name][n:])
  np.testing.assert_array_equal(batch.reward_components['length'][:n], rewards + 1)


def test_errors_name_the_knob():
  rollout, rewards = random_rollout(0)
  with pytest.raises(ValueError, match=r'row_length is 10 tokens.*20'):
    make_layout(samples=24, group_size=4, max_length=20, row_length=10)
  with pytest.raises(ValueError, match='cannot be cut into 9 minibatches'):
    make_layout(samples=24, group_size=4, max_length=20, minibatches=9)
  layout = make_layout(samples=8, group_size=4, max_length=20)
  with pytest.raises(CapacityError, match=r'24 samples.*8'):
    pack(rollout, rewards, layout)
  short = make_layout(samples=24, group_size=4, max_length=8, row_length=8)
  with pytest.raises(CapacityError, match='row_length'):
    pack(rollout, rewards, short)


def test_demonstrations_have_loss_on_the_completion_alone():
  rollout = as_rollout([[1, 2], [3]], [[4, 5, 6], [7, 0]], length=6, prompt_ids=[10, 11])
  np.testing.assert_array_equal(rollout.tokens, [[1, 2, 4, 5, 6, 0], [3, 7, 0, 0, 0, 0]])
  expected = [[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0]]
  np.testing.assert_array_equal(rollout.action_mask, np.array(expected, bool))
  with pytest.raises(ValueError, match='prompt 10 has 5 tokens; max_length allows 4'):
    as_rollout([[1, 2], [3]], [[4, 5, 6], [7, 0]], length=4, prompt_ids=[10, 11])
