"""Readers: lines of JSON, and the GSM8K builder without TensorFlow."""

import json
import pathlib
import subprocess
import sys

import pytest

from rljax import data


def test_json_lines(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_text('{"a": "é"}\n\n  \n{"a": 2}\r\n{"a": 3}', encoding='utf-8')
  lines = data.JsonLines(path)
  assert len(lines) == 3 and list(lines) == [{'a': 'é'}, {'a': 2}, {'a': 3}]
  assert lines[-1] == {'a': 3} and lines[1:] == [{'a': 2}, {'a': 3}]
  with pytest.raises(IndexError):
    lines[3]


def test_json_lines_name_file_and_line(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_text('{"a": 1}\n\n[2]\nx\n')
  lines = data.JsonLines(path)
  with pytest.raises(ValueError, match=r'a\.jsonl, line 3: list, no JSON object'):
    lines[1]
  with pytest.raises(ValueError, match=r'a\.jsonl, line 4: no JSON'):
    lines[2]
  with pytest.raises(FileNotFoundError, match=r'b\.jsonl'):
    data.JsonLines(tmp_path / 'b.jsonl')


def test_data_dir(monkeypatch):
  monkeypatch.setenv('RLJAX_DATA', '/some/where')
  assert data.data_dir() == pathlib.Path('/some/where')
  monkeypatch.delenv('RLJAX_DATA')
  assert data.data_dir() == pathlib.Path.home() / '.cache' / 'rljax'


BUILD = """
import json, sys
from rljax.data.gsm8k_builder import Gsm8k
from rljax.tasks import gsm8k

Gsm8k(source=sys.argv[1], data_dir=sys.argv[2]).download_and_prepare()
again = Gsm8k(data_dir=sys.argv[2]).as_data_source('test')
task = gsm8k(path=sys.argv[2] + '/gsm8k')
print(json.dumps({
  'records': [r['question'].decode() for r in again],
  'prompts': [p.text for p in task.test],
  'completion': task.demonstrate(task.train[5]),
  'heavy': [m for m in ('tensorflow', 'torch', 'jax') if m in sys.modules],
}))
"""


def test_gsm8k_builder_without_tensorflow(tmp_path):
  source = tmp_path / 'source'
  source.mkdir()
  for split, num in (('train', 9), ('test', 6)):
    records = [{'question': f'{split} {i}?', 'answer': f'so\n#### {i}'} for i in range(num)]
    (source / f'{split}.jsonl').write_text('\n'.join(map(json.dumps, records)))
  command = [sys.executable, '-c', BUILD, str(source), str(tmp_path / 'data')]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  assert found['records'] == [f'test {i}?' for i in range(6)], 'in the order of the lines'
  assert [p.splitlines()[0] for p in found['prompts']] == found['records']
  assert found['completion'] == 'so\n#### 5'
  assert found['heavy'] == []
