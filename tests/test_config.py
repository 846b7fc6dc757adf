"""Configs: how they are found, what they may say, how the command line changes them."""

import sys

import pytest

import rljax
from rljax import binding, cli, config, listings, objective, overrides
from rljax.stages import KINDS

# Those of the others are built, bound and traced in test_presets.py.
UNTRACED = [n for n in sorted(config.listing()) if n == 'gsm8k' or n.startswith('scale/')]


@pytest.fixture
def default():
  return config.load('default')


def changed(default, *arguments):
  new, notes = overrides.override(default, arguments)
  return config.resolve(new), notes


@pytest.mark.parametrize('name', UNTRACED)
def test_a_config_that_is_not_traced_builds_and_binds(name):
  resolved = config.resolve(rljax.load_config(name))
  for stage in resolved.stages:
    objective.build(resolved[stage], KINDS[resolved[stage].kind].makes)
    binding.bind(resolved[stage].optimizer)
  binding.resolve(resolved.task.name)


def test_every_config_has_a_docstring():
  lines = {name: line for name, (_, line) in config.listing().items()}
  assert all(lines.values()), 'the first line of the docstring is what `configs` lists'


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
    ({'rl.selections': 3}, 'config.rl.selections: 3 is no dict of name -> function'),
    ({'rl.selections': {'a': 3}}, 'config.rl.selections.a: 3 is no dict'),
    ({'rl.derived': {'over-long': 'selection.m2po'}}, "config.rl.derived: 'over-long' is no name"),
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


def test_a_reward_may_be_a_function_of_a_notebook(default):
  default.rewards.reward = len
  assert config.resolve(default).rewards.reward is len
  default.rewards.reward = dict(name='rewards.random_reward', salt=3)
  assert config.resolve(default).rewards.reward.salt == 3


def test_describe_says_every_value_once(default):
  lines = listings.describe(config.resolve(default))
  assert not any(line.startswith(('preference', 'distill', 'reward_model')) for line in lines)
  assert any(line.startswith('rl.loss: losses.clipped_surrogate(') for line in lines)
  assert sum('max_new_tokens=' in line for line in lines) == 1


def test_show_prints_the_stages_of_the_run(capsys, monkeypatch):
  monkeypatch.setattr(sys, 'path', list(sys.path))
  assert cli.main(['configs', '--show=preference', '--config.preference.prompts=7']) == 0
  shown = capsys.readouterr().out
  for there in ('sft.loss: ', 'preference.loss: losses.dpo(', 'prompts=7'):
    assert there in shown
  for absent in ('rl.loss', 'distill', 'reward_model'):
    assert absent not in shown
