"""Samples that are parked, appended to and woken; rollouts in steps on a mesh."""

import functools
import types

import jax
import numpy as np
import pytest
from history_policy import history_policy
from test_sampling_decoder import model as decoder
from test_sampling_decoder import programs as decoder_programs

from rljax import sharding
from rljax.sampling import advance, append, begin, fork, make_requests, release, sample
from rljax.structs import SamplerSettings

SEED, VOCAB, LENGTH = 3, 5, 16
PROMPTS = [[1], [2, 3], [4, 1, 2], [3], [2]]
LIMITS = [3, 5, 2, 4]  # of a turn
PREFIXES = [[], [1], [2, 3], [4]]
SETTINGS = SamplerSettings(length=LENGTH, slots=8, window=2, turns=True, max_new_tokens=12)
STOPS = dict(stop_ids=[0], stop_sequences=[[2, 3]], temperature=1.0)


def ask(**more):
  """Five prompts, four samples each, with limits for each turn."""
  given = dict(
    samples_per_prompt=4, draw_ids=range(5), max_prompt=3, max_new_tokens=LIMITS * 5,
    prefixes=PREFIXES * 5, max_prefix=2, **STOPS,
  )  # fmt: skip
  return make_requests(PROMPTS, **(given | more))


@functools.cache
def programs(kind, mesh=None, **changes):
  """(params, jitted begin, advance, append, fork, release, sample) of a small policy."""
  history = kind == 'history'
  policy = history_policy(VOCAB, length=LENGTH) if history else decoder('float32')
  params = jax.jit(policy.init)(jax.random.key(7)) if history else decoder_programs('float32')[0]
  settings = SETTINGS.replace(**changes)
  how, plain = dict(settings=settings, mesh=mesh), settings.replace(turns=False, speculate='')

  def further(params, requests, state, num_windows):
    return advance(policy, params, requests, state, seed=SEED, num_windows=num_windows, **how)

  def wake(params, requests, state, *given):
    return append(policy, params, requests, state, *given, **how)

  return types.SimpleNamespace(
    params=params,
    start=jax.jit(lambda p, r, held=None: begin(policy, p, r, seed=SEED, held=held, **how)),
    advance=jax.jit(further, donate_argnums=2),
    append=jax.jit(wake, donate_argnums=2),
    fork=jax.jit(lambda r, state, *given: fork(policy, r, state, *given, mesh=mesh)),
    release=jax.jit(lambda r, state, rows: release(r, state, rows, mesh=mesh)),
    whole=jax.jit(lambda p, r: sample(policy, p, r, seed=SEED, settings=plain)),
  )


def answer(row, turn, tokens):
  """What the world says to a turn: up to three tokens, of what it has heard; no stop at its end.

  Nothing where the sample has met a limit, now and then.
  """
  count = (row + turn) % 4 or int(tokens[-1] in (0, 3))
  return [(1, 2, 4)[(sum(tokens) + row + i) % 3] for i in range(count)]


def finished_of(finished):
  """row -> one-row rollout."""
  found = jax.device_get(finished)
  places = np.flatnonzero(found.sample >= 0)
  return {int(found.sample[i]): jax.tree.map(lambda x, i=i: x[i], found.rollout) for i in places}


def play(run, requests, turns, held=None):
  """row -> its rollout after at most `turns` turns, each answered; the refused of each row."""
  state, out, refused, turn = run.start(run.params, requests, held), {}, set(), {}
  while True:
    state, finished = run.advance(run.params, requests, state, 3)
    ended = finished_of(finished)
    out.update(ended)
    rows = [row for row in ended if turn.get(row, 0) < turns - 1]
    done = np.zeros(0, bool)
    if rows:
      texts = [answer(r, turn.get(r, 0), ended[r].tokens[: ended[r].num_tokens]) for r in rows]
      ids = np.full(8, -1, np.int32)
      ids[: len(rows)] = rows
      tokens, lengths = np.zeros((8, 3), np.int32), np.zeros(8, np.int32)
      for i, text in enumerate(texts):
        tokens[i, : len(text)], lengths[i] = text, len(text)
      state, done = run.append(run.params, requests, state, ids, tokens, lengths)
      done = np.asarray(done)[: len(rows)]
      turn.update({row: turn.get(row, 0) + 1 for row, well in zip(rows, done) if well})
      refused |= {row for row, well in zip(rows, done) if not well}
    leaving = [r for r in ended if r not in rows] + [r for r, well in zip(rows, done) if not well]
    if leaving:
      ids = np.full(8, -1, np.int32)
      ids[: len(leaving)] = leaving
      state, found = run.release(requests, state, ids)
      assert np.asarray(found).sum() <= len(leaving)
    if finished.done and not done.any():
      return out, refused


def naive(run, requests, turns):
  """`play` with a fresh request, whose prefix is the whole completion so far, for each turn."""
  count = len(requests.group_ids)
  start = np.asarray(requests.prompt_length)[requests.prompt_row]
  texts = [list(p) for p in PREFIXES * (count // 4)]
  marks = [[False] * len(text) for text in texts]
  logprobs = [[0.0] * len(text) for text in texts]
  given, ended, refused = [len(t) for t in texts], set(), set()
  for turn in range(turns):
    room = [min(LENGTH - start[n] - given[n], 12) + given[n] - len(texts[n]) for n in range(count)]
    limits = [min(LIMITS[n % 4], room[n]) if n not in ended else 0 for n in range(count)]
    rollout = jax.device_get(
      run.whole(run.params, ask(prefixes=texts, max_prefix=LENGTH, max_new_tokens=limits))
    )
    for n in range(count):
      if n in ended:
        continue
      new = slice(start[n] + len(texts[n]), rollout.num_tokens[n])
      drawn = rollout.tokens[n][new].tolist()
      texts[n] += drawn
      marks[n] += [True] * len(drawn)
      logprobs[n] += rollout.policy_logprobs[n][new].tolist()
      whole = rollout.tokens[n][: rollout.num_tokens[n]]
      more = answer(n, turn, whole)
      if turn == turns - 1:
        continue
      if not drawn or room[n] - len(drawn) - len(more) < 1:
        ended.add(n)
        refused.add(n)
        continue
      texts[n] += more
      marks[n] += [False] * len(more)
      logprobs[n] += [0.0] * len(more)
  return texts, marks, logprobs, refused


KINDS = [
  pytest.param('history', None, {}, marks=pytest.mark.thorough),
  ('history', None, dict(speculate='lookup', num_draft=2)),
  ('decoder', None, {}),
  pytest.param('history', 8, {}, marks=pytest.mark.thorough),
]


@pytest.mark.parametrize('kind, shards, changes', KINDS, ids=lambda x: str(x).split("'")[-2:][0])
def test_a_turn_goes_on_as_a_sample_with_everything_before_for_a_prefix(kind, shards, changes):
  mesh = shards and sharding.make_mesh(data=shards // 2, fsdp=2)
  run, requests = programs(kind, mesh, **changes), ask()
  found, refused = play(run, requests, turns=3)
  texts, marks, logprobs, ended = naive(programs(kind), requests, turns=3)
  assert sorted(found) == list(range(20))
  for n, rollout in found.items():
    start = int(rollout.prompt_length)
    own = slice(start, int(rollout.num_tokens))
    assert rollout.tokens[own].tolist() == texts[n], n
    assert rollout.action_mask[own].tolist() == marks[n], n
    given = len(PREFIXES[n % 4])
    heard = ~np.array(marks[n][given:], bool)  # a turn that nothing answers goes on as the same
    turn_ids = np.cumsum(heard & ~np.pad(heard, (1, 0))[:-1]).tolist()
    assert rollout.turn_ids[own].tolist() == [0] * given + turn_ids, n
    np.testing.assert_allclose(rollout.policy_logprobs[own], logprobs[n], atol=1e-5)
    assert not rollout.policy_logprobs[~rollout.action_mask].any()
  assert refused == ended and 0 < len(ended) < 20
  assert run.advance._cache_size() == run.append._cache_size() == 1


@pytest.mark.parametrize('turns', [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_forks_on_a_mesh_and_what_is_given_up(turns):
  requests = ask(prefixes=None, max_new_tokens=6, stop_ids=[], stop_sequences=(), num_prompts=6)
  mesh = sharding.make_mesh(data=2, fsdp=1, devices=jax.devices()[:2])  # twelve samples each
  run = programs('history', mesh, turns=turns)
  held = np.arange(24) % 4 == 3
  state = run.start(run.params, requests, held)
  state, _ = run.advance(run.params, requests, state, 1)
  live = np.asarray(state.slots.sample)
  assert live.shape == (2, 4) and {0, 1, 2} <= set(live[0].tolist())
  third = int(live[1][0]) + 12
  state, found = run.release(requests, state, np.array([2, third, 3, -1]))
  assert np.asarray(found).tolist() == [True, True, False, False]
  child = np.array([3, 7, 23])
  state, done = run.fork(requests, state, np.array([0, 12, 0]), child, np.array([2, 1, 2]))
  # The second has a parent on another shard, the third is on another shard than its parent.
  assert np.asarray(done).tolist() == [True, False, False]
  out = {}
  while True:
    state, finished = run.advance(run.params, requests, state, 2)
    ended = finished_of(finished)
    out.update(ended)
    if turns and ended:
      ids = np.full(8, -1, np.int32)
      ids[: len(ended)] = list(ended)
      state, _ = run.release(requests, state, ids)
    if finished.done:
      break
  used = [n for n in range(20) if n % 4 != 3 and n not in (2, third)]
  assert sorted(out) == sorted([*used, 3])
  alone = jax.device_get(run.whole(run.params, requests))
  for n in used:
    assert out[n].tokens.tolist() == alone.tokens[n].tolist()
  assert out[3].tokens[:2].tolist() == out[0].tokens[:2].tolist()
  assert out[3].num_tokens == 7


def test_what_is_refused():
  run, requests = programs('history'), ask()
  state = run.start(run.params, requests)
  state, _ = run.advance(run.params, requests, state, 1)
  live = np.asarray(state.slots.sample)
  kept, drawn = live[live > 20] - 21, live[live < 20]
  assert kept.size and drawn.size
  rows = np.array([kept[0], drawn[0], 19, -1])
  for lengths, done in ((4, [False] * 4), (-1, [False] * 4), (1, [True, False, False, False])):
    state, found = run.append(
      run.params, requests, state, rows, np.ones((4, 3), np.int32), np.full(4, lengths)
    )
    # More tokens than there are; a sample that is being drawn, that waits, none.
    assert np.asarray(found).tolist() == done
  policy, settings = history_policy(VOCAB), SETTINGS.replace(turns=False)
  with pytest.raises(ValueError, match=r'begin it with settings\.turns'):
    append(policy, run.params, requests, state, rows, rows, rows, settings=settings)
  with pytest.raises(ValueError, match='turns are taken in a rollout in steps'):
    sample(policy, run.params, requests, seed=0, settings=SETTINGS)
  with pytest.raises(ValueError, match='turns: the policy has no `extend`'):
    begin(policy._replace(extend=None), run.params, requests, seed=0, settings=SETTINGS)
