"""A user's NNX module as a Policy."""

import inspect
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rljax import models, sharding

VOCAB, WIDTH = 20, 16


class Tiny(nnx.Module):
  """Two layers of masked attention, the embedding as head."""

  def __init__(self, rngs):
    self.table = nnx.Embed(VOCAB, WIDTH, rngs=rngs)
    self.places = nnx.Embed(32, WIDTH, rngs=rngs)
    heads = dict(num_heads=2, in_features=WIDTH, decode=False)
    self.attention = nnx.List([nnx.MultiHeadAttention(**heads, rngs=rngs) for _ in range(2)])
    named = nnx.with_partitioning(nnx.initializers.lecun_normal(), ('embed', 'mlp'))
    self.dense = nnx.Linear(WIDTH, WIDTH, kernel_init=named, rngs=rngs)

  def __call__(self, tokens, positions, segment_ids):
    x = self.table(tokens) + self.places(positions)
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    mask = same & (positions[:, None, :] <= positions[:, :, None])
    for attend in self.attention:
      x = x + attend(x, mask=mask[:, None])
    return self.table.attend(x + nnx.gelu(self.dense(x)))


POLICY = models.from_nnx(Tiny)
PARAMS = POLICY.init(jax.random.key(0))


def test_it_is_the_module_in_plain_jit():
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(PARAMS))
  with nnx.use_eager_sharding(False):
    module = Tiny(nnx.Rngs(3))
  params = nnx.to_pure_dict(nnx.state(module, nnx.Param))
  assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
  tokens = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (2, 6)), jnp.int32)
  zeros, positions = jnp.zeros((2, 6), jnp.int32), jnp.broadcast_to(jnp.arange(6), (2, 6))

  @jax.jit
  def of(params):
    hidden, aux = POLICY.hidden(params, tokens, segment_ids=zeros, positions=positions)
    assert aux == {}
    return POLICY.unembed(POLICY.head(params), hidden)

  np.testing.assert_allclose(of(params), module(tokens, positions, zeros), atol=1e-5)
  grads = jax.jit(jax.grad(lambda p: jax.nn.log_softmax(of(p))[..., 3].sum()))(params)
  assert all(np.any(x) for x in jax.tree.leaves(grads['dense']))


def test_the_past_is_read_again():
  tokens = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (1, 5)), jnp.int32)
  zeros, positions = jnp.zeros((1, 5), jnp.int32), jnp.arange(5)[None, :]
  expected, _ = POLICY.hidden(PARAMS, tokens, segment_ids=zeros, positions=positions)
  _, cache = POLICY.prefill(PARAMS, POLICY.init_cache(1, 4, 1), tokens[:, :4], jnp.array([0]))
  found, _ = POLICY.decode(PARAMS, cache, tokens[:, 4], jnp.array([4]))
  np.testing.assert_allclose(found, expected[:, 4], atol=1e-5)


def test_axes_come_from_the_metadata_of_the_module():
  assert POLICY.axes['dense']['kernel'] == ('embed', 'mlp')
  assert POLICY.axes['attention'][1]['query']['kernel'] == (None, None, None)
  mesh = sharding.make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4])
  params = sharding.init_params(POLICY, jax.random.key(0), mesh)
  assert tuple(params['dense']['kernel'].sharding.spec) == ('fsdp', 'tensor')
  jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


def test_adapters_fit_other_peoples_models():
  lora = models.lora(POLICY, rank=2, pattern='attention/.*/kernel', whole='table/.*')
  params = lora.policy.init(jax.random.key(0))
  assert params['policy']['attention/0/query/kernel']['up'].shape == (2, 2, 8)
  assert params['policy']['attention/0/out/kernel']['down'].shape == (2, 8, 2)
  assert 'table/embedding' in params['policy']
  jax.tree.map(np.testing.assert_array_equal, lora.merge(params), params['base'])


def test_messages():
  zeros = jnp.zeros((1, 2), jnp.int32)
  with pytest.raises(ValueError, match='prefix_ids'):
    POLICY.hidden(PARAMS, zeros, segment_ids=zeros, positions=zeros, prefix_ids=zeros)

  class Counting(Tiny):
    def __init__(self, rngs):
      super().__init__(rngs)
      self.norm = nnx.BatchNorm(WIDTH, rngs=rngs)

  with pytest.raises(ValueError, match='state besides parameters: BatchStat'):
    models.from_nnx(Counting)


def test_the_example_of_the_docstring():
  text = inspect.getdoc(models.from_nnx)
  example = text[text.index('  from flax') : text.index('A trained module')]
  known = {'jax': jax, 'models': models}
  exec(textwrap.dedent(example), known)
  assert known['params']['table']['embedding'].shape == (20, 20)
