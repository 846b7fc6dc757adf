"""Speculation: the tokens and records of the plain loop, with fewer steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_sampling as plain
from history_policy import history_policy
from test_models import LLAMA, QWEN, SIZE, WINDOWED, build, tokens_of
from test_models import plain as hidden_of

from rljax import models, sharding
from rljax.models import cache as caches
from rljax.sampling import advance, begin, make_requests, sample_and_count
from rljax.sampling.speculate import lookup
from rljax.structs import SamplerSettings

# -- the policy's part


@pytest.mark.parametrize(
  'fields', [{**LLAMA, 'unroll_decode': False}, WINDOWED], ids=['layers scanned', 'windowed']
)
def test_extend_gives_the_hidden_states_of_training(fields):
  """Rows at different places, over the edges of blocks; an idle one; tokens that are taken back."""
  policy, params = build(**fields)
  tokens, lengths, width = tokens_of(3, 80), np.array([60, 7, 58]), 4
  expected = jax.jit(functools.partial(hidden_of, policy))(params, tokens)
  cache = policy.init_cache(4, 78)  # blocks of 64 and 14
  first = jnp.concatenate([tokens[:, :64], tokens[:1, :64]])
  _, cache = policy.prefill(params, cache, first, jnp.zeros(4, jnp.int32))
  extend = jax.jit(policy.extend)
  pieces = np.asarray(tokens)
  for turn in range(4):
    idle = np.array([False, turn == 1, False])
    some = jnp.stack([pieces[r, lengths[r] : lengths[r] + width] for r in range(3)])
    places = jnp.where(idle, -1, lengths)
    for new in (jnp.maximum(some - 1, 0), some):  # the first are replaced
      hidden, cache = extend(params, cache, new, places)
    for r in np.flatnonzero(~idle):
      wanted = expected[r, lengths[r] : lengths[r] + width]
      np.testing.assert_allclose(hidden[r], wanted, atol=1e-5)
    lengths = np.where(idle, lengths, lengths + 1 + turn)
  assert [x.shape[4] for x in cache['given'][0]['k']] == [64, 14]


@pytest.mark.parametrize('name', ['k', 'v', 'k_scale'])
def test_both_ways_to_write_into_rows(name):
  random = np.random.default_rng(0)
  sizes, inner = (5, 5, 2), {'k': (3,), 'v': (3,)}.get(name, ())
  axis = caches.TOKEN_AXIS[name]

  def block(size):
    shape = [2, 6, 2, *inner]
    shape.insert(axis, size)
    return jnp.asarray(random.standard_normal(shape))

  blocks = tuple(map(block, sizes))
  starts = jnp.array([3, -1, 4, 9, 11])
  new = jnp.asarray(random.standard_normal((2, 5, 4, 2, *inner)))
  whole = np.moveaxis(np.concatenate(blocks, axis=axis), axis, 2).copy()
  for row, i in np.ndindex(5, 4):
    if starts[row] >= 0 and starts[row] + i < 12:
      whole[:, row, starts[row] + i] = new[:, row, i]
  for loop in (False, True):
    found = caches.write_at(name, blocks, new, starts, loop)
    found = np.moveaxis(np.concatenate(found, axis=axis), axis, 2)
    np.testing.assert_array_equal(found, whole)


@pytest.mark.thorough
def test_an_int8_cache_says_the_same_by_either_way():
  """Tokens that come together see each other as the cache will hold them."""
  policy, params = build(**QWEN)
  extend = jax.jit(policy.extend)
  tokens = tokens_of(2, 9)
  apart = policy.init_cache(2, 4, 5, 'int8')
  together = policy.init_cache(2, 9, 0, 'int8')
  start = jnp.zeros(2, jnp.int32)
  _, apart = policy.prefill(params, apart, tokens[:, :4], start)
  _, together = policy.prefill(params, together, tokens[:, :4], start)
  found, _ = extend(params, together, tokens[:, 4:], start + 4)
  for i in range(5):
    hidden, apart = policy.decode(params, apart, tokens[:, 4 + i], start + 4 + i)
    np.testing.assert_allclose(found[:, i], hidden, atol=1e-5)


# -- guesses


def looked_up(text, num):
  """The slow form of `lookup`."""
  for n in (3, 2, 1):
    for end in range(len(text) - 2, n - 2, -1):
      if text[end - n + 1 : end + 1] == text[len(text) - n :]:
        longer = list(text)
        while len(longer) < len(text) + num:
          longer.append(longer[end + 1 + len(longer) - len(text)])
        return longer[len(text) :]
  return [-1] * num


def test_lookup_finds_what_has_followed_the_last_tokens():
  random = np.random.default_rng(0)
  texts = random.integers(0, 4, (300, 12)).astype(np.int32)
  lengths = random.integers(1, 13, 300)
  found = np.asarray(lookup(jnp.asarray(texts), jnp.asarray(lengths), 5))
  expected = [looked_up(text[:n].tolist(), 5) for text, n in zip(texts, lengths)]
  assert found.tolist() == expected
  assert 20 < sum(e[0] < 0 for e in expected) < 150


# -- the same samples


VOCAB, NEW, SEED = 12, 24, 4
POLICY = models.decoder(
  vocab_size=VOCAB, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=24,
  compute_dtype='float64', param_dtype='float64',
)  # fmt: skip
BOTH = models.with_draft(POLICY, POLICY)


def ask():
  """96 samples: ragged prompts that repeat themselves, prefixes, limits, four temperatures."""
  random = np.random.default_rng(2)
  prompts = [([*random.integers(0, VOCAB, 1 + i % 4)] * 3)[: 1 + i % 9] for i in range(24)]
  temperatures = np.tile([0.3, 1.0, 0.0, 1.3], 24)
  requests = make_requests(
    prompts, samples_per_prompt=4, draw_ids=range(24), max_prompt=9,
    max_new_tokens=random.integers(0, NEW + 1, 96), temperature=temperatures, stop_ids=[5],
    prefixes=[[7, 3, 7, 3][: n % 5] for n in range(96)], max_prefix=5,
    stop_sequences=[[3, 8], [2], [6, 1, 6]], top_k=8, num_prompts=25,
  )  # fmt: skip
  requests.stop_ids[requests.prompt_ids % 3 > 0] = -1
  return requests


def sampler(policy):
  @functools.partial(jax.jit, static_argnames='mesh')
  def draw(params, requests, settings, mesh=None):
    return sample_and_count(policy, params, requests, seed=SEED, settings=settings, mesh=mesh)

  return draw


draw = sampler(BOTH)


def parameters():
  """Of the policy, and of a draft model that is near to it."""
  params = BOTH.init(jax.random.key(1))
  params['policy'] = jax.tree.map(lambda x: x * 1.5, params['policy'])
  other = jax.tree.map(lambda a, b: a + 0.1 * b, params['policy'], params['draft'])
  return {'policy': params['policy'], 'draft': other}


def assert_equal(found, expected):
  """Tokens, ends and masks; log-probs to 1e-10."""
  for name, wanted in vars(expected).items():
    if wanted is not None:
      np.testing.assert_allclose(getattr(found, name), wanted, atol=1e-10, err_msg=name)


@pytest.mark.thorough
def test_samples_are_those_of_the_plain_loop():
  with jax.enable_x64(True):
    params, requests = parameters(), ask()
    settings = SamplerSettings(
      length=39, max_new_tokens=NEW, slots=40, drains=0, filters=('top_k',), num_top=2,
      capture=('entropy', 'top'),
    )  # fmt: skip
    expected, counts = jax.device_get(draw(params, requests, settings))
    assert expected.action_mask.sum() > 600 and counts.drafted == counts.accepted == 0
    assert (~expected.truncated).sum() > 30 < (expected.truncated).sum()
    slot_steps = counts.slot_steps
    for changes in (
      dict(speculate='lookup', num_draft=3, window=3, drains=1),
      dict(speculate='draft', num_draft=2, slots=24, window=1),
    ):
      found, counts = jax.device_get(draw(params, requests, settings.replace(**changes)))
      assert_equal(found, expected)
      assert 0.2 * counts.drafted < counts.accepted < counts.drafted
      assert counts.slot_steps < slot_steps
    mesh = sharding.make_mesh(data=4, fsdp=2)
    settings = settings.replace(speculate='draft', num_draft=3)
    found, counts = jax.device_get(draw(params, requests, settings, mesh))
    assert_equal(found, expected)
    assert counts.accepted.shape == (8,) and (counts.accepted > 0).all()


HISTORY = models.with_draft(history_policy(5), history_policy(5))
NUMBER = 20_000
draw_history = sampler(HISTORY)


@pytest.mark.thorough
def test_whole_completions_come_with_their_exact_probabilities():
  prompt, new = [2, 4], 3
  exact = {}

  def expand(tokens, logprob):
    if tokens and (tokens[-1] == 0 or len(tokens) == new):
      exact[tokens] = logprob
      return
    logprobs, _ = plain.logprobs_of([*prompt, *tokens], 1.0, {})
    for v in range(5):
      expand((*tokens, v), logprob + logprobs[v])

  expand((), 0.0)
  # A draft model of its own mind: it is wrong about every second token.
  params = {'policy': plain.PARAMS, 'draft': jax.tree.map(lambda x: 0.5 * x, plain.PARAMS)}
  requests = plain.ask([prompt], samples=NUMBER)
  settings = SamplerSettings(length=5)
  expected = plain.completions(plain.run(plain.PARAMS, requests, SEED, settings))
  for how in ('lookup', 'draft'):
    settings = settings.replace(speculate=how, num_draft=2)
    rollout, counts = jax.device_get(draw_history(params, requests, settings))
    assert plain.completions(rollout) == expected
    assert 0.2 * counts.drafted < counts.accepted < 0.9 * counts.drafted
  # One that is the policy itself is always right: three tokens in one step.
  params['draft'] = plain.PARAMS
  rollout, counts = jax.device_get(draw_history(params, requests, settings))
  assert plain.completions(rollout) == expected
  assert counts.drafted == counts.accepted > 0 and counts.steps == 1
  cells = [(expected.count(t), NUMBER * np.exp(e)) for t, e in exact.items()]
  cells = [(count, e) for count, e in cells if e >= 5]
  assert len(cells) > 20
  chi_square, freedom = sum((count - e) ** 2 / e for count, e in cells), len(cells) - 1
  assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


def chain(num=6):
  """(policy, parameters) of a decoder that says token + 1 behind a token, nearly always."""
  policy = models.decoder(
    vocab_size=num, num_layers=1, d_model=16, num_heads=2, tie_embeddings=False
  )
  params = policy.init(jax.random.key(0))
  layers = params['layers'] | {k: 0 * params['layers'][k] for k in ('wo', 'w_down')}
  places = jnp.eye(num, 16)
  return policy, {
    **params, 'layers': layers, 'embedding': places, 'head': 3 * jnp.roll(places, 1, axis=0)
  }


@functools.cache
def repetition():
  """(policy, params, requests, settings) of texts that repeat themselves, and what is drawn."""
  policy, params = chain()
  requests = make_requests(
    [[1, 2, 3], [4]], samples_per_prompt=2, draw_ids=[0, 1], max_prompt=3, max_new_tokens=40,
    temperature=1.0, stop_ids=[],
  )  # fmt: skip
  settings = SamplerSettings(length=43, speculate='lookup', num_draft=4, slots=3, window=2)
  found = jax.device_get(sampler(policy)(params, requests, settings))
  return policy, params, requests, settings, *found


@pytest.mark.thorough
def test_a_text_that_repeats_itself_takes_few_steps():
  *_, rollout, counts = repetition()
  assert rollout.action_mask.sum() == 160
  steady = np.diff(rollout.tokens[:, 3:41], axis=1) % 6 == 1
  assert steady.mean() > 0.95
  assert counts.accepted > 0.9 * counts.drafted
  # A sample alone takes 8 steps at least, and 6 tokens have nothing to look up.
  assert 16 <= counts.steps <= 40


@pytest.mark.thorough
def test_streamed_samples_are_those_of_one_program():
  policy, params, requests, settings, expected, _ = repetition()
  state = jax.jit(lambda: begin(policy, params, requests, seed=SEED, settings=settings))()

  @jax.jit
  def further(state):
    return advance(
      policy, params, requests, state, seed=SEED, settings=settings, num_windows=1
    )

  found, done = {}, False
  while not done:
    state, finished = further(state)
    for i, row in enumerate(np.asarray(finished.sample)):
      if row >= 0:
        found[int(row)] = np.asarray(finished.rollout.tokens[i])
    done = finished.done
  np.testing.assert_array_equal(np.stack([found[n] for n in range(4)]), expected.tokens)


# -- memory and messages


@pytest.mark.thorough
def test_no_cache_is_copied():
  one = models.decoder(**{**SIZE, 'num_layers': 2, 'd_model': 64}, num_heads=4, num_kv_heads=4)
  policy = models.with_draft(one, one)
  requests = make_requests(
    [[1] * 64] * 4, samples_per_prompt=16, draw_ids=range(4), max_prompt=64, max_new_tokens=960,
    temperature=1.0, stop_ids=[0],
  )  # fmt: skip
  settings = SamplerSettings(length=1024, max_new_tokens=960, slots=64, speculate='draft')

  def further(params, requests, state):
    return advance(policy, params, requests, state, seed=0, settings=settings, num_windows=4)

  params = jax.eval_shape(policy.init, jax.random.key(0))
  state = jax.eval_shape(
    lambda p, r: begin(policy, p, r, seed=0, settings=settings), params, requests
  )
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.slots.cache))
  compiled = jax.jit(further, donate_argnums=2).lower(params, requests, state).compile()
  memory = compiled.memory_analysis()
  assert memory.alias_size_in_bytes >= size > 2**27
  assert memory.temp_size_in_bytes <= 0.1 * size


def test_messages():
  requests = plain.ask([[1]])
  bare = history_policy(5)._replace(extend=None)
  for policy, fields, message in (
    (HISTORY, dict(speculate='guess'), "unknown speculate 'guess'; there is '', 'lookup', 'draft'"),
    (HISTORY, dict(speculate='draft', num_draft=0), "speculate 'draft' with num_draft=0"),
    (bare, dict(speculate='lookup'), "speculate 'lookup': the policy has no `extend`"),
    (history_policy(5), dict(speculate='draft'), 'the policy has no draft model'),
  ):
    with pytest.raises(ValueError, match=message):
      settings = SamplerSettings(length=6, **fields)
      sample_and_count(policy, plain.PARAMS, requests, seed=SEED, settings=settings)
  with pytest.raises(ValueError, match='with_draft: the draft has no `extend`'):
    models.with_draft(history_policy(5), bare)
  policy, params = build()
  with pytest.raises(ValueError, match='give init_cache drawn = 0'):
    policy.extend(params, policy.init_cache(1, 4, 4), jnp.zeros((1, 2), jnp.int32), jnp.zeros(1))
