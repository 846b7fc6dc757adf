"""Whole runs of the kinds of stages beside sft and rl; what they leave, and how they continue."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import (
  ROWS,
  Stopped,
  Stopper,
  merge,
  run,
  small_machine,
  tiny_config,
  without_times,
)

from rljax import assembly, checkpoint, config, files, metrics, prepare, replay, update
from rljax.sharding import make_mesh  # the one that sees all devices
from rljax.stages import make_stage

GIVEN = dict(iterations=3, prompts=4, max_length=8, **ROWS)
KINDS = dict(
  preference=GIVEN,
  reward_model=GIVEN,
  process_reward_model=GIVEN,
  distill=dict(
    iterations=4, prompts=4, samples=2, max_prompt=4, max_new_tokens=4, on_policy_fraction=0.5,
    **ROWS,
  ),
)  # fmt: skip


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


@pytest.fixture(scope='module')
def trained(tmp_path_factory, machine):
  """The work directory of a tiny run."""
  folder = tmp_path_factory.mktemp('trained')
  run(folder, stages=('sft',), sft=dict(iterations=2))
  return folder


def changes(*stages, **more):
  return merge(dict(stages=stages, **KINDS), more)


def rows_of(workdir, stage):
  return [r for r in metrics.read_metrics(workdir) if r['stage'] == stage and r['iteration']]


@pytest.mark.parametrize(
  'kind, names',
  [
    ('preference', ('loss', 'accuracy', 'margin')),
    ('reward_model', ('loss', 'accuracy', 'margin')),
    ('process_reward_model', ('loss', 'accuracy')),
  ],
)
def test_a_stage_that_learns_from_what_is_given(tmp_path, kind, names):
  summary = run(tmp_path / 'w', **changes(kind))
  rows = rows_of(tmp_path / 'w', kind)
  assert len(rows) == 3
  for row in rows:
    assert {key.split('/')[1] for key in row if key.startswith(f'{kind}/')} == {*names}
    assert all(np.isfinite(row[f'{kind}/{name}']) for name in names)
    assert 0 <= row[f'{kind}/accuracy'] <= 1 and row['update/grad_norm'] > 0
    assert not any(key.startswith(('policy/', 'rollout/mismatch')) for key in row)
  for end in ('start', 'end'):
    assert all(np.isfinite(summary[end][name]) for name in names[1:])
    assert (summary[end]['greedy'] is not None) == (kind == 'preference')
  if kind != 'preference':
    assert not replay.replay(tmp_path / 'w', 2).differing


@pytest.mark.thorough
def test_preferences_are_learnt(tmp_path):
  longer = dict(iterations=40, optimizer=dict(learning_rate=3e-3))
  summary = run(tmp_path / 'w', **changes('preference', preference=longer, checkpoint_every=0))
  losses = [row['preference/loss'] for row in rows_of(tmp_path / 'w', 'preference')]
  assert np.mean(losses[-10:]) < np.mean(losses[:10])
  assert summary['end']['margin'] > 0.01


@pytest.mark.slow
def test_kto_has_its_kl_from_mismatched_completions_and_its_mean_without_them(tmp_path):
  kto = dict(
    loss=dict(name='losses.kto'),
    labels='sign',
    mismatched=True,
    weights=dict(name='weighting.sample_mean'),
    selections=dict(judged=dict(name='selection.with_feedback')),
  )
  setup = changes('preference', preference=kto)
  stage = make_stage('preference', assembly.assemble(config.resolve(tiny_config(**setup))))
  state = stage.init({'policy': stage.world.params['policy']}, jax.random.key(0))
  batch = stage.collect(state, 0).batch
  mismatched = np.asarray(batch.extras['is_mismatched'])
  assert mismatched.sum() == 4 and len(mismatched) == 12
  np.testing.assert_array_equal(np.asarray(batch.rewards)[mismatched], 0)
  reference = {'reference': jax.tree.map(lambda x: 3 * x, state.params['policy'])}
  static = dict(objective=stage.objective, policies=stage.world.policies, chunk_size=64)
  out, *_ = prepare.prepare(batch, state.params, reference, stage.hyper(0), **static)
  places = np.asarray(batch.sample_ids)
  weights = np.asarray(out.weights['policy'])
  judged = (places >= 0) & ~mismatched[places]
  np.testing.assert_allclose(weights, judged / 8, rtol=1e-6)
  # The KL is measured on the mismatched ones: without their tokens there is none.
  measure = jax.jit(update.make_measure(stage.objective, static['policies'], chunk_size=64))
  segments = np.asarray(batch.segment_ids)
  owner = np.take_along_axis(places, np.maximum(segments, 0), -1)
  gone = mismatched[owner] & (segments >= 0)
  found = [
    float(measure(state.params, reference, b, stage.hyper(0), {})['policy/kl_ref'])
    for b in (batch, batch.replace(action_mask=batch.action_mask & ~gone))
  ]
  assert found[0] > 0.01 and found[1] == 0
  summary = run(tmp_path / 'w', **setup)
  assert np.isfinite(summary['end']['margin'])


@pytest.mark.slow
def test_distillation_from_a_run_on_samples_of_both(tmp_path, trained):
  teacher = dict(name='models.decoder', path=str(trained))
  summary = run(tmp_path / 'w', **changes('distill', distill=dict(teacher=teacher)))
  rows = rows_of(tmp_path / 'w', 'distill')
  assert all(row['distill/loss'] > 0 for row in rows)
  # The sampler's log-probs are the student's on its own samples only.
  assert {row['rollout/mismatch_max'] > 1e-3 for row in rows} == {True, False}
  assert summary['end']['greedy'] is not None
  assert summary['tokens'] == sum(row['rollout/tokens'] for row in rows)
  for iteration in (2, 3, 4):  # of the student and of the teacher
    assert not replay.replay(tmp_path / 'w', iteration).differing


@pytest.mark.slow
@pytest.mark.parametrize(
  'kind, own',
  [
    ('rehearsal', dict(pool_prompts=8, pool_solved=0.0, pool_share=0.5)),
    ('masked_rl', dict(mask_top_p=0.7, mask_every=2)),
  ],
)
def test_kinds_that_remember_are_replayed(tmp_path, kind, own):
  """From the start, from a checkpoint, and an iteration behind one."""
  sizes = dict(iterations=4, prompts=4, samples=4, max_prompt=4, max_new_tokens=4, **ROWS)
  run(tmp_path / 'w', stages=(kind,), **{kind: {**sizes, **own}})
  for iteration in (1, 3, 4):
    assert not replay.replay(tmp_path / 'w', iteration).differing


@pytest.mark.slow
@pytest.mark.parametrize('rollout', ['rollouts.single_turn', 'rollouts.streamed'])
def test_a_draft_model_from_a_run_changes_no_token(tmp_path, trained, rollout):
  rl = dict(iterations=2, rollout=dict(name=rollout))
  setup = dict(stages=('rl',), model=dict(path=str(trained)))
  found = []
  for name, sampler in (('plain', {}), ('guessed', dict(speculate='draft', num_draft=2))):
    more = dict(rl=rl | dict(sampler=sampler), draft=dict(path=str(trained)))
    run(tmp_path / name, **merge(setup, more))
    rows = without_times(metrics.read_metrics(tmp_path / name))
    found.append([{k: v for k, v in r.items() if isinstance(v, (int, float))} for r in rows])
  for plain, guessed in zip(*found, strict=True):  # other sums: log-probs agree to rounding
    assert guessed == pytest.approx(plain, rel=1e-3, abs=1e-4)


def test_a_draft_model_that_is_missing_or_of_another_vocabulary(tmp_path, trained):
  rl = dict(sampler=dict(speculate='draft'))
  with pytest.raises(ValueError, match=r"'draft' needs a draft model; --config\.draft\.path"):
    run(tmp_path / 'none', stages=('rl',), rl=rl)
  larger = files.read_json(trained / 'model.json')['vocab_size'] + 8
  with pytest.raises(ValueError, match=rf'in its vocabulary, the policy {larger}'):
    run(
      tmp_path / 'larger', stages=('rl',), rl=rl, model=dict(vocab_size=larger),
      draft=dict(path=str(trained)),
    )  # fmt: skip


def test_models_that_do_not_fit_the_functions(tmp_path, trained):
  with pytest.raises(ValueError, match=r'needs a teacher; --config.distill.teacher.path='):
    run(tmp_path / 'w', **changes('distill'))
  asks = dict(rl=dict(loss=dict(name='losses.reverse_distillation'), advantage=None))
  with pytest.raises(ValueError, match=r'rl: its functions ask for a teacher; set config.rl.teach'):
    run(tmp_path / 'v', stages=('rl',), **asks)
  sampled = dict(kl=dict(name='regularizers.sampled_distillation'), kl_coef=1.0)
  teacher = dict(teacher=dict(name='models.decoder', path=str(trained)))
  with pytest.raises(ValueError, match=r"set distill.old_logprobs to 'sampler', or on_policy_frac"):
    run(tmp_path / 't', **changes('distill', distill={**sampled, **teacher}))
  wrong = dict(reward_model=dict(loss=dict(name='losses.dpo')))
  with pytest.raises(ValueError, match=r"trains the role 'reward', and dpo learns from .*'policy'"):
    run(tmp_path / 'u', **changes('reward_model', **wrong))


def test_all_samples_that_a_loss_compares_stand_in_one_micro_batch(tmp_path):
  kto = dict(loss=dict(name='losses.kto'), weights=dict(name='weighting.sample_mean'), prompts=12)
  with pytest.raises(ValueError, match=r'kto compares all samples of a step.*rows=16 is sure'):
    run(tmp_path / 'w', **changes('preference', preference=kto))


# -- roles that move, and roles that wait


def interrupted(workdir, *rows, **changes):
  """A run that is stopped at each of `rows`, started again, and goes to its end."""
  for row in (*rows, None):
    Stopper.row = row
    try:
      run(workdir, writers=('jsonl', 'tiny_runs.Stopper'), **changes)
    except Stopped:
      assert row is not None
    else:
      assert row is None


def roles_at_the_end(workdir, example):
  """Parameters of all roles that the last checkpoint holds or names."""
  folder = workdir / checkpoint.FOLDER
  with checkpoint.Checkpointer(folder, read_only=True) as saved:
    versions = saved.roles()
    assert {*versions} == {'reference', 'reward'}
    kept = {role: saved.restore_role(role, versions[role], example[role]) for role in versions}
  loaded = checkpoint.load_params(workdir, 'reward')  # of a stage before the last
  jax.tree.map(np.testing.assert_array_equal, loaded, jax.device_get(kept['reward']))
  assert len(list((folder / 'roles' / 'reference').iterdir())) <= 3  # not one an iteration
  return {**kept, 'policy': checkpoint.load_params(workdir)}


@pytest.mark.slow
def test_a_moving_reference_and_a_role_that_waits_are_continued_exactly(tmp_path):
  setup = changes(
    *('sft', 'reward_model', 'rl'),
    sft=dict(iterations=2),
    reward_model=dict(iterations=2),
    rl=dict(kl_coef=0.1, reference_every=1, epochs=2, iterations=5),
  )
  interrupted(tmp_path / 'whole', **setup)
  interrupted(tmp_path / 'stopped', 5, 9, 10, **setup)  # in the second stage, and twice in the last
  one, other = tmp_path / 'whole', tmp_path / 'stopped'
  np.testing.assert_equal(*(without_times(metrics.read_metrics(d)) for d in (one, other)))
  assert files.read_jsonl(one / 'samples.jsonl') == files.read_jsonl(other / 'samples.jsonl')
  params = assembly.assemble(config.resolve(tiny_config(**setup))).params
  example = {'reward': params['reward'], 'reference': params['policy']}
  first, second = (roles_at_the_end(d, example) for d in (one, other))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  for role, before in (('reward', params['reward']), ('reference', first['policy'])):
    pairs = zip(jax.tree.leaves(first[role]), jax.tree.leaves(before))
    assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in pairs), role


@pytest.mark.parametrize('devices', [pytest.param(1, marks=pytest.mark.thorough), 8])
def test_a_moving_reference_needs_no_other_program(monkeypatch, devices):
  if devices > 1:
    monkeypatch.setattr('rljax.sharding.make_mesh', make_mesh)
  setup = tiny_config(stages=('rl',), rl=dict(kl_coef=0.1, reference_every=1))
  stage = make_stage('rl', assembly.assemble(config.resolve(setup)))
  assert stage.world.mesh.size == devices
  state = stage.init({'policy': stage.world.params['policy']}, jax.random.key(0))
  frozen = {'reference': jax.tree.map(jnp.copy, state.params['policy'])}
  batch = stage.collect(state, 0).batch
  with metrics.CompileWatch() as compiled:
    for done in (1, 2, 3):
      state, _ = stage.update(state, frozen, batch, stage.hyper(0))
      given = jax.device_get((state.params['policy'], frozen['reference']))
      frozen['reference'] = stage.next_reference(state, frozen, done)
      expected = jax.tree.map(lambda p, r: 0.6 * p + 0.4 * r, *given)
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        frozen['reference'],
        expected,
      )
  assert dict(compiled.counts) == {'update_step': 1, '<lambda>': 1}
