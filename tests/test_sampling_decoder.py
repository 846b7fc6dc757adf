"""The sampler with the real decoder: equal to the trainer's form, whatever else is decoded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_filters import reference as filter_reference

from rljax import models, sharding
from rljax.sampling import filters_in_use, gumbel, make_requests, row_keys, sample
from rljax.structs import SamplerSettings

VOCAB, NEW, SEED = 32, 32, 5
PROMPTS = [
  np.random.default_rng(i).integers(1, VOCAB, size=1 + i % 7).tolist() for i in range(32)
]


@functools.cache
def model(dtype):
  return models.decoder(
    vocab_size=VOCAB, num_layers=2, d_model=32, num_heads=4, num_kv_heads=2, d_ff=48,
    qk_norm=True, compute_dtype=dtype, param_dtype=dtype,
  )  # fmt: skip


@functools.cache
def programs(dtype):
  """(params, jitted sample, jitted logits of the training form)."""
  policy = model(dtype)
  params = jax.jit(policy.init)(jax.random.key(3))

  def logits(params, tokens, mask):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    segment_ids = jnp.where(mask, 0, -1)
    hidden, _ = policy.hidden(params, tokens, segment_ids=segment_ids, positions=positions)
    return policy.unembed(policy.head(params), hidden)

  def draw(params, requests, seed, settings):
    return sample(policy, params, requests, seed=seed, settings=settings)

  return params, jax.jit(draw), jax.jit(logits)


@functools.cache
def on_mesh(dtype):
  """The sampler on eight devices."""
  mesh = sharding.make_mesh(data=4, fsdp=2)

  def draw(params, requests, seed, settings):
    return sample(model(dtype), params, requests, seed=seed, settings=settings, mesh=mesh)

  return jax.jit(draw)


def ask(ids, **more):
  """Eight samples of the prompts `ids`; draw 100 + id; every second prompt can stop."""
  given = dict(
    samples_per_prompt=8, draw_ids=[100 + i for i in ids], prompt_ids=ids, max_prompt=7,
    max_new_tokens=NEW, temperature=[[0.6, 1.0, 1.3, 0.0][i % 4] for i in ids for _ in range(8)],
    stop_ids=[9, 4],
  )  # fmt: skip
  requests = make_requests([PROMPTS[i] for i in ids], **(given | more))
  requests.stop_ids[requests.prompt_ids % 2 == 1] = -1
  return requests


# -- sampler and trainer


@pytest.mark.parametrize(
  'values',
  [{}, pytest.param(dict(top_k=12, top_p=0.9, min_p=0.02), marks=pytest.mark.thorough)],
  ids=['plain', 'filters'],
)
def test_recorded_logprobs_are_the_trainers(values):
  params, draw, logits_of = programs('float32')
  temperatures = np.tile(np.float32([0.3, 0.7, 1, 1.5, 0]), 8)
  prefixes = [[7, 3, 3, 8][: n % 5] for n in range(40)]
  requests = make_requests(
    PROMPTS[:8], samples_per_prompt=5, draw_ids=range(8), max_prompt=7, max_new_tokens=20,
    temperature=temperatures, stop_ids=[9], prefixes=prefixes, **values,
  )  # fmt: skip
  settings = SamplerSettings(length=31, filters=filters_in_use(**values), capture=('entropy',))
  rollout = jax.device_get(draw(params, requests, 0, settings))
  logits = np.asarray(logits_of(params, rollout.tokens, rollout.mask), np.float64)
  divisor = np.where(temperatures == 0, 1, temperatures).astype(np.float64)
  count = 0
  for n, t in zip(*np.nonzero(rollout.action_mask)):
    scaled = logits[n, t - 1] / divisor[n]  # entry t of a record is about token t
    logprobs = scaled - np.log(np.exp(scaled).sum())
    tolerance = 1e-5 * max(1, 1 / divisor[n])
    token = rollout.tokens[n, t]
    assert abs(rollout.policy_logprobs[n, t] - logprobs[token]) <= tolerance
    entropy = -np.sum(np.exp(logprobs) * logprobs)
    assert abs(rollout.entropy[n, t] - entropy) <= 10 * tolerance
    kept, clearance = filter_reference(scaled, **values)
    if temperatures[n] == 0:
      assert rollout.behavior_logprobs[n, t] == 0
    elif clearance > 1e-5:
      behavior = scaled[token] - np.log(np.exp(scaled[kept]).sum())
      assert kept[token]
      assert abs(rollout.behavior_logprobs[n, t] - behavior) <= 2 * tolerance
    count += 1
  assert count > 300
  if not values:
    hot = temperatures > 0
    np.testing.assert_array_equal(
      rollout.behavior_logprobs[hot], rollout.policy_logprobs[hot]
    )


@pytest.mark.thorough
def test_a_cache_in_int8_changes_logprobs_a_little():
  """Against the trainer's log-probs of the same tokens; with the cache as it is it is rounding."""
  params, draw, logits_of = programs('float32')
  errors = {}
  for dtype in ('', 'int8'):
    settings = SamplerSettings(length=40, slots=64, cache_dtype=dtype)
    rollout = jax.device_get(draw(params, ask(range(32), temperature=1.0), SEED, settings))
    logprobs = jax.nn.log_softmax(logits_of(params, rollout.tokens, rollout.mask))
    wanted = np.take_along_axis(
      np.asarray(logprobs)[:, :-1], rollout.tokens[:, 1:, None], axis=2
    )[..., 0]
    drawn = rollout.action_mask[:, 1:]
    errors[dtype] = np.abs(rollout.policy_logprobs[:, 1:] - wanted)[drawn]
  assert errors[''].max() < 2e-5
  assert 1e-4 < errors['int8'].mean() < 5e-3 and errors['int8'].max() < 0.1


# -- the same tokens in any company


def by_sample(rollout):
  """(draw, sample index) -> (prompt length, tokens)."""
  r = jax.device_get(rollout)
  return {
    (int(r.draw_ids[n]), int(r.sample_index[n])): (
      int(r.prompt_length[n]), r.tokens[n, : r.num_tokens[n]].tolist()
    )
    for n in np.flatnonzero(r.group_ids >= 0)
  }  # fmt: skip


def scores_after(dtype, sample_id, tokens):
  """Perturbed scores of the token that follows `tokens`, by the training form."""
  params, _, logits_of = programs(dtype)
  padded = np.zeros((1, 48), np.int32)
  padded[0, : len(tokens)] = tokens
  logits = logits_of(params, padded, np.arange(48)[None, :] < len(tokens))[0, len(tokens) - 1]
  temperature = [0.6, 1.0, 1.3, 0.0][(sample_id[0] - 100) % 4]
  if temperature == 0:
    return np.asarray(logits)
  keys = row_keys(SEED, np.uint32([sample_id[0]]), np.int32([sample_id[1]]))
  noise = gumbel(keys, jnp.array([len(tokens)]), VOCAB)[0]
  return np.asarray(logits) / temperature + np.asarray(noise)


def compare(dtype, base, other):
  """Number of equal tokens; in float32 a sample may part where two scores nearly tie."""
  count = 0
  for sample_id, (start, tokens) in other.items():
    expected = base[sample_id][1]
    if tokens != expected:
      assert dtype == 'float32', sample_id
      t = next(i for i, (a, b) in enumerate(zip(tokens, expected)) if a != b)
      scores = scores_after(dtype, sample_id, tokens[:t])
      best = np.sort(scores)[-2:]
      assert best[1] - best[0] < 1e-4 and {tokens[t], expected[t]} <= set(np.argsort(scores)[-2:])
      tokens = tokens[:t]
    count += len(tokens) - start
  return count


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float64', 'float32'])
def test_tokens_do_not_depend_on_batch_order_or_mesh(dtype):
  with jax.enable_x64(dtype == 'float64'):
    params, draw, _ = programs(dtype)
    requests = ask(range(32))
    settings = SamplerSettings(length=40)
    base = by_sample(draw(params, requests, SEED, settings))
    # Other neighbors, order, padding, length; few slots, which are refilled and drained.
    order = np.random.default_rng(1).permutation(32)[:31].tolist()
    company = ask(order, num_prompts=33, max_prompt=11)
    changed = SamplerSettings(
      length=48, slots=72, window=5, max_new_tokens=NEW, prompts_at_once=4, drains=2
    )
    count = compare(dtype, base, by_sample(draw(params, company, SEED, changed)))
    # Eight devices.
    rollout = on_mesh(dtype)(params, requests, SEED, settings.replace(slots=64, window=3))
    count += compare(dtype, base, by_sample(rollout))
    assert count >= 10_000
    # Alone.
    for i in (0, 5, 30):
      one = make_requests(
        [PROMPTS[i]], samples_per_prompt=1, draw_ids=[100 + i], max_prompt=7, prompt_ids=[i],
        max_new_tokens=NEW, temperature=[0.6, 1.0, 1.3, 0.0][i % 4], first_sample_index=6,
        stop_ids=[9, 4] if i % 2 == 0 else [-1, -1],
      )  # fmt: skip
      assert compare(dtype, base, by_sample(draw(params, one, SEED, settings))) > 0


STOPS = [[3, 17], [5], [21, 8, 21]]


def end_of(completion, stop_ids):
  """Tokens up to the first end, in a loop over the completion's prefixes."""
  ends = [[t] for t in stop_ids if t >= 0] + STOPS
  for n in range(1, len(completion) + 1):
    if any(completion[max(0, n - len(e)) : n] == e for e in ends):
      return n
  return len(completion)


@functools.cache
def without_a_cache():
  """(requests, sample -> completion) of a loop that reads the whole row again for each token."""
  dtype, random = 'float64', np.random.default_rng(0)
  params, _, logits_of = programs(dtype)
  limits = random.integers(1, NEW + 1, 256)
  requests = ask(range(32), stop_sequences=STOPS, max_new_tokens=limits)
  tokens = np.zeros((256, 48), np.int32)
  tokens[:, :7] = requests.prompts[requests.prompt_row]
  start = requests.prompt_length[requests.prompt_row]
  keys = row_keys(SEED, requests.draw_ids, requests.sample_index)
  noise = jax.jit(gumbel, static_argnums=2)
  rows, slots = np.arange(256), np.arange(48)[None, :]
  greedy = requests.temperature == 0
  divisor = np.where(greedy, 1, requests.temperature).astype(np.float64)
  for step in range(NEW):
    at = start + step
    logits = np.asarray(logits_of(params, tokens, slots < at[:, None]))[rows, at - 1]
    scores = logits / divisor[:, None]
    scores += np.where(greedy[:, None], 0, np.asarray(noise(keys, at, VOCAB)))
    tokens[rows, at] = np.argmax(scores, axis=1)
  expected = {}
  for n, sample_id in enumerate(zip(requests.draw_ids.tolist(), requests.sample_index.tolist())):
    whole = tokens[n, start[n] : start[n] + limits[n]].tolist()
    expected[sample_id] = whole[: end_of(whole, requests.stop_ids[n])]
  assert sum(len(e) < n for e, n in zip(expected.values(), limits)) > 60
  return requests, expected


@pytest.mark.parametrize(
  'mesh, settings',
  [
    (True, SamplerSettings(length=45, slots=24, window=11, prompts_at_once=3)),
    pytest.param(False, SamplerSettings(length=40), marks=pytest.mark.thorough),
    pytest.param(
      False,
      SamplerSettings(length=40, slots=33, window=1, max_new_tokens=NEW, drains=3),
      marks=pytest.mark.thorough,
    ),
  ],
  ids=['on a mesh', 'plain', 'refilled'],
)
def test_tokens_are_those_of_a_loop_without_a_cache(mesh, settings):
  """Ragged prompts and limits, stop sequences, all temperatures; many ways to run the engine."""
  with jax.enable_x64(True):
    requests, expected = without_a_cache()
    params, draw, _ = programs('float64')
    draw = on_mesh('float64') if mesh else draw
    found = by_sample(draw(params, requests, SEED, settings))
    assert {k: tokens[n:] for k, (n, tokens) in found.items()} == expected


@pytest.mark.slow
def test_each_sample_may_be_prefilled_with_a_few_others_only():
  """More prompts than the sampler prefills at once, some with no sample left to draw."""
  params, draw, _ = programs('float32')
  base = by_sample(draw(params, ask(range(12)), SEED, SamplerSettings(length=40)))
  limits = np.where(np.arange(96) // 8 % 3 == 1, 0, NEW)
  requests = ask(range(12), max_new_tokens=limits)
  requests = requests.replace(group_ids=np.where(requests.prompt_row == 5, -1, requests.group_ids))
  settings = SamplerSettings(length=40, slots=16, prompts_at_once=2)
  found = by_sample(draw(params, requests, SEED, settings))
  assert len(found) == 88
  for (draw_id, index), (start, tokens) in found.items():
    wanted = base[draw_id, index][1]
    assert tokens == (wanted[:start] if (draw_id - 100) % 3 == 1 else wanted)
