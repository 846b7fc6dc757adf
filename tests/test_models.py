"""The decoder as a Policy: cache = training form, packing, padding, causality, precision."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import binding, models

LLAMA = dict(num_heads=4, num_kv_heads=2, rope_scaling=(4.0, 1.0, 4.0, 8.0), tie_embeddings=False)
QWEN = dict(num_heads=4, num_kv_heads=1, head_dim=12, qkv_bias=True, qk_norm=True)
WINDOWED = dict(num_heads=2, num_kv_heads=2, window=4)
# Five layers: local, global, local, global, local; the last one follows the scan.
GEMMA2 = dict(
  num_layers=5, num_heads=4, num_kv_heads=2, window=4, global_every=2, query_pre_attn_scalar=12.0,
  attention_softcap=2.0, logit_softcap=3.0, activation='gelu_tanh', norm_plus_one=True,
  post_norms=True, scale_embeddings=True,
)  # fmt: skip
GEMMA3 = GEMMA2 | dict(
  num_layers=4, global_every=3, attention_softcap=None, logit_softcap=None, qk_norm=True,
  local_rope_theta=100.0, rope_theta=5e3, rope_scaling=(8.0,),
)  # fmt: skip
KINDS = dict(llama=LLAMA, qwen=QWEN, windowed=WINDOWED, gemma2=GEMMA2, gemma3=GEMMA3)
SIZE = dict(vocab_size=50, num_layers=2, d_model=32, d_ff=48)
ROWS, LENGTH = 3, 14


def build(**fields):
  """A policy, its functions compiled, and parameters without zeros or ones."""
  policy = models.decoder(**{**SIZE, **fields})
  shapes = jax.eval_shape(policy.init, jax.random.key(0))
  random = np.random.default_rng(1)

  def leaf(path, x):
    norm = path[-1].key.endswith('norm')
    mean = norm and not fields.get('norm_plus_one')
    return jnp.asarray(mean + (0.1 if norm else 0.2) * random.standard_normal(x.shape), x.dtype)

  compiled = {name: jax.jit(getattr(policy, name)) for name in ('hidden', 'prefill', 'decode')}
  return policy._replace(**compiled), jax.tree.map_with_path(leaf, shapes)


def tokens_of(*shape, seed=2):
  return jnp.asarray(np.random.default_rng(seed).integers(0, 50, shape), jnp.int32)


def plain(policy, params, tokens):
  """Hidden states of rows that are one sample each."""
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  zeros = jnp.zeros(tokens.shape, jnp.int32)
  return policy.hidden(params, tokens, segment_ids=zeros, positions=positions)[0]


@pytest.mark.parametrize(
  'fields',
  [
    pytest.param(fields, marks=pytest.mark.thorough if name in ('llama', 'gemma3') else [])
    for name, fields in KINDS.items()
  ],
  ids=KINDS,
)
def test_cache_gives_the_hidden_states_of_training(fields):
  """Ragged prompts, right padded with garbage; then one token at a time from different places."""
  policy, params = build(**fields)
  tokens, lengths = tokens_of(ROWS, LENGTH), jnp.array([4, 7, 1])
  expected = plain(policy, params, tokens)
  prompts = jnp.where(jnp.arange(7)[None, :] < lengths[:, None], tokens[:, :7], 49)
  cache = policy.init_cache(ROWS, 10, 4)
  hidden, cache = policy.prefill(params, cache, prompts, jnp.zeros((ROWS,), jnp.int32))
  for row, length in enumerate(lengths):
    np.testing.assert_allclose(hidden[row, :length], expected[row, :length], atol=1e-5)

  # A second piece from where each row stands.
  piece = jnp.stack([tokens[r, n : n + 3] for r, n in enumerate(lengths)])
  hidden, cache = policy.prefill(params, cache, piece, lengths)
  for row, length in enumerate(lengths):
    np.testing.assert_allclose(hidden[row], expected[row, length : length + 3], atol=1e-5)

  def step(cache, positions):
    rows = jnp.arange(ROWS)
    hidden, cache = policy.decode(params, cache, tokens[rows, positions], positions)
    return cache, hidden

  places = lengths[None, :] + 3 + jnp.arange(4)[:, None]
  _, hidden = jax.lax.scan(step, cache, places)
  for i, row in np.ndindex(4, ROWS):
    np.testing.assert_allclose(hidden[i, row], expected[row, places[i, row]], atol=1e-5)


def test_prefill_never_writes_behind_the_end():
  policy, params = build()
  tokens = tokens_of(ROWS, LENGTH)
  starts = jnp.zeros((ROWS,), jnp.int32)
  _, cache = policy.prefill(params, policy.init_cache(ROWS, LENGTH), tokens, starts)
  _, after = policy.prefill(params, cache, tokens[:, :4], starts + LENGTH - 2)
  for before, now in zip(cache['given'], after['given']):
    np.testing.assert_array_equal(before['k'][0][..., :-2], now['k'][0][..., :-2])
    np.testing.assert_array_equal(before['v'][0][:, :, :, :-2], now['v'][0][:, :, :, :-2])


def test_decode_in_a_loop_copies_no_cache():
  policy, params = build(num_layers=8)
  rows, length = 64, 128
  cache = jax.eval_shape(lambda: policy.init_cache(rows, 4, length))

  def generate(params, cache, tokens):
    def body(state):
      position, tokens, cache = state
      hidden, cache = policy.decode(params, cache, tokens, jnp.full((rows,), position))
      logits = policy.unembed(policy.head(params), hidden)
      return position + 1, jnp.argmax(logits, axis=-1).astype(jnp.int32), cache

    return jax.lax.while_loop(lambda s: s[0] < length, body, (jnp.int32(0), tokens, cache))

  tokens = jax.ShapeDtypeStruct((rows,), jnp.int32)
  compiled = jax.jit(generate, donate_argnums=1).lower(params, cache, tokens).compile()
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(cache))
  memory = compiled.memory_analysis()
  assert memory.alias_size_in_bytes >= size
  assert memory.temp_size_in_bytes < size / 2  # neither of keys and values


def numbered(policy, rows, given, drawn=0):
  """A cache whose arrays hold the number of the row."""

  def leaf(x):
    axis = 1 if x.ndim > 2 else 0
    inner = (1,) * (x.ndim - axis - 1)
    return x * 0 + jnp.arange(rows).astype(x.dtype).reshape((1,) * axis + (rows, *inner))

  cache = policy.init_cache(rows, given, drawn)
  return {**jax.tree.map(lambda x: leaf(x) if x.ndim else x, cache), 'step': cache['step']}


def rows_of(cache):
  """For each array with rows, the number that stands in each row; all alike."""
  out = []
  for x in jax.tree.leaves({k: v for k, v in cache.items() if k != 'step'}):
    if x.size:
      flat = jnp.moveaxis(x, 1 if x.ndim > 2 else 0, 0).reshape(-1, x.size // x.shape[x.ndim > 2])
      assert bool(jnp.all(flat == flat[:, :1]))
      out.append(np.asarray(flat[:, 0]).tolist())
  assert len(out) > 2 and all(o == out[0] for o in out)
  return out[0]


def test_take_put_and_copy_move_rows():
  policy, _ = build()
  cache = numbered(policy, 4, 70, 5)
  taken = policy.take(cache, jnp.array([3, 1, 1]))
  assert rows_of(taken) == [3, 1, 1]
  put = policy.put(cache, jnp.array([2, -1, 4]), jax.tree.map(lambda x: x + 10, taken))
  assert rows_of(put) == [0, 1, 13, 3]
  moved = policy.copy(cache, jnp.array([9, 0, 3]), jnp.array([1, 2, 1]))
  assert rows_of(moved) == [2, 1, 2, 1]
  other = jax.tree.map(lambda x: x + 10, cache)
  named = policy.put(cache, jnp.array([1, 7]), other, jnp.array([3, 0]))
  assert rows_of(named) == [0, 13, 2, 3]


def test_a_row_from_a_smaller_cache_has_its_given_tokens_only():
  policy, _ = build()
  cache = numbered(policy, 3, 200, 5)
  other = jax.tree.map(lambda x: x + 10, numbered(policy, 1, 70))
  after = policy.put(cache, jnp.array([1]), other)
  stack = after['given'][0]
  assert [x.shape[4] for x in stack['k']] == [64, 64, 64, 8]
  whole = np.concatenate([np.asarray(x) for x in stack['v']], axis=3)[0, :, 0, :, 0]
  np.testing.assert_array_equal(whole[1], [10] * 70 + [1] * 130)
  np.testing.assert_array_equal(whole[[0, 2]], np.full((2, 200), [[0], [2]]))
  np.testing.assert_array_equal(after['drawn_at'], [[0] * 5, [-1] * 5, [2] * 5])


# -- rows of several samples


@pytest.mark.parametrize('fields', KINDS.values(), ids=KINDS)
def test_packed_rows_are_unpacked_rows(fields):
  policy, params = build(**fields)
  tokens = tokens_of(ROWS, LENGTH)
  alone = plain(policy, params, tokens)
  lengths = (6, 5, 3)
  pieces = [tokens[i, :n] for i, n in enumerate(lengths)]
  ids = [jnp.full((n,), i) for i, n in enumerate(lengths)]
  places = [jnp.arange(n) for n in lengths]
  padding = jnp.full((4,), 49)
  row = jnp.concatenate([*pieces, padding])[None, :]
  segments = jnp.concatenate([*ids, jnp.full((4,), -1)])[None, :]
  positions = jnp.concatenate([*places, jnp.zeros((4,), jnp.int32)])[None, :]
  out, aux = policy.hidden(params, row, segment_ids=segments, positions=positions)
  assert aux == {}
  start = 0
  for i, n in enumerate(lengths):
    np.testing.assert_allclose(out[0, start : start + n], alone[i, :n], atol=1e-5)
    start += n
  # Padding and the neighbours have no influence, not even in the last bit.
  garbage = jnp.where((segments == 1), row, 7)
  again, _ = policy.hidden(params, garbage, segment_ids=segments, positions=positions)
  np.testing.assert_array_equal(again[0, 6:11], out[0, 6:11])


@pytest.mark.parametrize('fields', [LLAMA, GEMMA2], ids=['llama', 'gemma2'])
def test_a_shared_prompt_is_a_prompt_of_its_own(fields):
  """Prompt once, two completions that see it by prefix_ids = two rows with the prompt each."""
  policy, params = build(**fields)
  prompt, first, second = tokens_of(5, seed=3), tokens_of(4, seed=4), tokens_of(3, seed=5)
  row = jnp.concatenate([prompt, first, second])[None, :]
  segments = jnp.array([[0] * 5 + [1] * 4 + [2] * 3])
  prefixes = jnp.array([[-1] * 5 + [0] * 7])
  positions = jnp.array([[*range(5), *range(5, 9), *range(5, 8)]])
  out, _ = policy.hidden(
    params, row, segment_ids=segments, positions=positions, prefix_ids=prefixes
  )
  for completion, start in ((first, 5), (second, 9)):
    whole = jnp.concatenate([prompt, completion])[None, :]
    expected = plain(policy, params, whole)[0, 5:]
    np.testing.assert_allclose(out[0, start : start + len(completion)], expected, atol=1e-5)


def test_causality_by_gradients():
  """hidden[t] depends on its own and the earlier tokens, and on no later one."""
  policy, params = build(tie_embeddings=False)
  tokens = jnp.arange(10, dtype=jnp.int32)[None, :]  # all different: one embedding row each

  def influence(t):
    def loss(table):
      return jnp.sum(plain(policy, {**params, 'embedding': table}, tokens)[0, t] ** 3)
    return jnp.linalg.norm(jax.grad(loss)(params['embedding'])[:10], axis=-1)

  grads = jax.jit(jax.vmap(influence))(jnp.arange(10))
  np.testing.assert_array_equal(np.triu(grads, 1), 0)
  assert (np.asarray(grads)[np.tril_indices(10)] > 1e-6).all()


# -- precision, memory, gradients


def test_float64():
  """With 64 bits the cache agrees with training to 1e-12: what is left in float32 is rounding."""
  with jax.enable_x64(True):
    policy, params = build(**LLAMA, compute_dtype='float64', param_dtype='float64')
    tokens = tokens_of(ROWS, 6)
    expected = plain(policy, params, tokens)
    assert {x.dtype.name for x in jax.tree.leaves(params)} == {'float64'}
    assert expected.dtype == policy.unembed(policy.head(params), expected).dtype == jnp.float64
    cache = policy.init_cache(ROWS, 5, 1)
    starts = jnp.zeros((ROWS,), jnp.int32)
    hidden, cache = policy.prefill(params, cache, tokens[:, :5], starts)
    np.testing.assert_allclose(hidden, expected[:, :5], atol=1e-12)
    hidden, _ = policy.decode(params, cache, tokens[:, 5], starts + 5)
    np.testing.assert_allclose(hidden, expected[:, 5], atol=1e-12)


def test_cast_once_or_at_each_use():
  """bfloat16: the same bits; logits, values and norms float32; gradients reach the parameters."""
  policy, params = build(**QWEN, value_head=True, compute_dtype='bfloat16')
  tokens = tokens_of(2, 8)
  cast = policy.cast(params)
  assert cast['layers']['wq'].dtype == cast['embedding'].dtype == jnp.bfloat16
  assert cast['layers']['mlp_norm'].dtype == cast['value_head'].dtype == jnp.float32
  a, b = plain(policy, params, tokens), plain(policy, cast, tokens)
  assert a.dtype == jnp.bfloat16
  np.testing.assert_array_equal(a.astype(jnp.float32), b.astype(jnp.float32))
  assert policy.unembed(policy.head(cast), a).dtype == policy.value(cast, a).dtype == jnp.float32
  exact = plain(build(**QWEN, value_head=True)[0], params, tokens)
  assert 1e-4 < np.abs(a.astype(jnp.float32) - exact).mean() < 0.03
  def loss(p):
    return jnp.sum(policy.value(p, plain(policy, policy.cast(p), tokens)) ** 2)
  grads = jax.jit(jax.grad(loss))(params)
  assert all(g.dtype == jnp.float32 and jnp.any(g != 0) for g in jax.tree.leaves(grads))


def gradient(policy, params, tokens):
  """Of a loss on the logits."""

  def loss(params):
    logits = policy.unembed(policy.head(params), plain(policy, params, tokens))
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[..., 3])

  return jax.grad(loss)(params)


def test_remat_blocks_and_embedding_gradient_change_nothing_but_rounding():
  tokens = tokens_of(2, 12)
  policy, params = build(**LLAMA)
  expected = jax.jit(functools.partial(gradient, policy))(params, tokens)
  for fields in (
    dict(remat='full'), dict(remat='dots', query_block=5), dict(remat='attention'),
    dict(embed_gradient='matmul'),
  ):  # fmt: skip
    other = build(**LLAMA, **fields)[0]
    found = jax.jit(functools.partial(gradient, other))(params, tokens)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
      assert jnp.linalg.norm(a - b) <= 1e-5 * jnp.linalg.norm(b)


@pytest.mark.parametrize(('choice', 'found'), [('scatter', True), ('matmul', False)])
def test_the_only_scatter_is_the_embedding_gradient(choice, found):
  policy, params = build(**QWEN, embed_gradient=choice)
  text = jax.jit(lambda p, t: gradient(policy, p, t)).lower(params, tokens_of(2, 12)).as_text()
  assert ('scatter' in text) is found


def test_remat_saves_memory():
  def temporary(remat):
    policy = models.decoder(**{**SIZE, 'num_layers': 8}, remat=remat)
    params = jax.eval_shape(policy.init, jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((8, 64), jnp.int32)
    compiled = jax.jit(lambda p, t: gradient(policy, p, t)).lower(params, tokens).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary('full') < 0.5 * temporary('none')


# -- parameters and switches


def test_value_head_starts_at_zero_and_is_linear():
  policy = models.decoder(**SIZE, value_head=True)
  params = policy.init(jax.random.key(0))
  hidden = jax.random.normal(jax.random.key(1), (2, 5, 32))
  np.testing.assert_array_equal(policy.value(params, hidden), np.zeros((2, 5)))
  params['value_head'] = jnp.arange(32.0)
  np.testing.assert_allclose(policy.value(params, hidden), hidden @ jnp.arange(32.0), rtol=1e-5)
  assert models.decoder(**SIZE).value is None
  bins = models.decoder(**SIZE, value_head=3)
  params = bins.init(jax.random.key(0))
  np.testing.assert_array_equal(bins.value(params, hidden), np.zeros((2, 5, 3)))
  params['value_head'] = jnp.arange(96.0).reshape(32, 3)
  expected = hidden @ params['value_head']
  np.testing.assert_allclose(bins.value(params, hidden), expected, rtol=1e-5)


def test_axes_name_every_dimension():
  for fields in (LLAMA, QWEN, dict(value_head=True), dict(value_head=3)):
    policy, params = build(**fields)
    def is_axes(x):
      return isinstance(x, tuple)
    assert jax.tree.structure(policy.axes, is_leaf=is_axes) == jax.tree.structure(params)
    jax.tree.map(
      lambda axes, x: None if len(axes) == x.ndim else pytest.fail(f'{axes} {x.shape}'),
      policy.axes, params, is_leaf=is_axes,
    )  # fmt: skip


def test_initial_logits_are_of_order_one():
  policy = models.decoder(vocab_size=50, num_layers=4, d_model=64)
  params = jax.jit(policy.init)(jax.random.key(0))
  hidden = jax.jit(functools.partial(plain, policy))(params, tokens_of(4, 16))
  logits = policy.unembed(policy.head(params), hidden)
  assert 0.5 < float(jnp.std(logits)) < 2.0


def test_a_config_node_binds():
  bound = binding.bind(dict(name='models.decoder', vocab_size=50, rope_theta=5e5, qk_norm=True))
  params = jax.eval_shape(bound({}).init, jax.random.key(0))
  assert params['embedding'].shape == (50, 128) and 'q_norm' in params['layers']
  with pytest.raises(binding.BindingError, match="unknown hyper-parameter 'layers'"):
    binding.bind(dict(name='models.decoder', vocab_size=50, layers=3))


def test_decoder_takes_the_fields_of_its_config():
  fields = {f.name: f.default for f in dataclasses.fields(models.DecoderConfig)}
  found = binding.signature(models.decoder)
  assert found.required == ('vocab_size',)
  assert found.hyper == {k: v for k, v in fields.items() if k != 'vocab_size'}


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    (dict(num_heads=3), 'd_model=32 .* num_heads=3'),
    (dict(num_kv_heads=3), 'num_kv_heads=3 .* num_heads=4'),
    (dict(head_dim=5), 'head_dim=5 is odd'),
    (dict(remat='some'), "remat='some' is none of none, dots, attention, full"),
    (dict(embed_gradient='x'), "embed_gradient='x'"),
    (dict(rope_scaling=(8.0, 1.0)), 'rope_scaling'),
    (dict(activation='relu'), "activation='relu' is none of silu, gelu_tanh"),
    (dict(global_every=2), 'global_every=2 without a window'),
    (dict(local_rope_theta=1e4), 'local_rope_theta=10000.0 without a window'),
    (dict(window=0), 'window=0'),
    (dict(window=2, global_every=0), 'global_every=0'),
    (dict(attention_softcap=0.0), 'attention_softcap=0.0 is not above 0'),
  ],
)
def test_messages(fields, words):
  with pytest.raises(ValueError, match=words):
    models.decoder(**{**SIZE, **fields})
