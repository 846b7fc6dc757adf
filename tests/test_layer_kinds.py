"""Layers of several kinds: one loop over them, soft caps, windows in the sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import GEMMA2, GEMMA3, SIZE, build, plain, tokens_of

from rljax import models, sharding
from rljax.logprobs import token_statistics
from rljax.models import layer_kinds
from rljax.models.layers import embed
from rljax.models.row_attention import cut_rows
from rljax.sampling import make_requests, sample_and_count
from rljax.structs import SamplerSettings

A, B, C = (layer_kinds.Kind(window, 1e4, None) for window in (1, 2, 3))


@pytest.mark.parametrize(
  ('kinds', 'period'),
  [([A] * 4, 1), ([A, B] * 2, 2), ([A, A, B, A, A], 3), ([A, B, C], 3), ([A], 1)],
)
def test_the_loop_over_layers_is_a_loop_over_layers(kinds, period):
  assert layer_kinds.period(kinds) == period
  with jax.enable_x64(True):
    inputs = {'w': jax.random.normal(jax.random.key(0), (len(kinds), 3, 3), float), 'none': None}

    def body(x, kind, part):
      x = jnp.tanh(part['w'] @ x * kind.window)
      return x, x[0]

    def by_hand(inputs, x):
      outs = []
      for i, kind in enumerate(kinds):
        x, out = body(x, kind, {'w': inputs['w'][i]})
        outs.append(out)
      return x, jnp.stack(outs)

    def loss(loop, inputs, x):
      x, outs = loop(inputs, x)
      return jnp.sum(x) + outs @ jnp.arange(1.0, len(kinds) + 1)

    x = jnp.arange(1.0, 4.0)
    loops = [
      lambda inputs, x, over=over: over(kinds, body, x, inputs)
      for over in (layer_kinds.over_layers, layer_kinds.over_constant_layers)
    ]
    for loop in loops:
      for one, other in zip(loop(inputs, x), by_hand(inputs, x)):
        np.testing.assert_allclose(one, other, rtol=1e-12)
      found, wanted = (jax.grad(loss, argnums=1)(each, inputs, x) for each in (loop, by_hand))
      np.testing.assert_allclose(found['w'], wanted['w'], rtol=1e-10, atol=1e-14)


def test_a_window_leaves_blocks_out():
  """64 slots in blocks of 8: all tokens before need 36 pairs, the last eight 15."""
  positions = jnp.arange(64, dtype=jnp.int32)[None, :]
  counts = [
    int(cut_rows(0 * positions, None, positions, window=window, query_block=8).count)
    for window in (None, 8)
  ]
  assert counts == [36, 15]


def test_embeddings_are_scaled_by_a_rounded_number():
  config = models.DecoderConfig(
    vocab_size=2, d_model=2560, num_heads=8, scale_embeddings=True, compute_dtype='bfloat16'
  )
  x = embed(config, jnp.full((2, 2560), 5.0), jnp.zeros((1,), jnp.int32), 'scatter')
  assert x.dtype == jnp.bfloat16 and float(x[0, 0]) == 252  # 5 · 50.5, where 5 · 50.596 is 253


def test_gradients_through_both_soft_caps_and_both_kinds_of_layers():
  """Chunked log-probs, small blocks and recomputed layers against log_softmax; float64."""
  wide = dict(compute_dtype='float64', param_dtype='float64')
  with jax.enable_x64(True):
    whole, params = build(**GEMMA2, **wide)
    pieces = build(**GEMMA2, **wide, remat='full', query_block=5)[0]
    tokens = tokens_of(2, 14)
    mix = jax.random.normal(jax.random.key(0), (2, 2, 14), float)

    def chunked(params):
      found = token_statistics(
        pieces.unembed, pieces.head(params), plain(pieces, params, tokens), tokens, 0 * tokens,
        temperature=0.7, statistics=('logprobs', 'entropy'), chunk_size=5,
      )  # fmt: skip
      return jnp.sum(mix[0] * found['logprobs'] + mix[1] * found['entropy'])

    def simple(params):
      logits = whole.unembed(whole.head(params), plain(whole, params, tokens))
      logp = jax.nn.log_softmax(logits[:, :-1] / 0.7)
      chosen = jnp.take_along_axis(logp, tokens[:, 1:, None], axis=2)[..., 0]
      entropy = -jnp.sum(jnp.exp(logp) * logp, axis=-1)
      return jnp.sum(mix[0, :, 1:] * chosen + mix[1, :, 1:] * entropy)

    (one, found), (other, wanted) = (
      jax.jit(jax.value_and_grad(f))(params) for f in (chunked, simple)
    )
    np.testing.assert_allclose(one, other, rtol=1e-10)
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(wanted)):
      assert jnp.linalg.norm(b) > 0
      assert jnp.linalg.norm(a - b) <= 1e-10 * jnp.linalg.norm(b), path


def test_entropy_of_scores_with_a_cap_is_refused():
  policy, zero = models.decoder(**{**SIZE, **GEMMA2}), jnp.zeros((1, 3), jnp.int32)
  with pytest.raises(ValueError, match='attention_entropy is not known of scores with a soft cap'):
    policy.hidden({}, zero, segment_ids=zero, positions=zero, capture=('attention_entropy',))


def test_layers_of_both_kinds_on_a_mesh():
  mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
  wide = dict(compute_dtype='float64', param_dtype='float64')
  with jax.enable_x64(True):
    policy, params = build(**GEMMA2, **wide)
    tokens = tokens_of(4, 14)
    wanted = plain(policy, params, tokens)
    policy = sharding.on_mesh(models.decoder(**{**SIZE, **GEMMA2, **wide}), mesh)
    params = jax.device_put(params, sharding.policy_shardings(policy, mesh))
    found = jax.jit(lambda p, t: plain(policy, p, t))(params, tokens)
    np.testing.assert_allclose(found, wanted, atol=1e-10)


# -- in the sampler

LENGTH, NEW = 20, 12


def requests_of(count=12):
  """Prompts that are longer than the window, and that repeat themselves."""
  random = np.random.default_rng(0)
  prompts = [([*random.integers(1, 50, 3)] * 3)[: 6 + i % 3] for i in range(count)]
  return make_requests(
    prompts, samples_per_prompt=2, draw_ids=range(count), max_prompt=8, max_new_tokens=NEW,
    temperature=1.0, stop_ids=[9],
  )  # fmt: skip


@pytest.mark.parametrize(
  'fields',
  [pytest.param(GEMMA2, id='gemma2'), pytest.param(GEMMA3, id='gemma3')],
)
@pytest.mark.slow
def test_the_samplers_logprobs_are_the_trainers(fields):
  """Of a prompt longer than the window; layers scanned; int8 is near; guesses change nothing."""
  policy = models.decoder(**{**SIZE, **fields}, unroll_decode=False)
  params = build(**fields)[1]
  assert policy.init_cache(1, 4, 4)['given'][0]['k'][0].shape[0] == fields['num_layers']

  @jax.jit
  def draw(params, requests, settings):
    return sample_and_count(policy, params, requests, seed=1, settings=settings)

  @jax.jit
  def trainers(params, tokens, mask):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    segments = jnp.where(mask, 0, -1)
    hidden, _ = policy.hidden(params, tokens, segment_ids=segments, positions=positions)
    return token_statistics(
      policy.unembed, policy.head(params), hidden, tokens, segments, temperature=1.0
    )['logprobs']

  settings = SamplerSettings(length=LENGTH, slots=16, max_new_tokens=NEW)
  base, _ = jax.device_get(draw(params, requests_of(), settings))
  wanted = np.where(base.action_mask, trainers(params, base.tokens, base.mask), 0)
  assert base.action_mask.sum() > 150
  np.testing.assert_allclose(base.policy_logprobs, wanted, atol=1e-5)

  guessed, counts = jax.device_get(
    draw(params, requests_of(), settings.replace(speculate='lookup', num_draft=2))
  )
  assert counts.drafted > 0
  np.testing.assert_array_equal(guessed.tokens, base.tokens)
  np.testing.assert_allclose(guessed.policy_logprobs, base.policy_logprobs, atol=1e-5)

  int8, _ = jax.device_get(draw(params, requests_of(), settings.replace(cache_dtype='int8')))
  error = int8.policy_logprobs - trainers(params, int8.tokens, int8.mask)
  error = np.abs(error[int8.action_mask])
  assert 1e-5 < error.mean() < 0.02 and error.max() < 0.2
