"""Stages: rewards that fail, health, early stops, mistakes of a config that have one clear line."""

import math
import sys

import jax
import numpy as np
import pytest
from tiny_runs import merge, run, small_machine, tiny_config

from rljax import assembly, cli, config, files, metrics, tokenization
from rljax.prepare import prepare
from rljax.rewards import Scores
from rljax.rollouts.measures import is_hopeless
from rljax.sharding import make_mesh  # the one that sees all devices
from rljax.stages import make_stage
from rljax.train import HealthError, train

RL = dict(stages=('rl',), checkpoint_every=9)


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


def fails_on_a(completion):
  """No reward where the completion begins with a, or with b."""
  if completion.startswith('a'):
    raise RuntimeError('a is not to be had')
  return math.nan if completion.startswith('b') else completion.count('c') / 4


def test_rewards_that_fail_are_counted_and_leave_the_loss(tmp_path):
  """Training goes by the reward of the config, evaluation by that of the task."""
  run(tmp_path / 'w', rewards=dict(reward='test_stages.fails_on_a'), **RL)
  rows = metrics.read_metrics(tmp_path / 'w')
  assert all(row['reward/errors'] > 0 and row['group/size'] < 4 for row in rows[1:])
  for row in rows[1:]:
    assert np.isfinite(row['policy/loss']) and np.isfinite(row['reward/mean'])
    assert row['update/skipped'] == 0
  assert all(row.get('eval/reverse_text/errors', 0) == 0 for row in rows)
  assert any('eval/reverse_text/greedy' in row for row in rows)
  for row in files.read_jsonl(tmp_path / 'w' / 'samples.jsonl'):
    assert (row['reward'] is None) == row['completion'].startswith(('a', 'b')), row


def test_samples_without_reward_have_no_weight():
  world = assembly.assemble(config.resolve(tiny_config(**RL)))
  stage = make_stage('rl', world)
  state = stage.init({'policy': world.params['policy']}, jax.random.key(0))
  stage.world.scorer = Fails()
  batch = stage.collect(state, 0).batch
  lost = np.isnan(np.asarray(batch.rewards))
  assert 0 < lost.sum() < len(lost)
  batch, *_ = prepare(
    batch, state.params, {}, stage.hyper(0), objective=stage.objective,
    policies=world.policies, chunk_size=64,
  )  # fmt: skip
  weights = np.asarray(batch.weights['policy'])
  sample = np.take_along_axis(
    np.asarray(batch.sample_ids), np.maximum(np.asarray(batch.segment_ids), 0), axis=-1
  )
  sampled = np.asarray(batch.action_mask)
  assert np.all(weights[sampled & lost[sample]] == 0)
  assert np.all(weights[sampled & ~lost[sample]] > 0)


class Fails:
  """Scores every third sample as unscorable."""

  def score(self, completions):
    rewards = np.array([math.nan if i % 3 == 0 else i % 2 for i in range(len(completions))])
    return Scores(rewards.astype(np.float32), {}, 0, 0, {})


# -- health


def constant(completion):
  return 0.5


HEALTH = merge(RL, dict(health_check=True, health_iterations=2))


def test_equal_rewards_stop_the_run(tmp_path):
  same = merge(HEALTH, dict(rewards=dict(reward='test_stages.constant')))
  with pytest.raises(HealthError, match=r'same reward \(mean 0\.5\).*health_check=False'):
    run(tmp_path / 'w', **same)
  assert not (tmp_path / 'w' / 'summary.json').exists()
  run(tmp_path / 'on', **merge(same, dict(health_check=False, rl=dict(iterations=2))))
  assert (tmp_path / 'on' / 'summary.json').exists()


@pytest.mark.thorough
def test_truncation_everywhere_stops_the_run(tmp_path):
  never = tiny_config(**merge(HEALTH, dict(tokenizer=dict(name='test_stages.without_end'))))
  with pytest.raises(HealthError, match=r'every completion was truncated.*max_new_tokens'):
    train(never, workdir=str(tmp_path / 'w'))


def without_end():
  """A tokenizer whose stop token is never sampled: it lies behind the model's vocabulary."""
  tokenizer = tokenization.characters(alphabet='abcd>')
  tokenizer.eos_ids = (99,)
  return tokenizer


def seen(**changes):
  healthy = {
    'rollout/truncated': 0.2,
    'group/zero_variance': 0.5,
    'group/size': 4.0,
    'reward/mean': 0.3,
    'reward/std': 0.4,
  }
  return {**healthy, **changes}


def test_signs_of_ill_health():
  assert is_hopeless([seen()]) is None
  flat = seen(**{'group/zero_variance': 1.0})
  assert 'same reward' in is_hopeless([flat, flat]) and is_hopeless([flat, seen()]) is None
  # Groups of one have no variance within; a critic learns from what differs between them.
  alone = seen(**{'group/zero_variance': 1.0, 'group/size': 1.0})
  assert is_hopeless([alone]) is None and is_hopeless([{**alone, 'reward/std': 0.0}])
  lost = seen(**{'reward/mean': math.nan, 'reward/std': math.nan, 'group/size': 0.0})
  assert 'no completion could be scored' in is_hopeless([lost])
  nearly = seen(**{'reward/errors': 7, 'reward/timeouts': 500, 'rollout/samples': 512})
  assert '507 of 512 completions could not be scored' in is_hopeless([nearly])
  assert is_hopeless([nearly, seen(**{'rollout/samples': 512})]) is None


# -- SFT


def test_sft_stops_at_its_goal(tmp_path, monkeypatch):
  """It looks every `stop_every` iterations at prompts that the evaluation does not use."""
  looks = []

  def evaluate(world, params, first, count, *, samples, ks=()):
    looks.append(first)
    return {f'avg@{samples}': 0.1 * len(looks)}

  monkeypatch.setattr(assembly.World, 'evaluate', evaluate)
  changes = dict(sft=dict(iterations=20, stop_accuracy=0.3, stop_every=3), stages=('sft',))
  run(tmp_path / 'w', **changes)
  rows = metrics.read_metrics(tmp_path / 'w')
  assert [row['iteration'] for row in rows if 'sft/loss' in row] == [1, 2, 3, 4, 5, 6]
  assert looks == [0, 8, 8, 0]  # start, two looks, end


# -- one clear line


def command(folder, *arguments):
  (folder / 'tiny.py').write_text(
    'from ml_collections import ConfigDict\nimport tiny_runs\n\n'
    'def get_config():\n  return ConfigDict(tiny_runs.tiny_config(), type_safe=False)\n'
  )
  return cli.main(['train', '--config=tiny.py', '--workdir=w', *arguments])


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--config.rl.sampels=3'], 'rl.sampels'),
    (['--config.rl.samples=many'], 'rl.samples=many'),
    (['--config.rl.loss.name=losses.clipped_surogate'], 'did you mean clipped_surrogate'),
    (['--config.task.lenght=3'], 'task.lenght'),
    (['--config.rl.loss.name=losses.nll', '--config.rl.loss.clip_low=0.1'], 'clip_low'),
    (['--config.rl.rows=7', '--config.mesh.data=2', '--config.mesh.fsdp=4'], 'rl.rows is 7'),
    (['--config.mesh.fsdp=3'], 'fsdp=3 does not fit 8 devices'),
    (['--config.rl.row_length=7'], 'row_length is 7 tokens, but a sample may have 8'),
    (['--config.rl.minibatches=5'], '4 groups cannot be cut into 5 minibatches'),
    pytest.param(
      ['--config.rl.max_prompt=3', '--config.mesh.fsdp=-1'],
      'more than max_prompt=3',
      marks=pytest.mark.thorough,
    ),
    (['--config.sft.max_length=5'], 'max_length allows 5'),
    (['--config.evaluation.num_prompts=24', '--config.sft.stop_accuracy=0.5',
      '--config.sft.stop_every=1'], 'lower evaluation.num_prompts'),
    (['--config.model.path=nowhere'], 'nowhere is no directory'),
    (['--config.rl.kl.name=regularizers.kl_reward', '--config.rl.kl_coef=0.1'], 'not be that of'),
    (['--config.rl.value.name=losses.clipped_value'], 'makes no use of values'),
    (['--config.rewards.reward.name=tiny_runs.nothing'], 'nothing'),
  ],
)  # fmt: skip
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  if any('mesh' in a for a in arguments):
    monkeypatch.setattr('rljax.sharding.make_mesh', make_mesh)
  assert command(tmp_path, *arguments) == 2
  error = capsys.readouterr().err
  assert message in error and error.startswith('rljax: ') and error.count('\n') == 1, error


def test_a_missing_data_set_names_the_line_that_fetches_it(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('RLJAX_DATA', str(tmp_path / 'data'))
  monkeypatch.setattr(sys, 'path', list(sys.path))
  arguments = ['--config.task.name=tasks.gsm8k', '--config.tokenizer.name=tokenization.byte_level']
  assert command(tmp_path, *arguments) == 2
  error = capsys.readouterr().err
  assert 'gsm8k/train.jsonl does not exist' in error and 'curl' in error


def test_mistakes_of_a_later_stage_are_said_first(tmp_path):
  wrong = dict(rl=dict(kl=dict(name='regularizers.kl_reward'), kl_coef=0.1))
  with pytest.raises(ValueError, match='not be that of the KL'):
    run(tmp_path / 'w', **wrong)
  assert not (tmp_path / 'w' / 'metrics.jsonl').exists()
