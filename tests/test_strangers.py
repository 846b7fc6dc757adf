"""Files of strangers run nothing: model directories, tokenizers, templates, checkpoints, data."""

import ast
import datetime
import importlib.util
import json
import os
import pathlib
import struct
import time

import numpy as np
import pytest
from test_floors import FILES, PACKAGE
from test_huggingface import SMALL, random_params
from test_tokenization import hf_directory

from rljax import build_model, checkpoint, models, tokenization
from rljax.models import tensor_files
from rljax.tokenization import chat_template

# -- what the package calls

RUNS_CODE = {'eval', 'exec', 'compile', '__import__', 'import_module', 'exec_module', 'execfile'}
READS_CODE = {'Unpickler', 'load_module', 'trust_remote_code', 'allow_pickle'}
MODULES = {'pickle', 'cloudpickle', 'dill', 'marshal', 'shelve', 'joblib', 'yaml', 'torch'}
# Module -> what of the above stands in it, and why that is no stranger's.
ALLOWED = {
  'binding.py': ('import_module', 'the functions that a config names; a config is code'),
  'catalogue.py': ('import_module', "the package's own modules"),
  'config.py': ('exec_module', 'config files are code, and the documentation says so'),
  'files/arrays.py': ('allow_pickle', 'False: arrays that a run has saved'),
  'hosts.py': ('allow_pickle', 'False: arrays of the other hosts'),
  'models/kernels.py': ('import_module', 'modules of jax by their names'),
  'renamed.py': ('import_module', "the package's own modules, by a table in its code"),
  'rewards/delivery.py': ('cloudpickle', "the user's own reward, on its way to a worker"),
  'rewards/nesting.py': ('import_module', 'the reward that a config names, in a worker'),
  'rewards/process.py': ('cloudpickle pickle', 'the pipe from this process to its worker'),
  'rewards/sandbox_inside.py': ('compile exec', 'programs of a model, in the sandbox'),
  'rewards/sandbox_runner.py': ('import_module', 'its neighbour and shutil'),
  'rewards/worker.py': ('pickle', 'the other end of that pipe'),
  'tokenization/template_worker.py': ('import_module', 'jinja2'),
}


def dangerous(tree):
  """Names of RUNS_CODE, READS_CODE and MODULES that a module uses."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from MODULES & {alias.name.partition('.')[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      yield from MODULES & {node.module.partition('.')[0]}
    elif isinstance(node, ast.Call):
      name = ast.unparse(node.func)
      if name.rpartition('.')[2] in RUNS_CODE - {'compile'} or name == 'compile':
        yield name.rpartition('.')[2]
      yield from READS_CODE & ({keyword.arg for keyword in node.keywords} | set(name.split('.')))
      if name in ('np.load', 'numpy.load') and 'allow_pickle' not in {k.arg for k in node.keywords}:
        yield name
    if isinstance(node, ast.ImportFrom | ast.Name | ast.Attribute):
      yield from READS_CODE & set(ast.unparse(node).replace(',', ' ').replace('.', ' ').split())


def test_nothing_runs_what_it_reads():
  found = {}
  for path in FILES:
    if names := set(dangerous(ast.parse(path.read_text()))):
      found[str(path.relative_to(PACKAGE))] = names
  assert found == {where: set(names.split()) for where, (names, _) in ALLOWED.items()}
  assert all(why for _, why in ALLOWED.values())


@pytest.mark.parametrize(
  'text',
  [
    'import pickle', 'from dill import loads', 'eval(x)', 'np.load(f, allow_pickle=True)',
    'np.load(f)', 'import torch.serialization', 'f = builtins.exec(x)', 'import yaml',
    'from a import Unpickler', 'a.from_pretrained(b, trust_remote_code=True)',
  ],
)  # fmt: skip
def test_the_walk_sees_each_of_them(text):
  assert set(dangerous(ast.parse(text)))


# -- model directories


@pytest.fixture
def directory(tmp_path):
  config = models.DecoderConfig(**SMALL)
  models.export(tmp_path, random_params(config), config)
  return tmp_path


def refused(directory, words, error=ValueError):
  with pytest.raises(error, match=words) as caught:
    models.load(directory)
  assert '\n' not in str(caught.value)


def test_pickled_weights_are_refused_with_what_to_do(directory):
  (directory / 'model.safetensors').unlink()
  (directory / 'pytorch_model.bin').write_bytes(b'cos\nsystem\n(S"touch /tmp/owned"\ntR.')
  words = r'\(pytorch_model.bin is there\): .* pickle, which can run code .*save_pretrained'
  refused(directory, words, FileNotFoundError)


@pytest.mark.parametrize('name', ['../x.safetensors', '/etc/passwd', 'a/b.safetensors', 'x.bin', 3])
def test_an_index_names_files_beside_it(directory, name):
  index = directory / 'model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': {'model.norm.weight': name}}))
  refused(directory, 'no safetensors file beside it')


def test_an_index_without_a_map(directory):
  for content in ('{}', '{"weight_map": []}', '[]', '[' * 100_000):
    (directory / 'model.safetensors.index.json').write_text(content)
    refused(directory, 'weight_map|no JSON')


def test_code_of_a_model_directory_is_ignored_and_that_is_said(directory):
  file = directory / 'config.json'
  content = {**json.loads(file.read_text()), 'auto_map': {'AutoModel': 'evil.Model'}}
  file.write_text(json.dumps(content))
  (directory / 'evil.py').write_text('raise SystemExit')
  with pytest.warns(UserWarning, match='config.json: auto_map .* never runs'):
    models.load(directory)


@pytest.mark.parametrize(
  'fields',
  [
    {'num_hidden_layers': 10**12}, {'hidden_size': '32'}, {'num_attention_heads': 0},
    {'vocab_size': -1}, {'hidden_size': True}, {'rope_scaling': 'linear'}, {'rope_theta': {'a': 1}},
    {'rms_norm_eps': None, 'rope_scaling': {'rope_type': 'linear', 'factor': {}}},
  ],
)  # fmt: skip
def test_fields_of_other_kinds_are_refused(directory, fields):
  file = directory / 'config.json'
  file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
  refused(directory, 'config.json: ')


def tensor_file(path, header, data=b'\x00' * 16, length=None):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(struct.pack('<Q', len(text) if length is None else length) + text + data)
  return path


def entry(begin, end, shape=(2,), dtype='F32'):
  return {'dtype': dtype, 'shape': shape, 'data_offsets': (begin, end)}


GOOD = {'a': entry(0, 8), 'b': entry(8, 16)}


@pytest.mark.parametrize(
  ('header', 'given', 'words'),
  [
    (GOOD, dict(length=2**63), 'does not fit into'),
    (GOOD, dict(length=2**64 - 1), 'does not fit into'),
    (b'[' * 200_000, {}, 'too deeply nested'),
    (b'{"a": 1, "a": 2}', {}, 'twice'),
    (b'\xff\xfe', {}, 'no safetensors file'),
    ({'a': entry(0, 8), 'b': entry(0, 16, (4,))}, {}, 'begin at'),  # over one another
    ({'a': entry(0, 8)}, {}, '8 bytes at its end belong to no tensor'),
    ({'a': entry(8, 16)}, {}, 'begin at'),  # a gap
    ({'a': entry(-8, 8, (4,))}, {}, 'has the shape'),
    ({'a': entry(8, 0)}, {}, 'has the bytes'),
    ({'a': entry(0, 2**62, (2**60,))}, {}, 'is cut off'),
    ({'a': entry(0, 16, (-4,))}, {}, 'has the shape'),
    ({'a': entry(0, 16.0, (4,))}, {}, 'has the shape'),
    ({'a': entry(0, 16, (4,), 7)}, {}, 'dtype 7'),
    ({'a': [0, 16]}, {}, 'no safetensors file'),
    ({'a': entry(0, 8), 'b': entry(8, 16, (2**40,))}, {}, 'b has 8 bytes for'),
  ],
)
def test_headers_that_lie(tmp_path, header, given, words):
  path = tensor_file(tmp_path / 'x.safetensors', header, **given)
  with pytest.raises(ValueError, match=words):
    found = tensor_files.TensorFile(path)
    [found[name] for name in found.entries]


def test_an_honest_header_is_read(tmp_path):
  data = np.arange(4, dtype=np.float32)
  found = tensor_files.TensorFile(tensor_file(tmp_path / 'x', GOOD, data.tobytes()))
  np.testing.assert_array_equal(found['b'], data[2:])


# -- tokenizers and their templates


def test_code_of_a_tokenizer_is_ignored_and_that_is_said(tmp_path):
  settings = {'eos_token': '</s>', 'auto_map': {'AutoTokenizer': ['evil.T', None]}}
  path = hf_directory(tmp_path / 'hf', settings=settings)
  (tmp_path / 'hf' / 'evil.py').write_text('raise SystemExit')
  with pytest.warns(UserWarning, match='tokenizer_config.json: auto_map .* never runs'):
    tokenization.huggingface(path=path)
  assert importlib.util.find_spec('evil') is None


@pytest.mark.parametrize(
  ('name', 'content', 'words'),
  [
    ('tokenizer.json', '{"version": "1.0"', 'no tokenizer.json'),
    ('tokenizer.json', '[]', 'no tokenizer.json'),
    ('tokenizer.json', b'\xff' * 9, 'no tokenizer.json'),
    ('tokenizer_config.json', '[]', 'no JSON object'),
    ('tokenizer_config.json', '[' * 100_000, 'no JSON'),
    ('tokenizer_config.json', '{"eos_token": {"content": {}}}', 'no eos_token_id'),
    ('generation_config.json', '{"eos_token_id": {"a": 1}}', 'no id of a token'),
    ('generation_config.json', '{"eos_token_id": [-1, "x"]}', 'no id of a token'),
    ('chat_template.jinja', b'\xff\xff', 'is no text'),
    ('chat_template.jinja', 'x' * 2**21, 'at most 1048576 is read'),
  ],
)
def test_tokenizer_files_that_are_none(tmp_path, name, content, words):
  path = hf_directory(tmp_path / 'hf', settings={'eos_token': '</s>'})
  content = content.encode() if isinstance(content, str) else content
  (tmp_path / 'hf' / name).write_bytes(content)
  with pytest.raises(tokenization.TokenizerError, match=words):
    tokenization.huggingface(path=path)


def rendered(template, **variables):
  render = chat_template.ChatTemplate(template, datetime.date(2024, 7, 26))
  return render(**{'messages': [{'role': 'user', 'content': 'é'}], **variables})


@pytest.mark.parametrize(
  ('template', 'words'),
  [
    ("{{ cycler.__init__.__globals__ }}", 'unsafe'),
    ("{% include '/etc/passwd' %}", 'no loader'),
    ('{% for i in range(10**9) %}{% endfor %}', 'Range too big'),
    ("{{ 'a' * 10**10 }}", 'needs too much memory'),
    ('{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}', 'recursion'),
    ('{{ ' + '(' * 3000 + '1' + ')' * 3000 + ' }}', 'does not compile'),
    ("{% for i in range(17) %}{{ 'a' * 10**6 }}{% endfor %}", 'gives 17000000 characters'),
    ('{{ messages[0].content.x.y }}', 'undefined|has no'),
    ('{{ 1 / 0 }}', 'ZeroDivisionError'),
  ],
)
def test_templates_are_bounded(template, words):
  with pytest.raises(tokenization.TokenizerError, match=words):
    rendered(template)


def test_a_template_without_end_is_ended(monkeypatch):
  monkeypatch.setattr(chat_template, 'SECONDS', 0.5)
  loops = '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}'
  with pytest.raises(tokenization.TokenizerError, match=r'takes more than 0\.5 s'):
    rendered('{% if messages %}' + loops + '{% endif %}')
  with pytest.raises(tokenization.TokenizerError, match=r'compiling .* takes more than 0\.5 s'):
    rendered("{{ '%999999999d' % 1 }}")


def test_a_template_sees_no_environment_and_its_process_ends_with_it(monkeypatch):
  monkeypatch.setenv('A_SECRET', 'canary')
  render = chat_template.ChatTemplate('{{ messages }}', datetime.date(2024, 7, 26))
  assert render(messages='x') == 'x' == render(messages='x')
  process = render._popen
  if os.path.isdir('/proc/self'):
    assert b'canary' not in pathlib.Path(f'/proc/{process.pid}/environ').read_bytes()
  with pytest.raises(tokenization.TokenizerError, match='must be of JSON types'):
    render(messages={1, 2})
  del render
  deadline = time.monotonic() + 60
  while process.poll() is None and time.monotonic() < deadline:
    time.sleep(0.01)
  assert process.returncode == 0


# -- work directories and checkpoints


@pytest.mark.parametrize(
  'saved',
  [{'name': 'os.system', 'command': 'true'}, {'name': 'antigravity.x'}, ['x'], {'vocab_size': 3},
   {'name': 'models.decoder', 'vocab_size': 9, 'lora': {'name': 'subprocess.run'}},
   {'name': 'models.hub.snapshot', 'address': 'hf://a/b'}],
)  # fmt: skip
def test_a_work_directory_names_no_function_but_models(tmp_path, saved):
  (tmp_path / 'model.json').write_text(json.dumps(saved))
  with pytest.raises(ValueError, match='is no model of rljax'):
    build_model.build_model(
      {'name': 'models.decoder', 'path': str(tmp_path)}, tokenization.byte_level(), None, None,
      value_head=False,
    )  # fmt: skip


@pytest.mark.parametrize(
  'record',
  [
    {'__array__': 'AAAA', 'dtype': 'object', 'shape': [1]},
    {'__array__': 'AAAA', 'dtype': 'float32', 'shape': [10**12]},
    {'__array__': 'AAAA', 'dtype': 'no such', 'shape': [1]},
    {'__array__': 'A', 'dtype': 'int8', 'shape': [1]}, {'__items__': [[{}, 1]]},
    {'__items__': 3}, {'__float__': 'x'}, {'__bytes__': 3}, {'__array__': 'AAAA'},
  ],
)  # fmt: skip
def test_a_host_record_that_has_been_changed(record):
  with pytest.raises(checkpoint.CheckpointError, match='host record is damaged'):
    checkpoint.decode({'a': [record]})


def test_the_name_of_a_role_is_no_path(tmp_path):
  with checkpoint.Checkpointer(tmp_path) as saver:
    for name in ('../x', '/x', 'a/b', '..'):
      with pytest.raises(checkpoint.CheckpointError, match='no name of a role'):
        saver.save_role(name, 0, {'w': np.ones(1)})
