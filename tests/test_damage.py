"""Damaged checkpoints are noticed; what a run then does is in test_interruptions."""

import pathlib
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import Stopped, Stopper, run, small_machine

from rljax import checkpoint
from rljax.checkpoint import fingerprints


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'int8', 'bool', 'uint32'])
def test_the_sum_is_the_same_on_devices_and_sees_each_bit(dtype):
  array = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(jnp.dtype(dtype))
  own = fingerprints.fingerprint(array)
  assert own == int(fingerprints._on_devices(jnp.asarray(array)))
  assert own == fingerprints.fingerprint(jnp.asarray(array))
  if dtype == 'bool':
    return
  flat = array.reshape(-1).view(np.uint8)
  for bit in range(8 * flat.size):
    flat[bit // 8] ^= 1 << bit % 8
    assert fingerprints.fingerprint(array) != own
    flat[bit // 8] ^= 1 << bit % 8
  assert fingerprints.fingerprint(array) == own


def test_long_arrays_are_summed_in_parts(monkeypatch):
  array = np.arange(100, dtype=np.float32)
  whole = fingerprints.fingerprint(array)
  monkeypatch.setattr(fingerprints, '_CHUNK', 7)
  assert fingerprints.fingerprint(array) == whole == int(fingerprints._on_devices(array))


def flip(path, place, bit=0):
  content = bytearray(path.read_bytes())
  content[place] ^= 1 << bit
  path.write_bytes(content)


def files_of(folder):
  return sorted(p for p in folder.rglob('*') if p.is_file() and p.stat().st_size)


def test_damage_is_never_read_as_something_else(tmp_path):
  """Random flips and cuts in all files: an error, or exactly what was saved."""
  tree = {'w': jnp.arange(300.0), 'key': jax.random.key(3), 'n': 4}
  chance, found = random.Random(0), {'damage': 0, 'harmless': 0}
  with checkpoint.Checkpointer(tmp_path) as saved:
    saved.save(1, tree, {'text': 'abc' * 50})
    saved.wait()
  kept = {p: p.read_bytes() for p in files_of(tmp_path / 'state' / '1')}
  # Once each byte of the values, as many others: metadata that nobody reads may be what it likes.
  for number in range(30):
    path = chance.choice(list(kept))
    if number % 3:
      flip(path, chance.randrange(len(kept[path])), chance.randrange(8))
    else:
      path.write_bytes(kept[path][: chance.randrange(len(kept[path]))])
    try:
      with checkpoint.Checkpointer(tmp_path, read_only=True) as reader:
        state, host = reader.restore(tree, 1)
    except checkpoint.CheckpointError:
      found['damage'] += 1
    else:
      found['harmless'] += 1
      np.testing.assert_array_equal(state['w'], tree['w'])
      assert jax.random.key_data(state['key']).tolist() == jax.random.key_data(tree['key']).tolist()
      assert host == {'text': 'abc' * 50} and state['n'] == 4
    path.write_bytes(kept[path])
  assert found['damage'] > 3, found


def test_the_only_checkpoint_stays_where_it_is(tmp_path, tmp_path_factory, monkeypatch):
  changes = dict(writers=('jsonl', 'tiny_runs.Stopper'), keep_checkpoints=1)
  monkeypatch.setattr(Stopper, 'row', 3)
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    with pytest.raises(Stopped):
      run(tmp_path / 'w', **changes)
    states = pathlib.Path(tmp_path / 'w' / 'checkpoints' / 'state')
    for path in files_of(states):
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(checkpoint.CheckpointError):
      run(tmp_path / 'w', **changes)
    assert len([p for p in states.iterdir() if p.name.isdigit()]) == 1
