"""The catalogue: complete, and the same in the README."""

import pathlib

import pytest

from rljax import catalogue, cli

README = pathlib.Path(__file__).resolve().parent.parent / 'README.md'
MARKERS = ('<!-- catalogue: written by rljax catalogue --markdown -->', '<!-- end of catalogue -->')


@pytest.fixture(scope='module')
def entries():
  return catalogue.entries()


def test_every_function_says_where_it_comes_from(entries):
  names = [entry.name for entry in entries]
  assert len(names) == len(set(names)) > 100
  for entry in entries:
    assert entry.source and entry.fidelity in catalogue.FIDELITIES, entry.name
    assert len(entry.equation) > 8, entry.name


def test_presets_are_found(entries):
  by_name = {entry.name: entry for entry in entries}
  assert 'gspo' in by_name['losses.gspo'].presets
  assert 'gspo' not in by_name['losses.clipped_surrogate'].presets


def test_the_readme_has_the_same_table():
  text = README.read_text()
  written = text.split(MARKERS[0])[1].split(MARKERS[1])[0].strip()
  assert written == catalogue.table().strip(), 'put `rljax catalogue --markdown` into the README'


def test_the_verb_finds_functions(capsys):
  assert cli.main(['catalogue', '--find=gspo_token']) == 0
  said = capsys.readouterr().out
  assert 'losses.gspo_token' in said and 'losses.nll' not in said
  assert cli.main(['catalogue', '--find=no such thing']) == 2
