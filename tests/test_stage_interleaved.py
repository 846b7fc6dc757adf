"""RL that stops for supervised steps on what it does not solve; saved policies as teachers."""

import itertools
import json

import jax
import numpy as np
import pytest
from tiny_runs import merge, run, small_machine, tiny_config

from rljax import assembly, config, metrics, replay
from rljax.rewards import Scores
from rljax.stages import make_stage
from rljax.stages.teachers import saved_policy

SOURCES = dict(task=dict(name='rollouts.sources.demonstrations'))
RELIFT = dict(
  stages=('rl',),
  checkpoint_every=9,
  rl=dict(
    kind='interleaved',
    buffer=4,
    hard_accuracy=0.0,
    tuning=dict(
      minibatches=2, loss=dict(name='losses.nll'), weights=dict(name='weighting.token_mean')
    ),
    sources=SOURCES,
    optimizer=dict(learning_rate=1e-2),
  ),
)


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


@pytest.fixture(scope='module')
def world():
  longer = merge(RELIFT, dict(rl=dict(iterations=8)))
  return assembly.assemble(config.resolve(tiny_config(**longer)))


def solves(prompt_id):
  """A reward by the number of the prompt: multiples of four are solved."""
  return float(prompt_id % 4 == 0)


class ByNumber:
  """Scores a completion by its prompt."""

  def score(self, completions):
    rewards = [solves(c.prompt.prompt_id) for c in completions]
    return Scores(np.array(rewards, np.float32), {}, 0, 0, {})


def test_relift_hard_prompts_wait_and_are_learnt_when_the_buffer_is_full(world):
  world.scorer = ByNumber()
  stage = make_stage('rl', world)
  state = stage.init(stage.start_params(world.params), jax.random.key(0))
  kinds, waiting, losses, steps = [], [], [], []
  for iteration in range(8):
    collected = stage.collect(state, iteration)
    kinds.append(stage.is_tuning)
    if stage.is_tuning:
      batch = collected.batch
      learnt = np.asarray(batch.prompt_ids)[np.asarray(batch.group_ids) >= 0]
      assert learnt.tolist() == waiting[:4] and all(i % 4 for i in learnt)
      assert collected.metrics['rollout/tokens'] == collected.metrics['rollout/samples'] == 0
      assert collected.metrics['rollout/external'] == 4
      for i, length, shown in zip(learnt, *(np.asarray(x) for x in (
        batch.prompt_length, batch.num_tokens
      ))):  # fmt: skip
        prompt = world.task.train[int(i)]
        said = world.task.demonstrate(prompt)
        assert shown - length == len(said) + 1  # and the end of text
    else:
      assert collected.metrics['method/rl/waiting'] == len(stage.hard)
    waiting = list(stage.hard)
    assert len(set(waiting)) == len(waiting) and all(i % 4 for i in waiting)
    state, seen = stage.update(state, {}, collected.batch, stage.hyper(iteration))
    found = stage.rename(seen)
    steps.append(int(state.step))
    if stage.is_tuning:
      losses.append(float(found['method/rl/tuning_loss']))
  # RL alone until four hard prompts wait; each RL iteration is one step, each stop two.
  assert kinds[0] is False and 2 <= sum(kinds) <= 4 and not any(
    a and b for a, b in itertools.pairwise(kinds)
  )
  assert np.diff([0, *steps]).tolist() == [2 if kind else 1 for kind in kinds]
  assert losses[-1] < losses[0]  # the same parameters learn in both
  saved = json.loads(json.dumps(stage.state_dict()))
  other = make_stage('rl', world)
  other.load_state_dict(saved)
  assert other.hard == stage.hard


@pytest.mark.slow
def test_relift_without_hard_prompts_is_rl(world, tmp_path):
  """A run whose buffer never fills is the run without one, bit by bit."""
  plain = merge(RELIFT, dict(rl=dict(kind='rl')))
  own = ('buffer', 'hard_accuracy', 'tuning', 'sources')
  plain = {**plain, 'rl': {k: x for k, x in plain['rl'].items() if k not in own}}
  ends = []
  for name, changes in (('a', plain), ('b', merge(RELIFT, dict(rl=dict(buffer=99))))):
    ends.append(run(tmp_path / name, **changes)['end'])
  assert ends[0] == ends[1]
  rows = metrics.read_metrics(tmp_path / 'b')
  assert [row['method/rl/waiting'] for row in rows[1:]] == sorted(
    row['method/rl/waiting'] for row in rows[1:]
  )


@pytest.mark.slow
def test_relift_stops_for_steps_in_a_run_of_its_own(tmp_path):
  summary = run(tmp_path / 'w', **merge(RELIFT, dict(rl=dict(buffer=3))))
  rows = [row for row in metrics.read_metrics(tmp_path / 'w') if row['iteration']]
  tuned = ['method/rl/tuning_loss' in row for row in rows]
  assert any(tuned) and not all(tuned)
  assert all(('reward/mean' in row) != is_tuned for row, is_tuned in zip(rows, tuned))
  drawn = [row['rollout/tokens'] for row in rows]
  assert all((tokens == 0) == is_tuned for tokens, is_tuned in zip(drawn, tuned))
  assert summary['tokens'] == sum(drawn)
  for iteration in (tuned.index(True) + 1, len(rows)):
    assert not replay.replay(tmp_path / 'w', iteration).differing


def test_a_trigger_looks_at_iterations_with_samples_alone(world):
  trigger = dict(name='regularizers.reward_stalls')
  rl = dict(reference_trigger=trigger, kl_coef=0.1)
  world.config = config.resolve(tiny_config(**merge(RELIFT, dict(rl=rl))))
  stage = make_stage('rl', world)
  for stage.is_tuning in (False, True):
    stage.watch({} if stage.is_tuning else {'reward/mean': 0.5})
  assert stage.resets.state_dict()['mean_rewards'] == [0.5]


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(rl=dict(sources=dict(task=None))), 'set rl.sources to'),
    (dict(rl=dict(buffer=1)), 'rl.buffer holds 1 prompts, too few for rl.tuning.minibatches=2'),
  ],
)
def test_mistakes_are_named(world, changes, message):
  world.config = config.resolve(tiny_config(**merge(RELIFT, changes)))
  with pytest.raises(ValueError, match=message):
    make_stage('rl', world)


@pytest.mark.parametrize(
  'rl, message',
  [
    (dict(rollout=dict(name='rollouts.with_external')), 'asks for completions that others'),
    (dict(sources=SOURCES), 'rl.sources names task, and nothing asks them'),
    (
      dict(
        rollout=dict(name='rollouts.with_external'), sources=SOURCES, old_logprobs='sampler'
      ),
      "rl.old_logprobs is 'sampler', and the sampler has none",
    ),
  ],
)
def test_a_strategy_needs_somebody_who_writes(world, rl, message):
  world.config = config.resolve(tiny_config(stages=('rl',), rl=rl))
  with pytest.raises(ValueError, match=message):
    make_stage('rl', world)


@pytest.mark.thorough
def test_a_policy_of_another_run_is_a_source(tmp_path):
  run(tmp_path / 'teacher', stages=('sft',), sft=dict(iterations=2))
  source = dict(name='stages.teachers.saved_policy', path=str(tmp_path / 'teacher'))
  rollout = dict(name='rollouts.with_external', accuracy=0.0)
  changes = dict(stages=('rl',), rl=dict(sources=dict(run=source), rollout=rollout))
  own = assembly.assemble(config.resolve(tiny_config(**changes)))
  stage = make_stage('rl', own)
  prompts = stage.tokenized([own.task.train[i] for i in range(4)])
  said = stage.sources['run'](prompts, [0, 1, 2, 3])
  assert len(said) == 4 and all(text is None or isinstance(text, str) for text in said)
  again = saved_policy(stage.generate, own.mesh, path=source['path'])(prompts[:2], [0, 1])
  assert again == said[:2]  # what it says follows from the draw
  more = stage.tokenized([own.task.train[i] for i in range(6)])  # than a rollout samples
  assert stage.sources['run'](more, range(6))[:4] == said
  with pytest.raises(FileNotFoundError, match='nowhere'):
    saved_policy(stage.generate, own.mesh, path=str(tmp_path / 'nowhere'))
