"""Checkpoints: exact, on any mesh, through kills, with errors that name the leaf."""

import itertools
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from rljax import checkpoint, structs
from rljax.checkpoint import Checkpointer, CheckpointError


def make_state(width=8, seed=0):
  key = jax.random.key(seed)
  params = {'policy': {'w': jax.random.normal(key, (4, width)), 'blocks': {'b': jnp.ones(3)}}}
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
  return structs.TrainState(
    step=jnp.int32(7),
    params=params,
    opt_state={'policy': optimizer.init(params['policy'])},
    key=jax.random.key(seed + 1),
    method_state={'kl': {'coef': jnp.float32(0.1), 'none': None}, 'keys': jax.random.split(key)},
  )


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert x.dtype == y.dtype
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      x, y = jax.random.key_data(x), jax.random.key_data(y)
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


HOST = {
  'iteration': 3,
  'reward': float('nan'),
  'pair': (1, [2.5, None]),
  'counts': {7: 1, 'a': b'\x00\xff'},
  'rng': np.random.default_rng(0).bit_generator.state,
  'means': np.linspace(0, 1, 5, dtype=np.float32),
}


def test_a_clock_that_jumps_costs_no_checkpoint(tmp_path, monkeypatch):
  now, days = time.time, itertools.cycle([0.0, 1e8, -86400.0, 86400.0])
  monkeypatch.setattr(time, 'time', lambda: now() + next(days))
  with Checkpointer(tmp_path) as saver:
    for step in (1, 2):
      assert saver.save(step, make_state(), HOST)
      saver.wait()
    assert saver.steps() == [1, 2]


def test_state_and_host_come_back_exactly(tmp_path):
  state = make_state()
  with Checkpointer(tmp_path, keep=2) as saver:
    assert saver.latest() is None
    with pytest.raises(CheckpointError, match='no checkpoint in'):
      saver.restore(state)
    for step in (1, 2, 3):
      assert saver.save(step, state, {**HOST, 'iteration': step})
    assert not saver.save(3, state, {})
    saver.wait()
    assert saver.steps() == [2, 3]
  with Checkpointer(tmp_path) as reader:
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    for example in (state, abstract):
      restored, host = reader.restore(example)
      assert_equal(restored, state)
    assert not restored.step.committed
    assert host['iteration'] == 3 and np.isnan(host['reward']) and host['pair'] == (1, [2.5, None])
    assert host['counts'] == HOST['counts'] and host['rng'] == HOST['rng']
    np.testing.assert_array_equal(host['means'], HOST['means'])
    assert reader.restore(state, step=2)[1]['iteration'] == 2
    with pytest.raises(CheckpointError, match='no checkpoint 9 in'):
      reader.restore(state, step=9)


def test_buffers_may_be_donated_while_the_save_goes_on(tmp_path):
  update = jax.jit(lambda x: x + 1, donate_argnums=0)
  x = update(jnp.arange(2_000_000.0))
  with Checkpointer(tmp_path) as saver:
    saver.save(1, {'x': x}, {})
    for _ in range(20):
      x = update(x)
    x.block_until_ready()
    restored, _ = saver.restore({'x': jax.ShapeDtypeStruct(x.shape, x.dtype)})
  np.testing.assert_array_equal(restored['x'], np.arange(2_000_000) + 1)


def test_python_numbers_numpy_and_empty_arrays(tmp_path):
  state = {'n': 3, 'x': 0.5, 'a': np.arange(3), 'e': jnp.zeros((0, 2))}
  state['b'] = jnp.ones(2, 'bfloat16')
  with Checkpointer(tmp_path) as saver:
    saver.save(0, state, None)
    restored, host = saver.restore(state)
  assert host is None and restored['n'] == 3 and type(restored['n']) is int
  assert type(restored['a']) is np.ndarray and restored['e'].shape == (0, 2)
  assert restored['b'].dtype == jnp.bfloat16


def test_another_mesh(tmp_path):
  def mesh(shape):
    return jax.make_mesh(shape, ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2)

  first = NamedSharding(mesh((4, 2)), P('fsdp'))
  second = NamedSharding(mesh((2, 4)), P(None, 'fsdp'))
  x = jnp.arange(64.0).reshape(8, 8)
  keys = jax.random.split(jax.random.key(0), 8)
  with Checkpointer(tmp_path) as saver:
    saver.save(1, {'x': jax.device_put(x, first), 'k': jax.device_put(keys, first)}, {})
    one = jax.sharding.SingleDeviceSharding(jax.devices()[3])
    for sharding in (second, one):
      example = {
        'x': jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        'k': jax.ShapeDtypeStruct(
          keys.shape, keys.dtype, sharding=first if sharding is second else one
        ),
      }
      restored, _ = saver.restore(example)
      assert restored['x'].sharding.is_equivalent_to(sharding, 2) and restored['x'].committed
      assert_equal(restored, {'x': x, 'k': keys})


def test_another_shape_is_one_line_that_names_the_leaf(tmp_path):
  state = make_state()
  with Checkpointer(tmp_path) as saver:
    saver.save(5, state, {})
    with pytest.raises(CheckpointError) as error:
      saver.restore(make_state(width=16))
    message = str(error.value)
    assert 'params/policy/w has shape (4, 8) on disk, expected is (4, 16)' in message
    assert f'{tmp_path}/state/5' in message and '2 more leaves' in message and '\n' not in message
    more = state.replace(params={**state.params, 'value': {'w': jnp.ones(2)}})
    with pytest.raises(CheckpointError, match=r'has no params/value/w, .* shape \(2,\)'):
      saver.restore(more)
    with pytest.raises(CheckpointError, match='holds method_state/keys, which is not expected'):
      saver.restore(state.replace(method_state={'kl': state.method_state['kl']}))
    with pytest.raises(CheckpointError, match='step is int32 on disk, expected is float32'):
      saver.restore(state.replace(step=jnp.float32(0)))


def test_what_cannot_be_stored_is_named():
  with pytest.raises(CheckpointError, match=r"host\['a'\]\[1\]: .* cannot hold a Generator"):
    checkpoint.encode({'a': [1, np.random.default_rng(0)]})


def test_roles_are_saved_once_and_pruned(tmp_path):
  params = make_state().params['policy']
  with Checkpointer(tmp_path, keep=2) as saver:
    with pytest.raises(CheckpointError, match='needs role reference, version 0'):
      saver.save(1, params, {}, roles={'reference': 0})
    assert saver.save_role('reference', 0, params)
    assert not saver.save_role('reference', 0, jax.tree.map(jnp.zeros_like, params))
    for step in (1, 2):
      saver.save(step, params, {}, roles={'reference': 0})
    assert saver.roles() == {'reference': 0}
    saver.save_role('reference', 2, jax.tree.map(lambda x: x + 1, params))
    saver.save(3, params, {}, roles={'reference': 2})
    assert_equal(saver.restore_role('reference', 0, params), params)  # step 2 needs it
    saver.save(4, params, {}, roles={'reference': 2})
    saver.save(5, params, {}, roles={'reference': 2})
    with pytest.raises(CheckpointError, match='no version 0 of the role reference'):
      saver.restore_role('reference', 0, params)
    restored = saver.restore_role('reference', 2, params)
    assert_equal(restored, jax.tree.map(lambda x: x + 1, params))


def test_parameters_of_a_work_directory(tmp_path):
  state = make_state()
  with Checkpointer(tmp_path / checkpoint.FOLDER) as saver:
    saver.save(1, state, {})
  loaded = checkpoint.load_params(tmp_path)
  assert isinstance(loaded['w'], np.ndarray)
  assert_equal(loaded, state.params['policy'])
  half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, 'bfloat16'), state.params['policy'])
  loaded = checkpoint.load_params(tmp_path, example=half)
  assert loaded['w'].dtype == jnp.bfloat16
  with pytest.raises(CheckpointError, match=r'w has shape \(4, 8\) on disk, expected is \(4, 16\)'):
    checkpoint.load_params(tmp_path, example=make_state(width=16).params['policy'])
  with pytest.raises(CheckpointError, match="no role 'value'; there is policy"):
    checkpoint.load_params(tmp_path, 'value')
  with pytest.raises(CheckpointError, match='no checkpoint in'):
    checkpoint.load_params(tmp_path / 'other')
  assert not (tmp_path / 'other').exists()


KILLED = """
import os, signal, sys, time
import orbax.checkpoint  # once, before the forks
import numpy as np
for trial, delay in enumerate((0.0, 0.02, 0.1)):
  if os.fork() == 0:
    import jax.numpy as jnp
    from rljax.checkpoint import Checkpointer
    saver = Checkpointer(sys.argv[1], keep=2)
    step = (saver.latest() or 0) + 1
    if step == 1:
      saver.save(1, {'x': jnp.full(4_000_000, 1.0)}, {'step': 1})
      saver.wait()
      step = 2
    saver.save(step, {'x': jnp.full(4_000_000, float(step))}, {'step': step})
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)
  os.wait()
  print(sorted(os.listdir(sys.argv[1] + '/state')), flush=True)
"""


def test_kill_during_a_save_leaves_the_previous_one(tmp_path):
  environment = {**os.environ, 'XLA_FLAGS': ''}
  command = [sys.executable, '-W', 'ignore', '-c', KILLED, str(tmp_path)]
  seen = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert seen.stdout.count('[') == 3, seen.stderr
  assert '.orbax-checkpoint-tmp' in seen.stdout
  with Checkpointer(tmp_path) as saver:
    latest = saver.latest()
    restored, host = saver.restore({'x': jax.ShapeDtypeStruct((4_000_000,), 'float32')})
    assert host == {'step': latest} and latest >= 1
    assert (np.asarray(restored['x']) == latest).all()
    # What the kill left behind is removed beside other work, and before the next save.
    saver.save(latest + 1, restored, host)
    saver.wait()
    assert all(name.isdigit() for name in os.listdir(tmp_path / 'state'))


def test_a_role_waits_for_the_state_that_is_being_written(tmp_path, monkeypatch):
  """Of several processes, those that write two things at once meet at one barrier of orbax."""
  import orbax.checkpoint as ocp

  writing, manager = set(), ocp.CheckpointManager
  save, wait = manager.save, manager.wait_until_finished

  def noted_save(self, *given, **named):
    assert writing <= {self.directory}, f'{self.directory.name} meets {writing}'
    is_new = save(self, *given, **named)  # which waits for itself
    writing.add(self.directory)
    return is_new

  def noted_wait(self):
    wait(self)
    writing.discard(self.directory)

  monkeypatch.setattr(manager, 'save', noted_save)
  monkeypatch.setattr(manager, 'wait_until_finished', noted_wait)
  state = make_state()
  with Checkpointer(tmp_path) as saved:
    saved.save_role('reference', 1, state.params['policy'])
    saved.save(1, state, HOST, roles={'reference': 1})
    assert [folder.name for folder in writing] == ['state']  # and the role is whole
    saved.save_role('reward', 1, state.params['policy'])
    saved.save(2, state, HOST, roles={'reference': 1, 'reward': 1})
