"""Atomic writes, JSON lines that survive a kill."""

import os
import subprocess
import sys

import numpy as np
import pytest

from rljax import files


def test_write_is_atomic_and_leaves_nothing_behind(tmp_path):
  path = tmp_path / 'a' / 'b.json'
  files.write_json(path, {'x': [1, 'é']})
  assert files.read_json(path) == {'x': [1, 'é']}
  with pytest.raises(RuntimeError), files.atomic(path) as temporary:
    temporary.write_text('half')
    raise RuntimeError
  assert files.read_json(path) == {'x': [1, 'é']}
  with pytest.raises(ValueError):
    files.write_json(path, {'x': float('nan')})
  assert os.listdir(path.parent) == ['b.json']


def test_a_killed_writer_leaves_the_old_file_and_its_rest_is_removed(tmp_path):
  path = tmp_path / 'state.txt'
  files.write_text(path, 'old')
  code = (
    'import os, sys; from rljax import files\n'
    'with files.atomic(sys.argv[1]) as t: t.write_text("new"); os.kill(os.getpid(), 9)'
  )
  assert subprocess.run([sys.executable, '-c', code, str(path)]).returncode == -9
  assert files.read_text(path) == 'old'
  assert len(os.listdir(tmp_path)) == 2
  files.write_text(path, 'newer')
  assert os.listdir(tmp_path) == ['state.txt']
  assert files.read_text(path) == 'newer'


def test_jsonl_appends_and_is_cut(tmp_path):
  path = tmp_path / 'rows.jsonl'
  assert files.truncate_jsonl(path, lambda row: True) == 0
  rows = [{'i': i, 'text': 'a\u2028\x85b'} for i in range(5)]
  files.append_text(path, files.json_lines(rows))
  files.append_text(path, '{"i": 5, "te')
  assert [row['i'] for row in files.read_jsonl(path)] == [0, 1, 2, 3, 4]
  assert files.truncate_jsonl(path, lambda row: row['i'] <= 2) == 3
  files.append_text(path, files.json_lines([{'i': 3}]))
  assert [row['i'] for row in files.read_jsonl(path)] == [0, 1, 2, 3]
  assert files.read_jsonl(path)[0]['text'] == 'a\u2028\x85b'


def test_a_last_line_without_its_newline_is_cut_even_if_it_is_json(tmp_path):
  path = tmp_path / 'rows.jsonl'
  path.write_text('{"i": 0}\n12')
  assert files.truncate_jsonl(path, lambda row: True) == 1
  assert path.read_text() == '{"i": 0}\n'


def test_a_full_disk_takes_whole_lines_or_none(tmp_path):
  """The limit on the size of files stands for the disk."""
  code = (
    'import resource, signal, sys; from rljax import files\n'
    'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
    'resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); lines = files.LineFile(sys.argv[1])\n'
    'lines.append("1\\n22\\n")\n'
    'try: lines.append("333\\n4444\\n")\n'
    'except OSError: lines.append("55\\n")\n'
  )
  path = tmp_path / 'lines.jsonl'
  subprocess.run([sys.executable, '-c', code, str(path)], check=True)
  assert path.read_text() == '1\n22\n55\n'


def test_a_broken_line_is_named(tmp_path):
  path = tmp_path / 'rows.jsonl'
  path.write_text('{"i": 0}\nnonsense\n{"i": 1}\n')
  with pytest.raises(ValueError, match=r'rows\.jsonl, line 2'):
    files.read_jsonl(path)


def test_remote_paths_are_recognised():
  assert files.is_remote('gs://bucket/run')
  assert not files.is_remote('runs/quickstart')
  assert str(files.as_path('gs://bucket') / 'run') == 'gs://bucket/run'


def test_plain_values():
  value = {1: (np.float32(0.1), np.arange(2), {2, 1}), 'f': files.exists, 'n': float('-inf')}
  expected = {'1': [0.1, [0, 1], [1, 2]], 'f': 'rljax.files.store.exists', 'n': '-inf'}
  assert files.plain(value) == expected
  assert files.plain([np.float32('nan'), 1.5], nonfinite=lambda _: None) == [None, 1.5]
