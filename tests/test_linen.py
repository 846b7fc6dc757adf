"""A user's Linen module as a Policy: the seam of the adapter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rljax import models

VOCAB, WIDTH = 20, 16


class Tiny(nn.Module):
  """One layer of masked attention; logits, or hidden for an outer head."""

  logits: bool = True

  @nn.compact
  def __call__(self, tokens, positions, segment_ids):
    table = self.param('table', nn.initializers.normal(1.0), (VOCAB, WIDTH))
    x = table[tokens] + nn.Embed(32, WIDTH, name='places')(positions)
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    mask = same & (positions[:, None, :] <= positions[:, :, None])
    x = x + nn.MultiHeadDotProductAttention(num_heads=2)(x, x, mask=mask[:, None])
    dense = nn.Dense(
      WIDTH, kernel_init=nn.with_partitioning(nn.initializers.lecun_normal(), ('embed', 'mlp'))
    )
    x = x + nn.gelu(dense(x))
    return x @ table.T if self.logits else x


def from_hidden():
  return models.from_linen(
    Tiny(logits=False),
    head=lambda params: params['table'],
    unembed=lambda head, hidden: hidden @ head.T,
    value=lambda params, hidden: hidden.sum(axis=-1),
  )


@pytest.mark.parametrize('policy', [models.from_linen(Tiny()), from_hidden()], ids=['logits', 'h'])
def test_cache_functions_give_what_the_module_gives(policy):
  policy = policy._replace(
    **{name: jax.jit(getattr(policy, name)) for name in ('init', 'hidden', 'prefill', 'decode')}
  )
  params = policy.init(jax.random.key(0))
  assert isinstance(params['Dense_0']['kernel'], jax.Array)
  tokens = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (3, 9)), jnp.int32)
  positions = jnp.broadcast_to(jnp.arange(9), (3, 9))
  hidden, aux = policy.hidden(
    params, tokens, segment_ids=jnp.zeros((3, 9), jnp.int32), positions=positions
  )
  assert aux == {}
  expected = policy.unembed(policy.head(params), hidden)
  assert expected.shape == (3, 9, VOCAB)

  prompt, lengths = tokens.at[:, 4:].set(0)[:, :6], jnp.array([4, 4, 4])
  cache = policy.init_cache(2, 4, 5)
  _, cache = policy.prefill(params, cache, prompt[:2], jnp.zeros((2,), jnp.int32))
  cache = policy.take(cache, jnp.array([0, 1, 0]))
  other = policy.prefill(params, policy.init_cache(1, 4), prompt[2:], jnp.array([0]))[1]
  cache = policy.put(cache, jnp.array([2]), other)
  for step in range(4, 9):
    hidden, cache = policy.decode(params, cache, tokens[:, step], lengths + step - 4)
    logits = policy.unembed(policy.head(params), hidden)
    np.testing.assert_allclose(logits, expected[:, step], atol=1e-5)


def test_axes_come_from_the_metadata_of_the_module():
  policy = models.from_linen(Tiny())
  assert policy.axes['Dense_0']['kernel'] == ('embed', 'mlp')
  assert policy.axes['table'] == (None, None)
  given = {'table': ('vocab', None)}
  assert models.from_linen(Tiny(), given).axes is given


def test_values_and_messages():
  policy = from_hidden()
  params = policy.init(jax.random.key(0))
  assert policy.value(params, jnp.ones((2, 3, WIDTH))).shape == (2, 3)
  zeros = jnp.zeros((1, 2), jnp.int32)
  with pytest.raises(ValueError, match='prefix_ids'):
    policy.hidden(params, zeros, segment_ids=zeros, positions=zeros, prefix_ids=zeros)

  class Counting(nn.Module):
    @nn.compact
    def __call__(self, tokens, positions, segment_ids):
      self.variable('statistics', 'count', jnp.zeros, ())
      return jax.nn.one_hot(tokens, VOCAB)

  with pytest.raises(ValueError, match='Counting has collections statistics'):
    models.from_linen(Counting())
