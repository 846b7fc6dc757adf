"""Level 0: the tree's exact gradient, and what estimators do to it, through the real update."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import advantages
from rljax.forward import forward

EXPERIMENTS = pathlib.Path(__file__).resolve().parent.parent / 'experiments'
sys.path.append(str(EXPERIMENTS))

from comparison import arms  # noqa: E402
from suite import gradients, level0, tree  # noqa: E402

SIZES = dict(batches=2, lanes=128, steps=4)


@pytest.fixture(scope='module')
def world():
  return tree.make_tree(prompts=4, graded=True, steps=(0,))


@pytest.fixture(scope='module')
def rloo(world):
  return level0.records('RLOO', level0.RLOO, world, **SIZES)


def test_completions_are_all_there_are(world):
  whole = np.sum(tree.logprobs(world.checkpoints[0])[0], axis=-1)
  np.testing.assert_allclose(np.exp(whole).sum(axis=1), 1, rtol=1e-5)
  assert len({tuple(row) for row in tree.COMPLETIONS}) == len(tree.COMPLETIONS) == 85


def test_the_policy_reads_off_the_table(world):
  table, like = world.checkpoints[0], tree.template(4, 8)
  batch = jax.jit(lambda key: tree.draw(key, table, jnp.asarray(world.rewards), 8, like))(
    jax.random.key(0)
  )
  rows = {name: getattr(batch, name)[0, 0] for name in ('tokens', 'segment_ids', 'positions')}
  drawn = batch.action_mask[0, 0]
  assert drawn.sum(axis=1).min() >= 1 and drawn.sum(axis=1).max() == 3
  asked = dict(statistics=('logprobs', 'entropy'), where=drawn)
  ones = jnp.ones(drawn.shape)
  found = jax.jit(lambda: forward(tree.policy(4), tree.params_of(table), rows, ones, **asked))()
  known = {'logprobs': batch.policy_logprobs[0, 0], 'entropy': batch.entropy[0, 0]}
  for name, x in known.items():
    np.testing.assert_allclose(np.where(drawn, found[name], 0), x, atol=1e-5)


def test_the_kl_is_part_of_what_is_exact(world):
  table = world.checkpoints[0]
  alone, charged = world.gradient(table), world.gradient(table, 0.5)
  step = 1e-3
  for kl_coef, slope in ((0.0, alone), (0.5, charged)):

    def value(x, kl_coef=kl_coef):
      return float(tree.objective(x, world.rewards, world.reference, kl_coef))

    there = slope / jnp.linalg.norm(slope)
    rise = (value(table + step * there) - value(table - step * there)) / (2 * step)
    assert rise == pytest.approx(float(jnp.linalg.norm(slope)), rel=0.02)


def test_rloo_has_no_bias_and_its_own_scale(rloo):
  for row in rloo:
    assert abs(row['bias²']) < 0.005
    assert row['scale'] == pytest.approx(1, abs=0.05)
  assert all(x['variance'] == 1 for x in level0.relative({'RLOO': rloo}, rloo)['RLOO'])


def test_a_standard_deviation_is_a_bias(world, rloo):
  node = {**level0.RLOO, 'advantage': dict(name='advantages.group_normalize')}
  found = level0.records('std', node, world, **SIZES)
  for row, other in zip(found, rloo):
    assert row['bias²'] > 0.005 + other['bias²']


def squared(rewards, group_ids):
  """The advantage of another reward."""
  return advantages.leave_one_out(rewards**2, group_ids)


def test_the_gradient_of_another_reward_is_found_out(world):
  node = {**level0.RLOO, 'advantage': dict(name='test_experiments_level0.squared')}
  assert all(row['bias²'] > 0.01 for row in level0.records('', node, world, **SIZES))


def test_measures_of_known_gradients():
  rng = np.random.default_rng(0)
  exact = rng.normal(size=(2, 3))
  off = np.array([[0.0, 0, 0], [1, 2, 0]])
  off -= np.sum(off * exact) / np.sum(exact**2) * exact
  noise = rng.normal(size=(4000, 2, 3))
  noise -= noise.mean(axis=0)
  found = level0.measure(3 * (exact + off) + noise, exact)
  assert found['scale'] == pytest.approx(3)
  assert found['bias²'] == pytest.approx(np.sum(off**2) / np.sum(exact**2), rel=0.05)
  assert found['variance'] == pytest.approx(6 / 9 / np.sum(exact**2), rel=0.05)
  still = np.tile(exact, (10, 1, 1))
  still[:5, 0] = 0
  assert level0.measure(still, exact)['zero groups'] == 0.25
  assert level0.measure(still[5:], exact)['cosine'] == pytest.approx(1)
  rescaled = level0.measure(7 * still, exact)
  assert rescaled['bias²'] == pytest.approx(level0.measure(still, exact)['bias²'])


def test_the_table_says_what_differs(world, rloo):
  found = {'base': rloo, 'A/A': level0.records('A/A', level0.RLOO, world, seed=9, **SIZES)}
  better = [
    {**row, 'bias²': row['bias²'] - 0.5, 'checkpoints': [{**row['checkpoints'][0], 'bias²': -0.5}]}
    for row in rloo
  ]
  text = level0.table(
    level0.relative({**found, 'same': rloo, 'better': better}, rloo),
    'base',
    samples=8,
    iterations=512,
  )
  rows = {line.split(' | ')[0]: line for line in text.splitlines() if '| bias² |' in line}
  assert 'spread' in rows['| A/A'] and 'not exercised' in rows['| same']
  assert '| holds |' in rows['| better']


@pytest.mark.parametrize(
  ('changes', 'missing'),
  [
    (dict(reward_components=('format',)), 'reward_components'),
    (dict(rollout=dict(name='rollouts.step_scored', scores='')), 'rollout strategy rollouts.step'),
    (
      dict(advantage=dict(name='advantages.gae'), value=dict(name='losses.clipped_value')),
      'critic',
    ),
  ],
)
def test_what_the_tree_does_not_have_is_refused(world, changes, missing):
  with pytest.raises(level0.LevelZeroError, match=missing):
    level0.make_gradients({**level0.RLOO, **changes}, world.prompts)


def test_each_seed_is_a_tree_and_is_measured_once(tmp_path, monkeypatch):
  seen = []

  def records(name, node, world, *, batches, seed, made):
    seen.append((name, seed, float(world.rewards.sum())))
    rng = np.random.default_rng([seed, name == 'oblr_po'])
    told = {metric: float(rng.normal(1, 0.01)) for metric in (*level0.BETTER, 'scale')}
    if name == 'oblr_po':
      told['variance'] -= 0.5
    return [{'arm': name, 'batch': 0, **told, 'checkpoints': [told]}]

  monkeypatch.setattr(level0, 'records', records)
  chosen = arms.make_arms(['papers/oblr_po'], 'presets/opo', [], {})
  found = gradients.run(chosen, [0, 1, 2], tmp_path)
  draws = {seed for _, seed, _ in seen}
  worlds = {world for *_, world in seen}
  assert len(seen) == 12 and len(draws) == 6 and len(worlds) == 3
  assert gradients.run(chosen, [0, 1, 2], tmp_path) == found and len(seen) == 12
  known = gradients.Gradients(found, 'variance', claims={'oblr_po': -1})
  assert known.verdict('oblr_po', 'variance') == 'holds' and known.gates('oblr_po') == {}
  assert known.effect('oblr_po', 'variance').mean == pytest.approx(-0.5, abs=0.05)
  assert '| oblr_po | variance |' in gradients.write(known, tmp_path)
  assert (tmp_path / 'curves.png').exists() and (tmp_path / 'results.csv').exists()
