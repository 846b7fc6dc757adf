"""The notebook runs from its first cell to its last, on small settings."""

import pathlib

import nbclient
import nbformat
import pytest
from tiny_runs import flags_of_one_device

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = """
config.sft.iterations, config.rl.iterations = 2, 2
config.rl.prompts, config.rl.samples = 4, 4
config.evaluation.update(num_prompts=4, samples=2, ks=(1, 2), batch=16)
config.model.update(num_layers=1, d_model=32)
config.rewards.workers, config.health_check = 1, False
"""


@pytest.fixture
def notebook():
  return nbformat.read(ROOT / 'colab' / 'quickstart.ipynb', as_version=4)


def test_the_notebook_is_valid_and_short(notebook):
  nbformat.validate(notebook)
  assert len(notebook.cells) <= 12
  assert not any(cell.get('outputs') for cell in notebook.cells), 'it is committed without outputs'


def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', flags_of_one_device())
  monkeypatch.setenv('RLJAX_DATA', str(tmp_path / 'data'))
  monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
  at = next(i for i, cell in enumerate(notebook.cells) if cell['id'] == 'config')
  notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(SMALL))
  client = nbclient.NotebookClient(
    notebook, timeout=500, resources={'metadata': {'path': str(tmp_path)}}
  )
  client.execute()
  for name in ('baseline', 'sign'):
    assert (tmp_path / 'runs' / 'notebook' / name / 'summary.json').is_file()
  outputs = [o for cell in notebook.cells for o in cell.get('outputs', [])]
  printed = ''.join(o.get('text', '') for o in outputs)
  assert 'start' in printed and 'end' in printed
  assert sum('image/png' in o.get('data', {}) for o in outputs) == 2
