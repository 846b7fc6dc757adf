"""Configs: how they are found, what they may say, how the command line changes them."""

import sys

import pytest

import rljax
from rljax import binding, config, objective, overrides
from rljax.stages import KINDS

SHIPPED = sorted(config.listing())


@pytest.fixture
def default():
  return config.load('default')


def changed(default, *arguments):
  new, notes = overrides.override(default, arguments)
  return config.resolve(new), notes


@pytest.mark.parametrize('name', SHIPPED)
def test_every_config_builds_and_binds(name):
  resolved = config.resolve(rljax.load_config(name))
  for stage in resolved.stages:
    objective.build(resolved[stage], KINDS[resolved[stage].kind].makes)
    binding.bind(resolved[stage].optimizer)
  binding.resolve(resolved.task.name)
  assert config.listing()[name][1], 'the first line of the docstring is what `configs` lists'


def test_find_looks_here_first_and_then_among_its_own(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert config.find('default') == config.shipped() / 'default.py'
  (tmp_path / 'configs').mkdir()
  mine = tmp_path / 'configs' / 'default.py'
  # It builds on the one that it hides.
  mine.write_text(
    '"""Mine."""\nimport rljax\n\n\ndef get_config():\n'
    "  config = rljax.load_config('default')\n  config.rl.samples = 3\n  return config\n"
  )
  assert config.find('default').resolve() == mine
  assert config.load('default').rl.samples == 3
  assert config.listing()['default'][1] == 'Mine.'
  assert config.load(str(mine)).rl.samples == 3
  # What belongs to rljax is not changed by a file that happens to bear its name.
  assert config.load('quickstart').rl.samples != 3


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('quikstart', "no config 'quikstart'.*did you mean quickstart"),
    ('zzz', "no config 'zzz'.*there are .*default"),
    ('missing.py', 'no config file missing.py'),
  ],
)
def test_find_names_near_ones(name, message):
  with pytest.raises(config.ConfigError, match=message):
    config.find(name)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('def get_config():\n  return 1 / 0\n', r'broken\.py:2: ZeroDivisionError'),
    ('def get_config()\n', r'broken\.py:1: SyntaxError'),
    ('x = 1\n', r'broken\.py.*get_config'),
    ("import rljax\nrljax.load_config('defalt')\n", "no config 'defalt'"),
  ],
)
def test_a_config_that_does_not_run_names_its_line(tmp_path, text, message):
  (tmp_path / 'broken.py').write_text(text)
  with pytest.raises(config.ConfigError, match=message):
    config.load(str(tmp_path / 'broken.py'))


def test_resolve_shows_the_defaults_of_the_signatures(default):
  assert 'clip_high' not in default.rl.loss
  resolved = config.resolve(default)
  assert resolved.rl.loss.clip_high == 0.2 and resolved.rl.loss.dual_clip is None
  assert resolved.rl.optimizer.b2 == 0.95
  assert config.resolve(resolved) == resolved
  assert resolved.is_locked


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'rl.sampels': 3}, 'no key rl.sampels; did you mean samples'),
    ({'rl.loss.clip_hgih': 0.3}, "config.rl.loss: .* no hyper-parameter 'clip_hgih'.*clip_high"),
    ({'rl.loss.name': 'losses.cisp'}, "config.rl.loss: rljax.losses has no 'cisp'"),
    ({'rl.loss': 'losses'}, "'losses' is no dotted name"),
    ({'rl.loss': 3}, 'config.rl.loss: 3 is no dict'),
    ({'rewards.reward': 'my.reward'}, 'config.rewards.reward: my.reward: there is no module'),
    ({'rl.samples': 2.5}, r'config.rl.samples: 2.5 is of type float; int is needed'),
    ({'rl.packed': 1}, 'config.rl.packed: 1 is of type int; bool is needed'),
    ({'rl.samples': True}, 'config.rl.samples: True is of type bool'),
    ({'rl.loss.clip_low': 'a'}, "config.rl.loss.clip_low: 'a' is of type str; float is needed"),
    ({'rl.top_p': {'schedule': 'linear', 'start': 1.0}}, 'rl.top_p.*no schedule'),
    ({'rl.kl_coef': {'schedule': 'linear', 'start': 1.0}}, 'rl.kl_coef: a schedule has the keys'),
    ({'stages': ('sft', 'more')}, "'more' needs config.more"),
    ({'evaluation': 3}, 'config.evaluation: 3 is no dict'),
  ],
)
def test_what_is_wrong_in_a_config_is_named(default, change, message):
  wrong = config.plain(default)
  for path, value in change.items():
    *parents, last = path.split('.')
    node = wrong
    for part in parents:
      node = node[part]
    node[last] = value
  with pytest.raises(config.ConfigError, match=message):
    config.resolve(wrong)


def test_a_missing_key_is_named(default):
  wrong = config.plain(default)
  del wrong['rl']['epochs']
  with pytest.raises(config.ConfigError, match=r'lacks rl\.epochs'):
    config.resolve(wrong)


def test_numbers_take_the_type_of_the_knob(default):
  new = default
  new.rl.loss.clip_high = 5
  new.evaluation.ks = [1, 2]
  new.rl.entropy_coef = dict(schedule='cosine', start=0.1, end=0.0, steps=5)
  new.rl.loss.dual_clip = 3
  resolved = config.resolve(new)
  assert isinstance(resolved.rl.loss.clip_high, float) and resolved.evaluation.ks == (1, 2)
  assert isinstance(resolved.rl.loss.dual_clip, float)
  assert objective.build(resolved.rl).hyper(0)['coefficients']['entropy'] == 0.1


def test_a_stage_may_come_twice(default):
  new = config.plain(default)
  new['stages'] = ('sft', 'rl', 'harder')
  new['harder'] = {**new['rl'], 'samples': 4}
  assert config.resolve(new).harder.samples == 4
  new['harder']['sampels'] = 4
  with pytest.raises(config.ConfigError, match=r'harder\.sampels'):
    config.resolve(new)


def test_a_loaded_model_keeps_only_what_the_config_names(default):
  new, _ = changed(default, '--config.model.path=/x', '--config.model.compute_dtype=bfloat16')
  assert new.model.to_dict() == {  # no num_layers: the files know it
    'name': 'models.decoder',
    'path': '/x',
    'compute_dtype': 'bfloat16',
  }
  assert 'num_layers' in changed(default)[0].model


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
    ('--config.rl=3', 'config.rl: this is a group of keys'),
    ('--conifg.rl.samples=3', "unknown argument '--conifg.rl.samples=3'"),
  ],
)
def test_an_override_that_cannot_be_meant(default, argument, message):
  with pytest.raises(config.ConfigError, match=message) as error:
    changed(default, argument)
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


def test_a_reward_may_be_a_function_of_a_notebook(default):
  default.rewards.reward = len
  assert config.resolve(default).rewards.reward is len
  default.rewards.reward = dict(name='rewards.random_reward', salt=3)
  assert config.resolve(default).rewards.reward.salt == 3


def test_describe_says_every_value_once(default):
  lines = config.describe(config.resolve(default))
  assert any(line.startswith('rl.loss: losses.clipped_surrogate(') for line in lines)
  assert sum('max_new_tokens=' in line for line in lines) == 1
