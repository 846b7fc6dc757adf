"""The sampler with a policy that can be enumerated: draws, ends, layout, programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from history_policy import history_policy
from test_filters import reference as filter_reference

from rljax import sharding
from rljax.sampling import filters_in_use, gumbel, make_requests, row_keys, sample
from rljax.structs import SamplerSettings

VOCAB = 5
POLICY = history_policy(VOCAB)
PARAMS = jax.jit(POLICY.init)(jax.random.key(7))


def runner(policy):
  return jax.jit(
    lambda params, requests, seed, settings: sample(
      policy, params, requests, seed=seed, settings=settings
    )
  )


run = runner(POLICY)


def ask(prompts, *, samples=1, new=3, draws=None, temperature=1.0, stop=(0,), **more):
  draws = range(len(prompts)) if draws is None else draws
  return make_requests(
    prompts,
    samples_per_prompt=samples,
    draw_ids=draws,
    max_prompt=more.pop('max_prompt', 4),
    max_new_tokens=new,
    temperature=temperature,
    stop_ids=stop,
    **more,
  )


def logits_of(tokens):
  """float64 [V] after these tokens."""
  place, head = (np.asarray(PARAMS[k], np.float64) for k in ('place', 'head'))
  return np.tanh(sum(place[i, t] for i, t in enumerate(tokens))) @ head


def logprobs_of(tokens, temperature, values):
  """(policy, behavior) log-probs [V] of the next token, by slow loops."""
  scaled = logits_of(tokens) / temperature
  policy = scaled - np.log(np.exp(scaled).sum())
  kept, _ = filter_reference(scaled, **values)
  behavior = np.where(kept, scaled, -np.inf)
  return policy, behavior - np.log(np.exp(behavior).sum())


def completions(rollout, only=None):
  rollout = jax.device_get(rollout)
  rows = range(len(rollout.tokens)) if only is None else only
  return [
    tuple(rollout.tokens[n, rollout.prompt_length[n] : rollout.num_tokens[n]].tolist())
    for n in rows
  ]


@pytest.mark.parametrize(
  ('temperature', 'values'),
  [pytest.param(1.0, {}, marks=pytest.mark.thorough), (1.6, dict(top_k=3, top_p=0.9, min_p=0.1))],
)
def test_whole_completions_come_with_their_exact_probabilities(temperature, values):
  prompt, new, num = [2, 4], 3, 20_000
  exact = {}  # completion -> (policy, behavior) log-prob of each token

  def expand(tokens, records):
    if tokens and (tokens[-1] == 0 or len(tokens) == new):
      exact[tokens] = np.array(records)
      return
    policy, behavior = logprobs_of([*prompt, *tokens], temperature, values)
    for v in range(VOCAB):
      if np.isfinite(behavior[v]):
        expand((*tokens, v), [*records, (policy[v], behavior[v])])

  expand((), [])
  requests = ask([prompt], samples=num, temperature=temperature, **values)
  settings = SamplerSettings(length=5, filters=filters_in_use(**values))
  rollout = jax.device_get(run(PARAMS, requests, 3, settings))
  drawn = completions(rollout)
  assert set(drawn) <= set(exact)
  for tokens in set(drawn):
    n = drawn.index(tokens)
    at = slice(2, 2 + len(tokens))
    np.testing.assert_allclose(rollout.policy_logprobs[n, at], exact[tokens][:, 0], atol=1e-5)
    np.testing.assert_allclose(rollout.behavior_logprobs[n, at], exact[tokens][:, 1], atol=1e-5)

  expected = {tokens: num * np.exp(r[:, 1].sum()) for tokens, r in exact.items()}
  assert sum(expected.values()) == pytest.approx(num)
  cells = [(drawn.count(t), e) for t, e in expected.items() if e >= 5]
  rest = num - np.sum(cells, axis=0)
  cells = [*cells, rest] if rest[1] > 5 else cells
  chi_square = sum((count - e) ** 2 / e for count, e in cells)
  freedom = len(cells) - 1
  assert freedom > 8
  assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


def test_draws_differ_between_draws_samples_and_seeds_and_repeat_otherwise():
  settings = SamplerSettings(length=12)
  prompt = [[1, 2]]

  def drawn(seed, draw, first=0):
    requests = ask(prompt, samples=40, new=8, draws=[draw], stop=(), first_sample_index=first)
    return completions(run(PARAMS, requests, seed, settings))

  base = drawn(0, 5)
  assert base == drawn(0, 5)
  assert len(set(base)) > 35  # sample indices
  for other in (drawn(0, 6), drawn(1, 5), drawn(0, 2**32 - 1), drawn(0, 5, first=40)):
    assert sum(a == b for a, b in zip(base, other)) < 3
  assert drawn(0, 5, first=10)[:30] == base[10:]


def test_noise_has_the_stated_key_whatever_else_is_drawn():
  draws, index = np.array([3, 2**32 - 1], np.uint32), np.array([0, 9], np.int32)
  keys = row_keys(11, draws, index)
  noise = jax.jit(gumbel, static_argnums=2)(keys, jnp.array([4, 4]), 37)
  for n in range(2):
    key = jax.random.key(11, impl='threefry2x32')
    for data in (draws[n], index[n], 4):
      key = jax.random.fold_in(key, data)
    bits = np.asarray(jax.random.bits(key, (37,), jnp.uint32)).astype(np.float64)
    exact = -np.log(-np.log1p(-(bits + 0.5) / 2**32))
    np.testing.assert_allclose(noise[n], exact, rtol=2e-5, atol=1e-6)
  # The same bits in other company, in another position of a vector lane, with x64.
  many = row_keys(11, np.tile(draws, 50)[:99], np.tile(index, 50)[:99])
  wide = jax.jit(gumbel, static_argnums=2)(many, jnp.full(99, 4), 37)
  np.testing.assert_array_equal(wide, np.tile(noise, (50, 1))[:99])
  with jax.enable_x64(True):
    keys = row_keys(np.int64(11), draws, index)
    again = jax.jit(gumbel, static_argnums=2)(keys, np.array([4, 4]), 37)
    assert again.dtype == jnp.float32
    np.testing.assert_array_equal(again, noise)
  with pytest.raises(OverflowError):
    row_keys(-1, draws, index)


def test_first_tokens_follow_the_softmax():
  num, prompt = 30_000, [3, 1, 4]
  requests = ask([prompt], samples=num, new=1, temperature=0.7)
  first = np.array(completions(run(PARAMS, requests, 1, SamplerSettings(length=5))))[:, 0]
  expected = num * np.exp(logprobs_of(prompt, 0.7, {})[0])
  chi_square = np.sum((np.bincount(first, minlength=VOCAB) - expected) ** 2 / expected)
  assert chi_square < 18.5  # 4 degrees of freedom, p = 0.001


def test_layout_ends_and_inert_rows():
  # Rows: a usual one, max_new_tokens 0, a short limit, an ended prefix, and two unused rows.
  prompts = [[1], [2, 3, 4], [4, 1], [3, 3, 3, 3]]
  requests = ask(
    prompts, new=[6, 0, 2, 6], stop=(), num_prompts=6, prompt_ids=[70, 71, 72, 73],
    prefixes=[[], [2], [1, 1], [2, 0]], policy_step=9,
  )  # fmt: skip
  requests.stop_ids[3] = 0
  rollout = jax.device_get(run(PARAMS, requests, 0, SamplerSettings(length=10)))
  assert rollout.num_tokens.tolist() == [7, 4, 6, 6, 0, 0]
  assert rollout.prompt_length.tolist() == [1, 3, 2, 4, 0, 0]
  assert rollout.truncated.tolist() == [True, True, True, False, False, False]
  assert rollout.action_mask.sum(1).tolist() == [6, 0, 2, 0, 0, 0]
  slots = np.arange(10)
  np.testing.assert_array_equal(rollout.mask, slots < rollout.num_tokens[:, None])
  given = np.array([1, 4, 4, 6, 0, 0])
  np.testing.assert_array_equal(
    rollout.action_mask, rollout.mask & (slots >= given[:, None])
  )
  assert rollout.tokens[2, :4].tolist() == [4, 1, 1, 1]
  assert rollout.tokens[3].tolist() == [3, 3, 3, 3, 2, 0, 0, 0, 0, 0]
  assert not rollout.tokens[~rollout.mask].any()
  assert (rollout.policy_logprobs[rollout.action_mask] < 0).all()
  assert not rollout.policy_logprobs[~rollout.action_mask].any()
  assert rollout.group_ids.tolist() == [0, 1, 2, 3, -1, -1]
  assert rollout.prompt_ids.tolist() == [70, 71, 72, 73, -1, -1]
  assert (rollout.policy_step == 9).all()
  assert rollout.tokens.dtype == np.int32 and rollout.draw_ids.dtype == np.uint32
  assert rollout.policy_logprobs.dtype == rollout.behavior_logprobs.dtype == np.float32
  # The limit of the rollout itself, where nobody checked on the host.
  short = jax.device_get(run(PARAMS, requests, 0, SamplerSettings(length=5)))
  assert short.num_tokens.tolist() == [5, 4, 5, 5, 0, 0]
  np.testing.assert_array_equal(short.tokens[:3], rollout.tokens[:3, :5] * short.mask[:3])


def test_the_first_of_several_stop_tokens_ends_a_sample_and_is_kept():
  requests = ask([[1, 2]], samples=60, new=10, stop=(-1, -1))
  free = completions(run(PARAMS, requests, 0, SamplerSettings(length=14)))
  stops = (3, 0)
  requests = ask([[1, 2]], samples=60, new=10, stop=stops)
  rollout = jax.device_get(run(PARAMS, requests, 0, SamplerSettings(length=14)))
  ends = set()
  for n, (whole, cut) in enumerate(zip(free, completions(rollout))):
    hits = [i for i, t in enumerate(whole) if t in stops]
    assert cut == (whole[: hits[0] + 1] if hits else whole)
    assert rollout.truncated[n] == (not hits)
    assert rollout.action_mask[n].sum() == len(cut) == rollout.num_tokens[n] - 2
    if hits:
      ends.add(cut[-1])
      at = rollout.num_tokens[n] - 1
      assert rollout.action_mask[n, at] and rollout.policy_logprobs[n, at] < 0
  assert ends == set(stops)


def test_greedy_rows_take_the_best_token_and_record_temperature_1():
  requests = ask([[1, 2], [3]], samples=2, new=5, temperature=[0, 1, 0, 0], stop=(), top_k=2)
  settings = SamplerSettings(length=9, filters=('top_k',), capture=('entropy',))
  rollout = jax.device_get(run(PARAMS, requests, 0, settings))
  for n in (0, 2, 3):
    tokens = rollout.tokens[n, : rollout.prompt_length[n]].tolist()
    for t in range(rollout.prompt_length[n], rollout.num_tokens[n]):
      logprobs, _ = logprobs_of(tokens, 1.0, {})
      assert rollout.tokens[n, t] == np.argmax(logprobs)
      assert rollout.policy_logprobs[n, t] == pytest.approx(logprobs.max(), abs=1e-5)
      entropy = -np.sum(np.exp(logprobs) * logprobs)
      assert rollout.entropy[n, t] == pytest.approx(entropy, abs=1e-5)
      tokens.append(int(rollout.tokens[n, t]))
    assert not rollout.behavior_logprobs[n].any()
  assert rollout.behavior_logprobs[1].any()
  assert not rollout.entropy[~rollout.action_mask].any()


def test_nan_in_unused_rows_and_impossible_tokens_do_no_harm():
  params = jax.tree.map(np.array, PARAMS)
  params['place'][:, 4] = np.nan  # only unused rows hold token 4 …
  policy = POLICY._replace(
    unembed=lambda head, x: jnp.where(
      jnp.arange(VOCAB)[None, :] == 4, -jnp.inf, POLICY.unembed(head, x)  # … and none draws it
    )
  )
  careful = runner(policy)
  requests = ask([[1, 2], [3]], samples=3, new=6, num_prompts=4)
  settings = SamplerSettings(length=9, filters=('top_p',), capture=('entropy',))
  clean = careful(params, requests, 0, settings)
  requests.prompts[2:] = 4
  requests.prompt_length[2:] = 2
  dirty = careful(params, requests, 0, settings)
  for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty)):
    np.testing.assert_array_equal(a, b)
    assert np.isfinite(b).all()


def test_slots_and_window_change_no_bit_and_compile_no_second_program():
  requests = ask([[1], [2, 3], [4, 1, 2]], samples=4, new=7)
  compiled = runner(POLICY)
  base = completions(compiled(PARAMS, requests, 5, SamplerSettings(length=12)))
  for window in (3, 100, 0):
    settings = SamplerSettings(length=12, window=window)
    assert completions(compiled(PARAMS, requests, 5, settings)) == base
  assert completions(compiled(PARAMS, requests, 6, settings)) != base
  assert compiled._cache_size() == 1
  settings = SamplerSettings(length=12, slots=4, window=2)
  assert completions(compiled(PARAMS, requests, 5, settings)) == base


def test_a_prefix_of_a_completion_is_continued_with_the_same_tokens():
  prompts, settings = [[1], [2, 3], [4, 1, 2]], SamplerSettings(length=12)
  whole = jax.device_get(run(PARAMS, ask(prompts, samples=8, new=8), 2, settings))
  ends = completions(whole)
  cuts = np.random.default_rng(0).integers(0, [len(c) + 1 for c in ends])
  prefixes = [c[:cut] for c, cut in zip(ends, cuts)]
  requests = ask(prompts, samples=8, new=8 - cuts, prefixes=prefixes, max_prefix=8)
  again = jax.device_get(run(PARAMS, requests, 2, settings))
  assert completions(again) == ends
  assert sum(len(c) == cut for c, cut in zip(ends, cuts)) > 1  # some prefixes are complete
  np.testing.assert_array_equal(again.truncated, whole.truncated)
  np.testing.assert_array_equal(again.action_mask.sum(1), [len(c) for c in ends] - cuts)
  drawn = again.action_mask
  np.testing.assert_allclose(
    again.policy_logprobs[drawn], whole.policy_logprobs[drawn], atol=1e-5
  )


def test_each_prompt_is_prefilled_once():
  trace = []
  policy = history_policy(VOCAB, trace=trace)
  requests = ask([[1], [2, 3]], samples=6, prefixes=[[1]] * 12)
  jax.eval_shape(runner(policy), PARAMS, requests, 0, SamplerSettings(length=9, slots=4))
  assert {shape for kind, shape in trace if kind == 'prefill'} == {(1, 4), (4, 1)}
  assert {shape for kind, shape in trace if kind == 'decode'} == {(4,)}


@pytest.mark.slow
def test_shards_have_queues_of_their_own_and_need_nothing_of_each_other():
  mesh = sharding.make_mesh(data=4, fsdp=2)
  prompts, lengths, prefixes = [[1], [2, 3], [4, 1, 2]], [1, 6, 3] * 8, [[1], [], [2]] * 8
  requests = ask(prompts, samples=7, new=lengths[:21], prefixes=prefixes[:21])
  settings = SamplerSettings(length=12, filters=('top_k', 'top_p'), window=2)

  @functools.partial(jax.jit, static_argnames='shards')
  def on(params, requests, settings, shards):
    return sample(POLICY, params, requests, seed=0, settings=settings, mesh=shards)

  alone = completions(run(PARAMS, requests, 0, settings))
  fewer = ask(prompts, samples=5, new=lengths[:15], prefixes=prefixes[:15])  # one row is missing
  placed = jax.device_put(fewer, sharding.request_shardings(fewer, mesh))
  for few in (fewer, placed):
    padded = on(PARAMS, few, settings, mesh)
    np.testing.assert_array_equal(padded.group_ids, fewer.group_ids)
    assert completions(padded) == completions(run(PARAMS, fewer, 0, settings))
  for slots in (0, 16):  # 21 rows: the shards have 3 each, some none
    some = settings.replace(slots=slots)
    assert completions(on(PARAMS, requests, some, mesh)) == alone
  requests = ask(prompts, samples=8, new=lengths, prefixes=prefixes)  # nothing to be padded
  text = on.lower(PARAMS, requests, some, mesh).compile().as_text()
  assert 'while(' in text
  for collective in ('all-gather', 'all-reduce', 'all-to-all', 'collective-permute'):
    assert f' {collective}' not in text


def test_settings_that_do_not_exist_are_refused():
  requests = ask([[1], [2, 3]], samples=3)
  for settings, message in (
    (SamplerSettings(length=8, filters=('topk',)), "unknown filter 'topk'"),
    (SamplerSettings(length=8, capture=('entropies',)), "unknown capture 'entropies'"),
    (SamplerSettings(length=8, capture=('top',)), "capture 'top' with num_top=0"),
  ):
    with pytest.raises(ValueError, match=message):
      run(PARAMS, requests, 0, settings)
  with pytest.raises(ValueError, match='slots=12 are not divided by the 8 shards'):
    settings, mesh = SamplerSettings(length=8, slots=12), sharding.make_mesh(data=8)
    sample(POLICY, PARAMS, requests, seed=0, settings=settings, mesh=mesh)
