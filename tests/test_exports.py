"""The policy of a run as a Hugging Face directory."""

import jax
import numpy as np
import pytest
import tiny_runs

from rljax import checkpoint, cli, models
from rljax.exports import export_run


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp('run') / 'w'
  evaluation = dict(num_prompts=2, samples=0, ks=())
  tiny_runs.run(path, stages=('sft',), sft=dict(iterations=1), evaluation=evaluation)
  return path


def test_the_verb_writes_what_the_run_has_learnt(workdir, tmp_path, capsys):
  assert cli.main(['export', str(workdir), f'--to={tmp_path / "out"}']) == 0
  assert str(tmp_path / 'out') in capsys.readouterr().out
  _, params, shape = models.load(tmp_path / 'out')
  assert shape.d_model == tiny_runs.MODEL['d_model']
  saved = checkpoint.load_params(workdir, example=params)
  jax.tree.map(np.testing.assert_array_equal, params, saved)


def test_the_verb_needs_a_place(workdir, capsys):
  assert cli.main(['export', str(workdir)]) == 2
  assert 'needs --to' in capsys.readouterr().err


def test_what_is_no_run(tmp_path):
  with pytest.raises(FileNotFoundError):
    export_run(tmp_path / 'nothing', tmp_path / 'out')
