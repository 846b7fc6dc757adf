"""Meshes and rules: eight devices compute what one computes, and refusals name their reason."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from rljax import models, sharding, structs

SIZE = dict(vocab_size=48, num_layers=2, d_model=32, num_heads=4, num_kv_heads=4, d_ff=64)
POLICY = models.decoder(**SIZE, tie_embeddings=False, qkv_bias=True, value_head=True)


TOKENS = np.random.default_rng(0).integers(0, 48, (8, 10)).astype(np.int32)
SEGMENTS = np.repeat(np.array([[0] * 4 + [1] * 4 + [-1] * 2], np.int32), 8, axis=0)


def gradient(policy):
  """params, tokens, segment_ids -> ((loss, (hidden, logits)), gradient), compiled."""

  def loss(params, tokens, segment_ids):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden, _ = policy.hidden(params, tokens, segment_ids=segment_ids, positions=positions)
    logits = policy.unembed(policy.head(params), hidden)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1)), (hidden, logits)

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope='module')
def single():
  return gradient(POLICY)(jax.jit(POLICY.init)(jax.random.key(0)), TOKENS, SEGMENTS)


@pytest.mark.parametrize(
  'axes',
  [dict(), dict(data=8, fsdp=1), dict(fsdp=2, tensor=4), dict(data=2, fsdp=2, sequence=2)],
  ids=str,
)
def test_eight_devices_compute_what_one_computes(single, axes):
  mesh = sharding.make_mesh(**axes)
  params = sharding.init_params(POLICY, jax.random.key(0), mesh)
  rows = jax.device_put((TOKENS, SEGMENTS), sharding.row_sharding(mesh))
  (_, outputs), grads = gradient(sharding.on_mesh(POLICY, mesh))(params, *rows)
  (_, expected), expected_grads = single
  for a, b in zip(outputs, expected):
    np.testing.assert_allclose(a, b, atol=1e-5)
  for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(expected_grads)):
    assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b) + 1e-12


def collectives(compiled):
  """Shapes of the results of all collectives of a program."""
  kinds = 'all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute'
  lines = re.findall(rf'= (.*?) (?:{kinds})(?:-start)?\(', compiled.as_text())
  shapes = re.findall(r'[a-z]+\d+\[([\d,]*)\]', ' '.join(lines))
  return [tuple(int(n) for n in shape.split(',') if n) for shape in shapes]


def test_weights_travel_and_not_activations():
  """Under fsdp a layer gathers its weights; left alone, XLA sums activations of the batch."""
  mesh = sharding.make_mesh()
  rows, slots = 16, 24
  tokens = jax.ShapeDtypeStruct((rows, slots), jnp.int32, sharding=sharding.row_sharding(mesh))
  params = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    jax.eval_shape(POLICY.init, jax.random.key(0)),
    sharding.policy_shardings(POLICY, mesh),
  )

  def loss(policy, params, tokens):
    positions = jnp.broadcast_to(jnp.arange(slots), tokens.shape)
    hidden = policy.hidden(params, tokens, segment_ids=positions * 0, positions=positions)[0]
    return jnp.sum(hidden**2)

  def activations(policy):
    program = jax.jit(jax.grad(functools.partial(loss, policy))).lower(params, tokens).compile()
    return [s for s in collectives(program) if len(s) > 2 and s[1] == slots]

  assert activations(sharding.on_mesh(POLICY, mesh)) == []


def test_parameters_are_made_in_their_shards_and_do_not_depend_on_the_mesh():
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  params = sharding.init_params(POLICY, jax.random.key(0), mesh)
  jax.tree.map(
    np.testing.assert_array_equal, params, jax.jit(POLICY.init)(jax.random.key(0))
  )
  spec = jax.tree.map(lambda x: x.sharding.spec, params)
  assert spec['layers']['wq'] == P(None, 'fsdp', 'tensor', None)
  assert spec['layers']['w_down'] == P(None, 'tensor', 'fsdp')
  assert spec['layers']['bk'] == P(None, 'tensor', None)
  # Never on d_model: a head sharded there is gathered in every chunk of a log-prob.
  assert spec['embedding'] == spec['head'] == P(('tensor', 'fsdp'), None)
  assert params['head'].addressable_shards[0].data.shape == (6, 32)


@pytest.mark.parametrize(
  ('vocab', 'spec'), [(16, P(('tensor', 'fsdp'), None)), (6, P('tensor', None)), (7, P(None, None))]
)
def test_a_vocabulary_that_does_not_divide_shrinks_to_what_does(vocab, spec):
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  assert sharding.partition_spec('embedding', ('vocab', None), (vocab, 32), mesh) == spec


def test_decoding_on_eight_devices():
  """Rows of the cache are sharded like the rows of the batch."""
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  params = sharding.init_params(POLICY, jax.random.key(0), mesh)

  def decode(policy, params, tokens):
    cache = policy.init_cache(8, 11, 1)
    zeros = jnp.zeros((8,), jnp.int32)
    first, cache = policy.prefill(params, cache, tokens[:, :9], zeros)
    last, cache = policy.decode(params, cache, tokens[:, 9], zeros + 9)
    return jnp.concatenate([first, last[:, None]], axis=1), cache

  rows = jax.device_put(TOKENS, sharding.row_sharding(mesh))
  placed = jax.jit(functools.partial(decode, sharding.on_mesh(POLICY, mesh)))
  found, cache = placed(params, rows)
  assert cache['given'][0]['v'][0].addressable_shards[0].data.shape == (1, 2, 2, 11, 8)
  # Nothing of the cache is gathered: what travels of the rows is one token's activations.
  shapes = collectives(placed.lower(params, rows).compile())
  assert not [s for s in shapes if 11 in s]
  expected, _ = jax.jit(functools.partial(decode, POLICY))(
    jax.jit(POLICY.init)(jax.random.key(0)), TOKENS
  )
  np.testing.assert_allclose(found, expected, atol=1e-5)


# -- messages


def test_an_axis_that_does_not_divide_names_parameter_and_axis():
  mesh = sharding.make_mesh(fsdp=1, tensor=8)
  with pytest.raises(ValueError) as caught:
    sharding.policy_shardings(POLICY, mesh)
  message = str(caught.value)
  for words in ('layers/', "'heads'" if 'wq' in message else "'kv_heads'", '4', 'tensor=8'):
    assert words in message
  assert '\n' not in message
  whole = {**sharding.RULES, 'heads': None, 'kv_heads': None}
  sharding.policy_shardings(POLICY, mesh, whole)


def test_messages_of_rules():
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  with pytest.raises(ValueError, match="w: there is no rule for the axis 'width'"):
    sharding.partition_spec('w', ('width',), (8,), mesh)
  with pytest.raises(ValueError, match=r"w: the axis 'embed' uses mesh axis .* a second time"):
    sharding.partition_spec('w', ('embed', 'embed'), (8, 8), mesh)
  with pytest.raises(ValueError, match='w: 1 logical axes'):
    sharding.partition_spec('w', ('embed',), (8, 8), mesh)


def test_messages_of_meshes():
  with pytest.raises(ValueError, match=r'fsdp=-1 × tensor=3 does not fit 8 devices'):
    sharding.make_mesh(tensor=3)
  with pytest.raises(ValueError, match='only one axis may be -1, not data and fsdp'):
    sharding.make_mesh(data=-1)
  with pytest.raises(ValueError, match='at least 1'):
    sharding.make_mesh(tensor=0)
  assert sharding.make_mesh(devices=jax.devices()[:2]).shape['fsdp'] == 2


# -- batches


def test_batches():
  mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
  assert sharding.row_divisor(mesh) == 4
  fields = {name: np.zeros((3,), np.float32) for name in structs.Batch.__dataclass_fields__}
  fields |= {name: np.zeros((1, 2, 8, 16), np.float32) for name in ('tokens', 'advantages')}
  fields |= dict(reward_components={'a': fields['rewards']}, weights={'policy': fields['tokens']})
  fields |= dict(extras={})
  placed = sharding.shard_batch(structs.Batch(**fields), mesh)
  assert placed.tokens.sharding == sharding.batch_sharding(mesh)
  assert placed.weights['policy'].addressable_shards[0].data.shape == (1, 2, 2, 16)
  assert placed.rewards.sharding == placed.reward_components['a'].sharding
  assert placed.rewards.sharding == sharding.replicated(mesh)
  odd = structs.Batch(**{**fields, 'tokens': np.zeros((1, 2, 6, 16))})
  with pytest.raises(ValueError, match=r'batch.tokens: 6 rows .* data × fsdp × expert = 4'):
    sharding.shard_batch(odd, mesh)


def test_requests_are_sharded_where_they_divide():
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  found = sharding.request_shardings({'a': np.zeros((8, 3)), 'b': np.zeros(6), 'c': 0}, mesh)
  assert found['a'] == sharding.row_sharding(mesh)
  assert found['b'] == found['c'] == sharding.replicated(mesh)
