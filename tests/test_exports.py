"""The policy of a run as a Hugging Face directory."""

import jax
import numpy as np
import pytest
import tiny_runs

from rljax import checkpoint, cli, exports, models, tokenization
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
  assert (tmp_path / 'out' / 'tokenizer.json').exists()


@pytest.mark.parametrize(
  ('own', 'texts'),
  [
    (tokenization.characters(alphabet='ab >\n<é'), ['ab> a\nb', '<é', '']),
    (tokenization.byte_level(), ['hé  ll\no <|eo', '\x00\x7f\u2028🙂', '']),
  ],
)
def test_tokenizers_without_files_get_some(own, texts, tmp_path):
  exports._write_tokenizer(tmp_path, *own.as_tokenizers())
  found = tokenization.huggingface(path=str(tmp_path))
  assert found.vocab_size == own.vocab_size and found.pad_id == own.pad_id
  assert found.eos_ids == own.eos_ids
  for text in texts:
    assert found.encode(text) == own.encode(text)
    assert found.decode([*own.encode(text), *own.eos_ids]) == text


def test_the_verb_needs_a_place(workdir, capsys):
  assert cli.main(['export', str(workdir)]) == 2
  assert 'needs --to' in capsys.readouterr().err


def test_what_is_no_run(tmp_path):
  with pytest.raises(FileNotFoundError):
    export_run(tmp_path / 'nothing', tmp_path / 'out')
