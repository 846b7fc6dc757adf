"""The notebooks run from their first cell to their last, on small settings; what is committed."""

import pathlib
import sys

import nbclient
import nbformat
import pytest
from tiny_runs import flags_of_one_device

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'colab'))

import execute  # noqa: E402

# Notebook -> (the cell behind which this is inserted, what makes it small).
SMALL = {
  'quickstart': (
    'config',
    """
config.sft.iterations, config.rl.iterations = 2, 2
config.rl.prompts, config.rl.samples = 4, 4
config.evaluation.update(num_prompts=4, samples=2, ks=(1, 2), batch=16)
config.model.update(num_layers=1, d_model=32)
config.rewards.workers, config.health_check = 1, False
""",
  ),
  'losses_tour': ('grid', 'POINTS = 5\nRATIOS, ADVANTAGES = RATIOS[::12][:10], ADVANTAGES[::15]'),
  'own_task': (
    'config',
    """
large_config = small_config
def small_config():
  config = large_config()
  config.sft.update(iterations=2, stop_accuracy=0.0)
  config.rl.update(iterations=2, prompts=4, samples=4)
  config.evaluation.update(num_prompts=4, samples=2, ks=(1, 2), batch=16)
  config.model.update(num_layers=1, d_model=32)
  config.rewards.workers, config.health_check = 1, False
  return config
""",
  ),
  'bring_a_model': (
    'config',
    'SIZE = dict(num_layers=1, d_model=32, num_heads=2, num_kv_heads=1, d_ff=32)\n'
    'SFT_ITERATIONS, RL_ITERATIONS = 2, 2',
  ),
  'paper_claim': (
    'config',
    """
SEEDS, KS, large = (0, 1), (1, 2), small
def small(name):
  config = large(name)
  config.sft.update(iterations=2, stop_accuracy=0.0)
  config.rl.update(iterations=2, prompts=4, samples=4)
  config.evaluation.update(num_prompts=4, batch=16)
  config.model.update(num_layers=1, d_model=32)
  config.health_check = False
  return config
""",
  ),
  'scale': (
    'plan-config',
    'PLAN |= {"model.num_layers": 1, "model.d_model": 256, "model.d_ff": 256, "rl.prompts": 4}',
  ),
  'own_loop': ('model', 'WIDTH = 8'),
}
PICTURES = {
  'quickstart': 2, 'losses_tour': 8, 'own_task': 2, 'bring_a_model': 1, 'paper_claim': 1,
  'scale': 2, 'own_loop': 2,
}  # fmt: skip


def ran(name, folder, monkeypatch):
  """The outputs of a notebook on small settings."""
  monkeypatch.setenv('XLA_FLAGS', flags_of_one_device())
  monkeypatch.delenv('MPLBACKEND', raising=False)  # pictures come inline
  notebook = execute.read(name)
  behind, small = SMALL[name]
  at = notebook.cells.index(execute.cell(notebook, behind))
  notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(small))
  execute.execute(notebook, folder, timeout=900)
  assert not execute.noise(notebook)
  return [output for cell in notebook.cells for output in cell.get('outputs', [])]


def pictures(outputs):
  return sum('image/png' in output.get('data', {}) for output in outputs)


@pytest.mark.thorough
def test_the_quick_start_runs(tmp_path, monkeypatch):
  outputs = ran('quickstart', tmp_path, monkeypatch)
  for name in ('baseline', 'sign'):
    assert (tmp_path / 'runs' / 'notebook' / name / 'summary.json').is_file()
  printed = ''.join(output.get('text', '') for output in outputs)
  assert 'start' in printed and 'end' in printed
  assert pictures(outputs) == PICTURES['quickstart']


@pytest.mark.slow
@pytest.mark.parametrize('name', execute.ORDER[1:])
def test_a_notebook_runs(name, tmp_path, monkeypatch):
  assert pictures(ran(name, tmp_path, monkeypatch)) == PICTURES[name]


@pytest.mark.parametrize('name', execute.ORDER)
def test_what_is_committed(name):
  notebook = execute.read(name)
  nbformat.validate(notebook)
  first = notebook.cells[0].source
  assert execute.RUNTIME.search(first) and 'not measured' in first
  assert execute.cell(notebook, 'install') == {
    **execute.cell(execute.read('quickstart'), 'install'),
    'execution_count': execute.cell(notebook, 'install').execution_count,
  }
  outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
  assert pictures(outputs) == PICTURES[name], 'it is committed with its outputs'
  counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == 'code']
  assert counts == list(range(1, len(counts) + 1)), 'it was run from top to bottom'
  assert not execute.noise(notebook)


@pytest.mark.parametrize(
  'said',
  [
    {'text': 'saved to /home/someone/runs'},
    {'text': 'from /tmp/abc'},
    {'text': '/srv/disk/project/file.py:3: a warning'},
    {'text': ' 40%|████      | 4/10 [00:01<00:02, 2.5it/s]'},
    {'text': 'one\rtwo'},
    {'name': 'stderr', 'text': 'a warning'},
  ],
)
def test_noise_is_found(said):
  cell = nbformat.v4.new_code_cell('1')
  quiet = {'output_type': 'stream', 'name': 'stdout'}
  cell.outputs = [nbformat.from_dict({**quiet, 'text': 'runs/a: 50 % of 1/2, see https://a.org/b/c/d'})]
  assert not execute.noise(nbformat.v4.new_notebook(cells=[cell]))
  cell.outputs = [nbformat.from_dict({**quiet, **said})]
  assert execute.noise(nbformat.v4.new_notebook(cells=[cell]))


def test_what_is_printed_stays_beside_its_picture():
  def printed(text):
    return nbformat.v4.new_output('stream', name='stdout', text=text)

  picture = nbformat.v4.new_output('display_data', data={'text/plain': 'a picture'})
  outputs = execute.joined([printed('a'), printed('b'), picture, printed('c')])
  assert outputs == [printed('ab'), picture, printed('c')]


def test_an_error_ends_the_run(tmp_path):
  notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('1 / 0')])
  with pytest.raises(nbclient.exceptions.CellExecutionError, match='ZeroDivisionError'):
    execute.execute(notebook, tmp_path)


def test_a_badge_where_there_is_a_repository(tmp_path):
  project = tmp_path / 'pyproject.toml'
  project.write_text('[project]\n[project.urls]\nRepository = "https://github.com/o/r.git"\n')
  url = execute.repository_url(project)
  notebook = execute.read('quickstart')
  before = notebook.cells[0].source
  for _ in range(2):
    execute.link(notebook, 'quickstart', url)
  first, install = notebook.cells[0].source, execute.cell(notebook, 'install').source
  assert first.count('https://colab.research.google.com/github/o/r/blob/main/colab/quickstart') == 1
  assert "'git+https://github.com/o/r'" in install
  execute.link(notebook, 'quickstart', '')
  assert notebook.cells[0].source == execute.BADGE.sub('', before)
  assert execute.NO_URL in execute.cell(notebook, 'install').source


def test_committed_badges_are_those_of_the_project():
  for name in execute.ORDER:
    notebook, renewed = execute.read(name), execute.read(name)
    execute.link(renewed, name, execute.repository_url())
    assert notebook == renewed, 'python colab/execute.py --links renews them'
  assert (ROOT / 'colab' / 'README.md').read_text().endswith(f'{execute.table()}\n')
