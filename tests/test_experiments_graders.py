"""The mix of the graders' experiment is what its page says, and its report says what was found."""

import importlib.util
import json
import pathlib
import shutil

import pytest

from rljax.rewards import Scorer, exact_answer

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def graders(tmp_path):
  folder = shutil.copytree(ROOT / 'experiments' / 'graders', tmp_path / 'graders')
  spec = importlib.util.spec_from_file_location('graders_run', folder / 'run.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_mix(graders):
  rows = graders.mix(1000)
  parts = {part: [r for r in rows if r[0] == part] for part in graders.SHARES}
  assert [len(each) for each in parts.values()] == [400, 400, 100, 100]
  assert rows == graders.mix(1000) and rows != graders.mix(1000, seed=1)
  assert {kind for _, kind, _, _ in rows} == set(graders.KINDS)
  assert max(len(c.text) for _, _, c, _ in parts['hostile']) >= 18_000
  for part, kind, completion, is_right in rows:
    found = exact_answer(completion.text, completion.prompt.answer)
    assert found['accuracy'] == float(is_right) or kind == 'function', (part, completion)
    assert not found['undecided'] or kind == 'function' or part == 'hostile'


def test_the_report(graders, tmp_path, monkeypatch):
  monkeypatch.setattr(
    graders, 'Scorer', lambda _, workers: Scorer('rewards.exact_answer', workers=0)
  )
  arguments = f'run.py --out={tmp_path}/out --count=200 --rounds=1 --publish'
  monkeypatch.setattr('sys.argv', arguments.split())
  graders.main()
  page = (graders.HERE / 'README.md').read_text()
  assert '| hostile | 10 % |' in page and 'Not measured yet' not in page
  assert 's for 200 completions; goal: at most 20 s, reached' in page
  assert '0.0 % by the slow path; goal: at most 10 %, reached' in page
  results = json.loads((graders.HERE / 'results.json').read_text())
  assert results['parts']['right']['completions'] == 80 and results['errors'] == 0
  rejects = results['parts']['right']['false_rejects']
  results |= {'seconds': [19.0, 21.0, 30.0], 'slow_share': 0.25}
  table = graders.markdown(results)
  assert '21.00 s for 200 completions; goal: at most 20 s, **missed**' in table
  assert '25.0 % by the slow path; goal: at most 10 %, **missed**' in table
  assert rejects == sum(r[1] == 'function' for r in graders.mix(200) if r[0] == 'right')
