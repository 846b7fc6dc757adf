"""A tiny policy learns a task whose optimum is known, from random parameters."""

import pytest
from tiny_runs import merge, run, small_machine

from rljax import metrics

TASK = dict(
  stages=('rl',),
  checkpoint_every=1000,
  rewards=dict(reward='test_learning.share_of_a'),
  rl=dict(
    iterations=40,
    prompts=8,
    samples=8,
    rows=64,
    row_length=8,
    packed=False,
    optimizer=dict(learning_rate=2e-2),
  ),
)
METHODS = {
  'grpo': {},
  'ppo': dict(
    samples=1,
    prompts=64,
    epochs=2,
    minibatches=2,
    advantage=dict(name='advantages.gae', gae_lambda=0.95),
    value=dict(name='losses.clipped_value'),
    value_coef=0.5,
    optimizer=dict(learning_rate=1e-2),
  ),
}


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


def share_of_a(completion):
  """1 for the one completion of nothing but a, as long as it may be; never below 0."""
  return completion.count('a') / 4


@pytest.mark.parametrize(
  'method', ['grpo', pytest.param('ppo', marks=pytest.mark.slow, id='ppo')]
)
@pytest.mark.parametrize('seed', [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_every_seed_learns(tmp_path, method, seed):
  run(tmp_path / 'w', seed=seed, **merge(TASK, dict(rl=METHODS[method])))
  rows = metrics.read_metrics(tmp_path / 'w')
  rewards = [row['reward/mean'] for row in rows if 'reward/mean' in row]
  assert rewards[0] < 0.5 and sum(rewards[-5:]) / 5 > 0.95, rewards
