"""The methods of the literature: their table, and that each config is what it says."""

import pathlib
import re

import pytest

from rljax import binding, cli, config, methods

THERE = [method for method in methods.methods() if method.stage]


def names(node):
  """Functions that a plain config names, and those of its hyper-parameters."""
  for value in node.values() if isinstance(node, dict) else ():
    if isinstance(value, dict):
      yield from ([value['name']] if isinstance(value.get('name'), str) else [])
      yield from names(value)


def plain(name):
  return config.plain(config.resolve(config.load(str(config.find(name)))))


def test_all_entries_stand_in_the_table():
  found = methods.methods()
  assert len(found) == 230 and len({m.key for m in found}) == 230
  assert {m.scope for m in found} == set(methods.SCOPES)
  table = methods.table(found)
  assert all(f'| `{m.key}` |' in table for m in found)
  assert table.count('| not yet |') == 230 - len(THERE)
  assert f'{len(THERE)} of 230' in methods.summary(found)


@pytest.mark.parametrize('method', THERE, ids=lambda m: m.key)
def test_a_config_is_what_it_says(method):
  own, baseline = plain(f'papers/{method.key}'), plain(method.baseline)
  assert own != baseline, 'the same as its baseline'
  used = set(names(own))
  for name in method.functions:
    assert callable(binding.resolve(name))
    assert name in used, f'{name} is not in the config'
  text = config.find(f'papers/{method.key}').read_text()
  assert f'rljax train --config=papers/{method.key}' in text
  assert f'`{method.baseline}`' in text and 'Expected:' in text
  if method.fidelity != 'faithful':
    assert method.fidelity in text.lower() or method.scope == 'RECIPE'


def test_each_has_a_test_with_its_name():
  text = ''.join(path.read_text() for path in pathlib.Path(__file__).parent.glob('test_*.py'))
  names = ' '.join(re.findall(r'^def (test_\w+)', text, re.MULTILINE))
  assert not [method.key for method in THERE if method.key not in names]


def test_a_measured_effect_has_its_table_and_its_curves():
  folder = pathlib.Path(__file__).parent.parent / 'experiments' / 'papers'
  rows = methods._rows(methods.EFFECTS)
  assert len(rows) >= 37 and {row['key'] for row in rows} <= {m.key for m in THERE}
  for row in rows:
    table = (folder / row['key'] / 'table.md').read_text()
    assert row['effect'] in table and (folder / row['key'] / 'curves.png').exists()


def test_the_verb_lists_methods(capsys):
  assert cli.main(['methods', '--stage=advantages']) == 0
  said = capsys.readouterr().out
  assert 'papers/nsr  (advantages, recalled)' in said and 'papers/luspo' not in said
  assert cli.main(['methods', '--markdown']) == 0
  assert '| `prorl` |' in capsys.readouterr().out
  assert cli.main(['methods', '--stage=nowhere']) == 2
  assert 'no method has the stage' in capsys.readouterr().err


@pytest.mark.parametrize(
  'text, message',
  [
    ('x = 1', 'has no METHOD'),
    ("METHOD = dict(paper='p', scope='CORE', stag='x')", 'stag'),
    ("METHOD = dict(paper='p', scope='MORE', stage='x')", "scope='MORE' is not one of CORE"),
    ("METHOD = dict(paper='p', scope='CORE', stage='x', fidelity='recalled', differs='prompts')",
     'stage and baseline are needed'),
  ],
)  # fmt: skip
def test_what_a_config_must_say(tmp_path, text, message):
  (tmp_path / 'a.py').write_text(text)
  with pytest.raises(ValueError, match=message):
    methods._read(tmp_path / 'a.py', '')
