"""token_statistics against the definition, in values, gradients and memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import logprobs as reference

from rljax.logprobs import token_statistics
from rljax.vocabulary import STATISTICS

R, T, D, V = 2, 11, 5, 7
SEGMENTS = np.array(
  [[0, 0, 0, 0, 1, 1, 2, 2, 2, -1, -1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]], np.int32
)
NAMES = tuple(STATISTICS)
BETA, TOP_K, TOP_P = 0.3, 3, 0.7


def unembed(head, hidden):
  logits = 3.0 * jnp.tanh(jnp.einsum('...d,vd->...v', hidden, head['table']))
  return logits + jnp.broadcast_to(head['bias'], logits.shape)


def inputs(dtype=np.float64):
  rng = np.random.default_rng(0)
  head = {'table': rng.normal(size=(V, D)), 'bias': rng.normal(size=V)}
  other = {'table': rng.normal(size=(V, D)), 'bias': rng.normal(size=V)}
  hidden, ref_hidden = rng.normal(size=(2, R, T, D))
  tokens = rng.integers(0, V, (R, T)).astype(np.int32)
  # One temperature for each sample of a row, as in a packed batch.
  temperature = np.array([0.3, 0.7, 1.0, 1.5])[np.maximum(SEGMENTS, 0) + np.arange(2)[:, None]]
  cast = functools.partial(jax.tree.map, lambda x: jnp.asarray(x, dtype))
  return cast(head), cast(hidden), jnp.asarray(tokens), temperature, cast((other, ref_hidden))


def naive(head, hidden, tokens, temperature, other):
  """log_softmax over everything at once: what the chunked pass replaces."""
  segments = jnp.asarray(SEGMENTS)
  same = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0)
  scale = temperature[:, 1:, None]
  logp = jax.nn.log_softmax(unembed(head, hidden)[:, :-1] / scale)
  logq = jax.lax.stop_gradient(jax.nn.log_softmax(unembed(*other)[:, :-1] / scale))
  p, q = jnp.exp(logp), jnp.exp(logq)
  mixture = jnp.log((1 - BETA) * p + BETA * q)
  reverse, forward = jnp.sum(p * (logp - logq), axis=-1), jnp.sum(q * (logq - logp), axis=-1)
  top = q >= jnp.sort(q, axis=-1)[..., -TOP_K, None]
  # Those that stand before an entry in descending order, and so say whether it is kept.
  best = jnp.sum(jnp.where(p[..., None, :] > p[..., :, None], p[..., None, :], 0), -1) < TOP_P
  inside = jax.nn.log_softmax(logp, where=best)
  found = {
    'logprobs': jnp.take_along_axis(logp, tokens[:, 1:, None], axis=-1)[..., 0],
    'entropy': -jnp.sum(p * logp, axis=-1),
    'nucleus_entropy': -jnp.sum(jnp.where(best, jnp.exp(inside) * inside, 0), axis=-1),
    'sum_squares': jnp.sum(p**2, axis=-1),
    'self_certainty': -jnp.mean(logp, axis=-1) - jnp.log(V),
    'full_kl': reverse,
    'full_forward_kl': forward,
    'teacher_reverse_kl': reverse,
    'teacher_forward_kl': forward,
    'teacher_jsd': jnp.sum(q * (logq - mixture), axis=-1) / (1 - BETA)
    + jnp.sum(p * (logp - mixture), axis=-1) / BETA,
    'teacher_top_k_kl': jax.nn.relu(jnp.sum(jnp.where(top, q * (logq - logp), 0), axis=-1)),
    'stored_kl': bucketed_kl(p, q, top),
  }
  return {n: jnp.pad(jnp.where(same, x, 0), ((0, 0), (1, 0))) for n, x in found.items()}


def bucketed_kl(p, q, top):
  """KL(q ‖ p) over the entries of `top` and the mass of all others."""
  p_rest, q_rest = (jnp.sum(jnp.where(top, 0, x), axis=-1) for x in (p, q))
  inside = jnp.sum(jnp.where(top, q * (jnp.log(q) - jnp.log(p)), 0), axis=-1)
  return inside + q_rest * jnp.log(q_rest / p_rest)


def stored_of(other, temperature):
  """The best entries of each slot, as whoever drew tokens[t] would have recorded them."""
  scale = jnp.roll(jnp.broadcast_to(temperature, (R, T)), -1, axis=1)
  logq = jax.nn.log_softmax(unembed(*other) / scale[..., None])
  logprobs, ids = jax.lax.top_k(jnp.roll(logq, 1, axis=1), TOP_K)
  return ids, logprobs


@functools.partial(jax.jit, static_argnames=('chunk_size', 'names', 'constant'))
def chunked(
  head, hidden, tokens, temperature, other, where=None, *, chunk_size, names=NAMES, constant=(),
  beta=BETA,
):  # fmt: skip
  return token_statistics(
    unembed,
    head,
    hidden,
    tokens,
    jnp.asarray(SEGMENTS),
    temperature=temperature,
    statistics=names,
    where=where,
    chunk_size=chunk_size,
    constant=constant,
    others={'reference': (unembed, *other), 'teacher': (unembed, *other)},
    jsd_beta=beta,
    top_k=TOP_K,
    top_p=TOP_P,
    stored=stored_of(other, temperature),
  )


def scalar(function):
  mix = np.random.default_rng(1).normal(size=(len(NAMES), R, T))

  def run(head, hidden, *rest):
    found = function(head, hidden, *rest)
    return sum(jnp.sum(found[n] * jnp.asarray(mix[i])) for i, n in enumerate(NAMES) if n in found)

  return jax.jit(jax.grad(run, argnums=(0, 1)))


def test_values_are_the_definition():
  with jax.enable_x64(True):
    head, hidden, tokens, temperature, other = inputs()
    expected = reference.token_statistics(
      np.asarray(unembed(head, hidden)),
      np.asarray(tokens),
      SEGMENTS,
      temperature,
      np.asarray(unembed(*other)),
      beta=BETA,
      top_k=TOP_K,
      top_p=TOP_P,
    )
    for chunk_size in (1, 4, 64):
      found = chunked(head, hidden, tokens, temperature, other, chunk_size=chunk_size)
      for name in NAMES:
        assert found[name].dtype == jnp.float64
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12)
        assert np.all(np.asarray(found[name])[:, 0] == 0)
        assert np.all(np.asarray(found[name])[SEGMENTS < 0] == 0)


@pytest.mark.parametrize('chunk_size', [2, 3, 64])
def test_only_the_tokens_that_are_asked_for(chunk_size):
  """Their statistics and gradients are those of a pass over all; the others are 0."""
  where = jnp.asarray(np.random.default_rng(2).random((R, T)) < 0.4)
  with jax.enable_x64(True):
    arguments = inputs()
    some = functools.partial(chunked, chunk_size=chunk_size)

    def of_all(*arguments):
      return {n: jnp.where(where, x, 0) for n, x in some(*arguments).items()}

    def asked(*arguments):
      return some(*arguments, where)

    for name, x in of_all(*arguments).items():
      np.testing.assert_allclose(asked(*arguments)[name], x, rtol=0, atol=1e-12)
    for a, b in zip(jax.tree.leaves(scalar(asked)(*arguments)),
                    jax.tree.leaves(scalar(of_all)(*arguments))):
      np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize('chunk_size', [3, 4, 64])  # 3: the last chunk overlaps; 64: one chunk
def test_gradients_are_those_of_log_softmax(chunk_size):
  with jax.enable_x64(True):
    arguments = inputs()
    expected = scalar(naive)(*arguments)
    found = scalar(functools.partial(chunked, chunk_size=chunk_size))(*arguments)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
      assert np.linalg.norm(a - b) <= 1e-10 * np.linalg.norm(b)


def test_one_statistic_alone_and_scalar_temperature():
  with jax.enable_x64(True):
    head, hidden, tokens, _, other = inputs()
    whole = naive(head, hidden, tokens, jnp.full((R, T), 0.7), other)
    for name in NAMES:
      found = chunked(head, hidden, tokens, 0.7, other, chunk_size=4, names=(name,))
      assert list(found) == [name]
      np.testing.assert_allclose(found[name], whole[name], atol=1e-12)


def test_the_jsd_is_continuous_at_its_ends():
  with jax.enable_x64(True):
    head, hidden, tokens, temperature, other = inputs()
    # Where the distributions are far apart the way to the limit is long (it goes with β·log β).
    arguments = (head, hidden, tokens, 10 * temperature, other)

    def at(beta):
      run = functools.partial(chunked, chunk_size=64, names=('teacher_jsd',), beta=beta)
      return run(*arguments)['teacher_jsd'], scalar(run)(*arguments)

    ends = chunked(*arguments, chunk_size=64)
    for beta, name in ((0.0, 'teacher_forward_kl'), (1.0, 'teacher_reverse_kl')):
      end, slopes = at(beta)
      np.testing.assert_allclose(end, ends[name], atol=1e-12)
      near, near_slopes = at(abs(beta - 2e-4))
      np.testing.assert_allclose(near, end, atol=2e-3)
      for a, b in zip(jax.tree.leaves(near_slopes), jax.tree.leaves(slopes)):
        assert np.linalg.norm(a - b) <= 2e-3 * np.linalg.norm(b)


def test_a_constant_statistic_has_no_gradient():
  arguments = inputs(np.float32)
  alone = scalar(functools.partial(chunked, chunk_size=4, names=('logprobs',)))(*arguments)
  rest = tuple(name for name in NAMES if name != 'logprobs')
  found = scalar(functools.partial(chunked, chunk_size=4, constant=rest))(*arguments)
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), found, alone)


def test_unused_slots_have_no_influence():
  head, hidden, tokens, temperature, other = inputs(np.float32)
  used = np.asarray(SEGMENTS[:, 1:] == SEGMENTS[:, :-1]) & (SEGMENTS[:, 1:] >= 0)
  used = np.pad(used, ((0, 0), (0, 1)))[..., None]
  run = scalar(functools.partial(chunked, chunk_size=4))
  expected = run(head, hidden, tokens, temperature, other)
  for filler in (np.nan, 1e30):
    dirty = jnp.where(used, hidden, filler)
    ref = (other[0], jnp.where(used, other[1], filler))
    found = run(head, dirty, tokens, jnp.where(SEGMENTS < 0, 0, temperature), ref)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert np.all(np.asarray(found[1])[~used[..., 0]] == 0)


def test_entries_of_the_vocabulary_that_do_not_exist():
  head, hidden, tokens, temperature, other = inputs(np.float32)
  tokens = jnp.minimum(tokens, V - 2)
  head['bias'] = head['bias'].at[V - 1].set(-jnp.inf)
  other[0]['bias'] = other[0]['bias'].at[V - 1].set(-jnp.inf)
  found = chunked(head, hidden, tokens, temperature, other, chunk_size=4)
  gradient = scalar(functools.partial(chunked, chunk_size=4))(
    head, hidden, tokens, temperature, other
  )
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((found, gradient)))


def test_half_precision_hidden_gives_float32():
  head, hidden, tokens, temperature, other = inputs(jnp.bfloat16)
  temperature = jnp.asarray(temperature, jnp.float32)
  found = chunked(head, hidden, tokens, temperature, other, chunk_size=4)
  assert all(x.dtype == jnp.float32 for x in found.values())
  d_head, d_hidden = scalar(functools.partial(chunked, chunk_size=4))(
    head, hidden, tokens, temperature, other
  )
  assert d_head['table'].dtype == jnp.bfloat16 and d_hidden.dtype == jnp.bfloat16


def test_refuses_what_it_does_not_know():
  head, hidden, tokens, temperature, _ = inputs(np.float32)
  run = functools.partial(token_statistics, unembed, head, hidden, tokens, jnp.asarray(SEGMENTS))
  with pytest.raises(ValueError, match="unknown statistic 'entrpy'"):
    run(temperature=temperature, statistics=('entrpy',))
  with pytest.raises(ValueError, match="needs others\\['reference'\\]"):
    run(temperature=temperature, statistics=('full_kl',))


def test_memory_is_that_of_a_chunk():
  rows, length, width, vocab, size = 2, 1024, 8, 8192, 32

  def loss(head, hidden, tokens, segments):
    found = token_statistics(
      lambda head, h: h @ head,
      head,
      hidden,
      tokens,
      segments,
      temperature=1.0,
      statistics=('logprobs', 'entropy'),
      chunk_size=size,
    )
    return jnp.sum(found['logprobs'] + found['entropy'])

  shapes = [
    jax.ShapeDtypeStruct((width, vocab), jnp.float32),
    jax.ShapeDtypeStruct((rows, length, width), jnp.float32),
    jax.ShapeDtypeStruct((rows, length), jnp.int32),
    jax.ShapeDtypeStruct((rows, length), jnp.int32),
  ]
  compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile()
  temp = compiled.memory_analysis().temp_size_in_bytes
  chunk, everything = 4 * rows * size * vocab, 4 * rows * length * vocab
  assert temp < 6 * chunk + 2**21 < everything / 4, (temp, chunk, everything)


def test_rows_stay_where_they_are():
  # Rows over 8 devices: nothing but the head's gradient (and the sum) crosses between devices.
  mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
  rows = jax.NamedSharding(mesh, jax.P('data'))
  whole = jax.NamedSharding(mesh, jax.P())

  def loss(head, hidden, tokens, segments):
    found = token_statistics(
      lambda head, h: h @ head, head, hidden, tokens, segments, temperature=1.0, chunk_size=6
    )
    return jnp.sum(found['logprobs'])

  shapes = [
    jax.ShapeDtypeStruct((4, 32), jnp.float32, sharding=whole),
    jax.ShapeDtypeStruct((16, 16, 4), jnp.float32, sharding=rows),
    jax.ShapeDtypeStruct((16, 16), jnp.int32, sharding=rows),
    jax.ShapeDtypeStruct((16, 16), jnp.int32, sharding=rows),
  ]
  step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  program = step.lower(*shapes).compile().as_text()
  for collective in ('all-gather', 'all-to-all', 'collective-permute'):
    assert f'{collective}(' not in program and f'{collective}-start(' not in program
