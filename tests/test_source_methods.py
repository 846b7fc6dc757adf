"""Methods that tell the tasks of a batch apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import advantages as reference

from rljax import advantages, config
from rljax.advantages.sources import source_ids
from rljax.binding import bind
from rljax.prompts import Prompt

BOTH = ('sorting', 'reversing')


def stage(name):
  return config.load(str(config.find(name))).rl


def of_tasks(*tasks):
  """Arrays of tasks given as lists of groups of rewards; each task has components of its own."""
  rewards, groups, owner = [], [], []
  for number, task in enumerate(tasks):
    for group in task:
      groups += [max(groups, default=-1) + 1] * len(group)
      rewards, owner = rewards + list(group), owner + [number] * len(group)
  rewards, owner = np.array(rewards, np.float32), np.array(owner)
  parts = {name: np.where(owner == k, rewards, np.nan) for k, name in enumerate(BOTH)}
  return {
    'rewards': jnp.asarray(rewards),
    'group_ids': jnp.array(groups, jnp.int32),
    'reward_components': {name: jnp.asarray(x) for name, x in parts.items()},
  }


def test_sources_are_told_by_their_components():
  batch = of_tasks([[1, 0]], [[1]])
  parts = batch['reward_components'] | {'none': jnp.full(3, jnp.nan)}
  assert source_ids('f', parts, BOTH).tolist() == [0, 0, 1]
  assert source_ids('f', parts, ('none', 'reversing')).tolist() == [-1, -1, 1]
  with pytest.raises(ValueError, match=r"f: sources=\('a',\) names \['a'\]; there are the comp"):
    source_ids('f', parts, ('a',))
  with pytest.raises(ValueError, match='names nothing'):
    source_ids('f', parts, ())


# -- qwenlong_aepo --------------------------------------------------------------------------------


def prompts(number=40):
  return [
    Prompt(text=str(i), prompt_id=i, metadata={'source': BOTH[i % 5 == 0]}) for i in range(number)
  ]


def test_qwenlong_aepo_draws_fixed_shares_of_each_task():
  bound = bind(stage('papers/qwenlong_aepo').curriculum, ('prompts', 'seed'))
  drawn = bound({'prompts': prompts(), 'seed': 0})
  seen = []
  for count in (8, 7, 8):
    batch = drawn.sample(count)
    told = [p.metadata['source'] for p in batch]
    assert len(told) == count and abs(told.count('sorting') - count / 2) <= 0.5
    seen += [p.prompt_id for p in batch if p.metadata['source'] == 'reversing']
  assert sorted(seen[:8]) == list(range(0, 40, 5))  # each once an epoch


def test_qwenlong_aepo_divides_by_the_deviation_of_the_task():
  bound = bind(stage('papers/qwenlong_aepo').advantage)
  batch = of_tasks([[1, 0], [1, 0, 0, 0], [1, 1]], [[0.6, 0.5], [0.5, 0.5]])
  found = np.asarray(bound(batch, bound.hyper(0)))
  given = {name: jax.tree.map(np.asarray, x) for name, x in batch.items()}
  np.testing.assert_allclose(
    found, reference.source_normalize(**given, sources=BOTH), rtol=1e-5, atol=1e-6
  )
  # Of the second task the differences are a tenth, and its advantages are as large.
  assert found[8] > 0.9
  assert found[0] == pytest.approx(0.5 / np.std([1, 0, 1, 0, 0, 0, 1, 1], ddof=1), rel=1e-4)
  one = of_tasks([[1, 1]], [[0.6, 0.5]])
  assert np.asarray(bound(one, bound.hyper(0)))[:2].tolist() == [0, 0]


def test_qwenlong_aepo_shuts_and_opens_its_gate():
  bound = bind(stage('papers/qwenlong_aepo').advantage_shaping.aepo)
  low, high = (bound.hyper(0)[name] for name in ('low', 'high'))
  given = {'advantages': jnp.array([[2.0, -1.0, -3.0]]), 'action_mask': jnp.array([[1, 1, 0]]) > 0}
  state, seen = bound.first_state(), []
  middle = (low + high) / 2
  for entropy in (middle, high + 0.1, middle, low - 0.01, middle):
    arrays = {**given, 'entropy': jnp.array([[entropy, entropy, jnp.nan]])}
    found, state = bound(arrays, bound.hyper(0), state=state)
    assert found[0, 0] == 2 and found[0, 2] == 0
    seen.append(float(found[0, 1]))
  assert seen == [-1, 0, 0, -1, -1]
  nothing = {**arrays, 'action_mask': jnp.zeros((1, 3), bool)}
  assert bound(nothing, bound.hyper(0), state=jnp.array(True))[1]


# -- recap_replay ---------------------------------------------------------------------------------


def weights(*history, window=4):
  """Factor of each task's advantages after iterations given as (rewards, rewards)."""
  hyper = {'sources': BOTH, 'window': window}
  state = advantages.source_weighted_init(**hyper)
  for here in history:
    batch = of_tasks(*([task] for task in here))
    found, state = advantages.source_weighted(**batch, **hyper, state=state)
  plain = np.asarray(advantages.group_normalize(batch['rewards'], batch['group_ids']))
  return [float(found[i] / plain[i]) for i in (0, len(here[0]))]


WON, HALF, LOST = [0.99, 1.0], [1.0, 0.0], [0.1, 0.0]


def test_recap_replay_moves_weight_to_tasks_that_lag():
  solved, lagging = weights(*[(WON, LOST)] * 4)
  assert lagging > 1 > solved and solved + lagging == pytest.approx(2)
  assert weights(*[(HALF, HALF)] * 4) == pytest.approx([1, 1])
  rising, falling = weights((LOST, HALF), (LOST, HALF), (HALF, LOST), (HALF, LOST))
  assert falling > 1 > rising
  assert weights((HALF, HALF)) == pytest.approx([1, 1])  # nothing earlier


def test_recap_replay_forgets_what_is_older_than_its_window():
  long_ago = [(LOST, WON)] * 3
  assert weights(*long_ago, *[(HALF, HALF)] * 4) == pytest.approx([1, 1])
  assert weights(*long_ago, *[(HALF, HALF)] * 3)[0] != pytest.approx(1)


def test_recap_replay_weighs_in_its_config():
  bound = bind(stage('papers/recap_replay').advantage)
  state, batch = bound.first_state(), of_tasks([WON], [HALF])
  for _ in range(9):
    found, state = bound(batch, bound.hyper(0), state=state)
  assert float(found[2]) > 1.2 * float(found[1])
  with pytest.raises(ValueError, match='window=3; it must be even'):
    advantages.source_weighted_init(sources=BOTH, window=3)
  with pytest.raises(ValueError, match=r'the state is \(8, 2\), not \(4, 2\)'):
    advantages.source_weighted(**batch, sources=BOTH, window=4, state=state)
