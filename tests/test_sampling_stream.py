"""A rollout in steps: the samples of one program, forks, and scores of given texts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from history_policy import history_policy

from rljax.sampling import advance, begin, fork, make_requests, sample, score
from rljax.structs import SamplerSettings

VOCAB, SEED = 5, 3
POLICY = history_policy(VOCAB)
PARAMS = jax.jit(POLICY.init)(jax.random.key(7))
SETTINGS = SamplerSettings(
  length=14, slots=5, window=2, max_new_tokens=12, capture=('top',), num_top=2
)


def ask(**more):
  """Five prompts, four samples each; some of them short, most of them with a prefix."""
  given = dict(
    samples_per_prompt=4, draw_ids=range(5), max_prompt=3, temperature=1.0, stop_ids=[0],
    max_new_tokens=[9, 4, 7, 1] * 5, prefixes=[[], [1], [2, 3], [4]] * 5, stop_sequences=[[2, 3]],
  )  # fmt: skip
  return make_requests([[1], [2, 3], [4, 1, 2], [3], [2]], **(given | more))


@functools.partial(jax.jit, static_argnames='slots')
def whole(params, requests, slots=0):
  settings = SETTINGS.replace(slots=slots)
  return sample(POLICY, params, requests, seed=SEED, settings=settings)


@jax.jit
def start(params, requests, held):
  return begin(POLICY, params, requests, seed=SEED, settings=SETTINGS, held=held)


@functools.partial(jax.jit, donate_argnums=2)
def go_on(params, requests, state, num_windows):
  return advance(
    POLICY, params, requests, state, seed=SEED, settings=SETTINGS, num_windows=num_windows
  )


@jax.jit
def branch(requests, state, parents, children, at):
  return fork(POLICY, requests, state, parents, children, at)


def drain(requests, state, windows):
  """{row: one-row rollout} of everything that is still to come; the calls it took."""
  found, calls = {}, 0
  while True:
    state, finished = go_on(PARAMS, requests, state, windows[calls % len(windows)])
    calls += 1
    for i, row in enumerate(np.asarray(finished.sample)):
      if row >= 0:
        assert row not in found
        found[int(row)] = jax.tree.map(lambda x, i=i: np.asarray(x)[i], finished.rollout)
    if finished.done:
      return found, calls


@pytest.mark.parametrize('windows', [[1], [3, 0, 1000]], ids=['1', 'mixed'])
def test_streamed_samples_are_those_of_one_program(windows):
  requests = ask()
  requests.group_ids[4:6] = -1
  expected = jax.device_get(whole(PARAMS, requests))
  found, calls = drain(requests, start(PARAMS, requests, np.zeros(20, bool)), windows)
  assert sorted(found) == [n for n in range(20) if n not in (4, 5)]
  assert calls > 3
  for n, rollout in found.items():
    wanted = jax.tree.map(lambda x, n=n: x[n], expected)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), rollout, wanted
    )
  assert go_on._cache_size() == 1


def tokens_of(rollout):
  return rollout.tokens[: rollout.num_tokens].tolist()


@pytest.mark.thorough
def test_a_fork_goes_on_as_a_sample_with_the_parents_tokens_for_a_prefix():
  requests = ask(
    prefixes=[[1]] * 20, max_new_tokens=8, stop_ids=[], stop_sequences=[[3, 3, 3]], max_prefix=9
  )
  held = np.arange(20) % 4 == 3
  state = start(PARAMS, requests, held)
  state, _ = go_on(PARAMS, requests, state, 2)  # four tokens of the first five samples
  live = np.asarray(state.slots.sample)
  assert {0, 4} <= set(live.tolist())
  at = np.array([4, 4, 3, 2, 9])  # prompt 1 has one token and prefix 1
  state, done = branch(
    requests, state, np.array([0, 0, 4, -1, 5]), np.array([3, 3, 7, 11, 15]), at
  )
  # No slot is free yet: nothing happens.
  assert not np.asarray(done).any() and np.asarray(state.held).sum() == 5
  state = state.replace(
    slots=state.slots.replace(sample=state.slots.sample.at[jnp.array([1, 2])].set(20))
  )  # two samples are given up
  gone = live[[1, 2]].tolist()
  state, done = branch(
    requests, state, np.array([0, 19, 4, -1, 0]), np.array([3, 7, 7, 11, 0]),
    np.array([4, 4, 4, 2, 4]),
  )  # fmt: skip
  # A parent that does not live, a child that was not held: not; the others live.
  assert np.asarray(done).tolist() == [True, False, True, False, False]
  given_up = jnp.zeros(20, bool).at[jnp.array(gone)].set(True)
  state = state.replace(handed_out=state.handed_out | given_up)
  found, _ = drain(requests, state, [3])
  for parent, child, position in ((0, 3, 4), (4, 7, 4)):
    tokens = tokens_of(found[child])
    assert tokens[:position] == tokens_of(found[parent])[:position]
    length = int(requests.prompt_length[child // 4])
    again = ask(
      prefixes=[tokens[length:position]] * 20, max_new_tokens=8 - (position - length - 1),
      stop_ids=[], stop_sequences=[[3, 3, 3]], max_prefix=9,
    )  # fmt: skip
    alone = jax.device_get(whole(PARAMS, again, slots=4))
    assert tokens_of(jax.tree.map(lambda x, n=child: x[n], alone)) == tokens
    assert found[child].action_mask.sum() == len(tokens) - length - 1  # the parent's included


@pytest.mark.thorough
def test_a_fork_far_behind_waits_for_a_cache_with_more_room():
  requests = ask(prefixes=None, max_new_tokens=8, stop_ids=[], stop_sequences=())
  requests.sample_index[3] = 9
  ends = {}
  for room in (9, 12):
    settings = SETTINGS.replace(max_new_tokens=room, slots=4)
    state = begin(POLICY, PARAMS, requests, seed=SEED, settings=settings, held=np.arange(20) == 3)
    state, _ = advance(
      POLICY, PARAMS, requests, state, seed=SEED, settings=settings, num_windows=3
    )  # six tokens of four samples
    state = state.replace(slots=state.slots.replace(sample=state.slots.sample.at[3].set(20)))
    for position in (3, 2):  # prompt 1 has one token
      _, done = fork(POLICY, requests, state, np.array([0]), np.array([3]), np.array([position]))
      ends[room, position] = bool(done[0])
  # Six steps are gone; eight tokens less those that are kept are still to come.
  assert ends == {(9, 3): False, (9, 2): False, (12, 3): True, (12, 2): False}


def test_scores_are_the_records_of_the_sampler():
  requests = ask(temperature=0.7)
  settings = SETTINGS.replace(capture=('entropy', 'top'))
  rollout = jax.device_get(
    jax.jit(lambda p, r: sample(POLICY, p, r, seed=SEED, settings=settings))(PARAMS, requests)
  )
  found = jax.device_get(
    jax.jit(
      lambda params, tokens, lengths: score(
        POLICY, params, tokens, lengths, temperature=0.7, num_top=2, chunk_size=4
      )
    )(PARAMS, rollout.tokens, rollout.num_tokens)
  )
  drawn = rollout.action_mask
  for name, record in (('logprobs', rollout.policy_logprobs), ('entropy', rollout.entropy),
                       ('top_logprobs', rollout.top_logprobs)):  # fmt: skip
    np.testing.assert_allclose(found[name][drawn], record[drawn], atol=1e-5)
  np.testing.assert_array_equal(found['top_ids'][drawn], rollout.top_ids[drawn])
  assert not found['logprobs'][~rollout.mask].any() and not found['logprobs'][:, 0].any()
  given = rollout.mask & ~drawn & (np.arange(14) > 0)
  assert (found['logprobs'][given] < 0).all()  # prompts are scored too
