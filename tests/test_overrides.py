"""What the command line changes in a config."""

import sys

import pytest

from rljax import config, objective, overrides


@pytest.fixture
def default():
  return config.load('default')


def changed(default, *arguments):
  new, notes = overrides.override(default, arguments)
  return config.resolve(new), notes


@pytest.mark.parametrize(
  ('argument', 'path', 'value'),
  [
    ('--config.rl.samples=3', 'rl.samples', 3),
    ('--config.rl.temperature=1', 'rl.temperature', 1.0),
    ('--config.rl.loss.clip_high=1', 'rl.loss.clip_high', 1.0),
    ('--config.rl.loss.dual_clip=3', 'rl.loss.dual_clip', 3.0),
    ('--config.rl.loss.dual_clip=None', 'rl.loss.dual_clip', None),
    ('--config.stages=rl', 'stages', ('rl',)),
    ('--config.stages=sft,rl', 'stages', ('sft', 'rl')),
    ("--config.stages=('rl','sft')", 'stages', ('rl', 'sft')),
    ('--config.evaluation.ks=1,2', 'evaluation.ks', (1, 2)),
    ('--config.evaluation.ks=8', 'evaluation.ks', (8,)),
    ('--noconfig.health_check', 'health_check', False),
    ('--config.health_check=false', 'health_check', False),
    ('--config.health_check', 'health_check', True),
    ('--config.rl.value.name=losses.clipped_value', 'rl.value.clip', 0.2),
    ("--config.rl.value={'name': 'losses.clipped_value', 'clip': 0.3}", 'rl.value.clip', 0.3),
    ('--config.rl.value=None', 'rl.value', None),
    ('--config.rl.loss=losses.nll', 'rl.loss.name', 'losses.nll'),
    ('--config.rewards.reward=rewards.random_reward', 'rewards.reward.probability', 0.5),
    ("--config.rl.loss={'clip_low': 0.1}", 'rl.loss.clip_low', 0.1),
    (
      "--config.rl.kl_coef={'schedule': 'linear', 'start': 1, 'end': 0, 'steps': 9}",
      'rl.kl_coef.start',
      1,
    ),
  ],
)
def test_an_override(default, argument, path, value):
  found, _ = changed(default, argument)
  for part in path.split('.'):
    found = found[part]
  assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--config.rl.sampels=3', 'rl.sampels: config has no such key; did you mean rl.samples'),
    ('--config.rl.samples=x', 'config.rl.samples=x.*int'),
    ('--config.rl.samples=2.5', 'config.rl.samples=2.5.*int'),
    ('--config.rl.loss.dual_clip=abc', 'config.rl.loss.dual_clip=abc.*float'),
    ('--config.rl.loss.clip_hgih=1', 'rl.loss.clip_hgih.*did you mean rl.loss.clip_high'),
    ('--config.rl.loss.name=losses.clipped_surogate', 'did you mean clipped_surrogate'),
    ('--config.rl.loss=nll', 'neither a dotted name'),
    ('--config.rl.los.name=losses.nll', 'rl.los.name: config has no such key'),
    ('--config.rl.value.clip=0.3', 'rl.value.clip: config has no such key'),
    ('--config.rl.loss.width=0.3',
     r'rl.loss is losses.clipped_surrogate, which takes clip_high, .*--config.rl.loss.name=<'),
    ('--config.rl.selections=3', 'names of your own: --config.rl.selections.mine=<function>'),
    ('--config.rl=3', 'config.rl: this is a group of keys'),
    ('--conifg.rl.samples=3', "unknown argument '--conifg.rl.samples=3'"),
  ],
)
def test_an_override_that_cannot_be_meant(default, argument, message):
  with pytest.raises(config.ConfigError, match=message) as error:
    changed(default, argument)
  assert '\n' not in str(error.value)


OWN = '--config.rl.selections.overlong.name=selection.overlong_filter'


def test_functions_under_names_of_ones_own(default):
  resolved, notes = changed(default, OWN, '--config.rl.selections.overlong.denominator=all')
  assert resolved.rl.selections.to_dict() == {
    'overlong': {'name': 'selection.overlong_filter', 'denominator': 'all'}
  }
  assert notes == [
    'config.rl.selections.overlong: None -> selection.overlong_filter; dropped: nothing'
  ]
  terms = objective.build(resolved.rl)
  assert terms.selections['overlong'].static['denominator'] == 'all'
  # A second one beside it, in short; another function in the place of the first; None takes it out.
  more, _ = changed(resolved, '--config.rl.selections.even=selection.zero_variance')
  assert list(more.rl.selections) == ['even', 'overlong']
  assert more.rl.selections.even.denominator == 'kept'
  other, notes = changed(more, '--config.rl.selections.overlong.name=selection.m2po')
  assert other.rl.selections.overlong.to_dict() == {
    'name': 'selection.m2po', 'threshold': 0.04, 'denominator': 'all'
  }  # fmt: skip
  assert "dropped: denominator='all'" in notes[0]
  left, _ = changed(more, '--config.rl.selections.overlong=None')
  assert list(left.rl.selections) == ['even']
  assert changed(more, '--config.rl.selections.absent=None')[0] == more
  assert config.resolve(more) == more


def test_functions_under_names_of_ones_own_in_a_config_file(default):
  default.rl.reward_shaping.scale = 'shaping.running_normalize'
  default.rl.derived = dict(covariance_selected=dict(name='selection.covariance_top'), off=None)
  resolved = config.resolve(default)
  assert resolved.rl.reward_shaping.scale.epsilon == 1e-6
  assert resolved.rl.derived.covariance_selected.fraction == 2e-4
  assert 'off' not in resolved.rl.derived
  schedule = dict(schedule='linear', start=0.1, end=0.0, steps=5)
  default.rl.derived.covariance_selected.fraction = schedule
  terms = objective.build(config.resolve(default).rl)
  assert terms.hyper(5)['derived.covariance_selected']['fraction'] == 0.0


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--config.rl.selections.overlong.name=selection.overlong_fliter'],
     'config.rl.selections.overlong: .*did you mean overlong_filter'),
    ([OWN, '--config.rl.selections.overlong.denominatr=all'],
     r'selections\.overlong\.denominatr: config has no such key; did you mean .*denominator'),
    (['--config.rl.selections.overlong.denominator=all'], 'config has no such key'),
    (['--config.rl.selection.overlong.name=selection.overlong_filter'], 'config has no such key'),
    (['--config.rl.selections.overlong=overlong_filter'], 'neither a dotted name'),
    (['--config.rl.selections=3'], 'this is a group of keys'),
    (['--config.sft.selections.overlong.name=selection.overlong_filter'], 'has no such key'),
    (["--config.rl.selections.x={'name': 'selection.m2po', 'trehsold': 1}"],
     "m2po has no hyper-parameter 'trehsold'; did you mean threshold"),
  ],
)  # fmt: skip
def test_a_typo_in_a_function_of_ones_own_is_one_line(default, arguments, message):
  with pytest.raises(config.ConfigError, match=message) as error:
    changed(default, *arguments)
  assert '\n' not in str(error.value)


def test_a_new_function_starts_from_its_own_signature(default, tmp_path, monkeypatch):
  (tmp_path / 'my_paper.py').write_text(
    'def loss(logprobs, advantages, *, clip_high: float = 5.0, strength: float = 1.0):\n'
    '  return -logprobs * advantages, {}\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  new = default
  new.rl.loss.clip_high = 0.3
  new.rl.loss.clip_low = 0.1
  # The other overrides apply after the name, wherever it stands.
  resolved, notes = changed(
    new, '--config.rl.loss.strength=2', '--config.rl.loss.name=my_paper.loss'
  )
  assert resolved.rl.loss.to_dict() == {'name': 'my_paper.loss', 'clip_high': 5.0, 'strength': 2.0}
  assert notes == [
    'config.rl.loss: losses.clipped_surrogate -> my_paper.loss; '
    'dropped: clip_high=0.3, clip_low=0.1'
  ]
  # The same name again changes nothing.
  same, notes = changed(new, '--config.rl.loss.name=losses.clipped_surrogate')
  assert same.rl.loss.clip_high == 0.3 and not notes
  with pytest.raises(config.ConfigError, match=r'rl\.loss\.clip_low: config has no such key'):
    changed(new, '--config.rl.loss.name=my_paper.loss', '--config.rl.loss.clip_low=0.2')
  sys.modules.pop('my_paper')
