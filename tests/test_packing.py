"""Packing: every token of every sample stands in a row exactly once, in one minibatch a group."""

import numpy as np
import pytest
from rollouts import random_rollout

from rljax.data.demonstrations import as_rollout
from rljax.data.packing import CapacityError, make_layout, pack


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
