"""The order of the parts: who may import whom, what an import loads, how large a file may be."""

import ast
import importlib.metadata
import pathlib
import re
import subprocess
import sys

import packaging.requirements
import packaging.utils
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'rljax'

# (parts, libraries that they may import at module level); a part imports from lower rows and from
# what stands left of it. Heavy libraries that are missing here are imported on use.
FLOORS = {
  '0': (
    'known_errors places renamed files redaction structs prompts masking traits trips binding '
    'tokenization',
    'chex flax etils',
  ),
  '1a': (
    'filters vocabulary log_ratios logprobs losses regularizers advantages weighting corrections '
    'selection shaping',
    'chex',
  ),
  '1b': (
    'hosts notices interruptions shares data devices rewards tasks environments curriculum',
    '',
  ),
  '2': (
    'rules sharding layouts models sampling metrics checkpoint',
    'flax orbax etils clu absl ml_dtypes',
  ),
  '3': (
    'optimizers forward router arrays returned combinations objective aggregation loss_pass '
    'prepare update rollouts evaluation',
    'optax flax',
  ),
  '4': (
    'config catalogue methods overrides workdir build_model placement assembly stages health '
    'guard progress out_of_memory train replay exports scanned plan report arguments listings '
    'cli __main__ docs',
    'absl ml_collections etils flax optax',
  ),
}
# Modules that are themselves imported on use.
LAZY = {
  'data/gsm8k_builder.py': {'tensorflow_datasets'},
  'docs/docstrings.py': {'griffe'},
}
EVERYWHERE = {'jax', 'numpy', 'rljax', '__future__', *sys.stdlib_module_names}
# The device maths knows arrays only, no record and no config.
MATHS_MAY_USE = {'masking', 'traits', 'trips', 'renamed'}

PLACE = {
  part: (floor, index)
  for floor, (parts, _) in enumerate(FLOORS.values())
  for index, part in enumerate(parts.split())
}
FILES = sorted(p for p in PACKAGE.rglob('*.py') if 'configs' not in p.relative_to(PACKAGE).parts)


def part_of(path):
  return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imported(path, module_level_only=False):
  """Full dotted names that a file imports."""
  tree = ast.parse(path.read_text())
  inside = {
    id(node)
    for function in ast.walk(tree)
    if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for node in ast.walk(function)
  }
  for node in ast.walk(tree):
    if module_level_only and id(node) in inside:
      continue
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: imports are absolute'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def own_parts(path):
  """The parts of rljax that a file imports, also inside functions."""
  for name in imported(path):
    pieces = name.split('.')
    if pieces[0] == 'rljax' and len(pieces) > 1 and pieces[1] != '__version__':
      yield pieces[1]


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_from_below_and_from_its_left(path):
  part = part_of(path)
  if path == PACKAGE / '__init__.py':
    assert set(own_parts(path)) <= {'config'}
    return
  assert part in PLACE, f'{part} stands on no floor'
  for other in own_parts(path):
    if other in ('load_config', part):
      continue
    assert other in PLACE, f'{path}: rljax.{other} stands on no floor'
    assert PLACE[other] < PLACE[part], f'{path} imports rljax.{other}, which stands above it'
  if part in FLOORS['1a'][0].split():
    below = {other for other in own_parts(path) if PLACE[other][0] < PLACE[part][0]}
    assert below <= MATHS_MAY_USE, f'{path} knows of {below - MATHS_MAY_USE}'


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_at_module_level(path):
  if path == PACKAGE / '__init__.py':
    libraries = set()
  else:
    libraries = set(list(FLOORS.values())[PLACE[part_of(path)][0]][1].split())
  libraries |= LAZY.get(str(path.relative_to(PACKAGE)), set())
  found = {name.split('.')[0] for name in imported(path, module_level_only=True)}
  assert found <= EVERYWHERE | libraries


def test_init_files_export_their_own_package():
  for path in FILES:
    if path.name == '__init__.py' and path.parent != PACKAGE:
      own = '.'.join(path.parent.relative_to(ROOT).parts)
      allowed = (f'{own}.', '__future__', 'rljax.renamed')
      others = [n for n in imported(path) if not n.startswith(allowed)]
      assert not others, f'{path} re-exports {others}'


def test_configs_use_the_public_interface():
  for path in sorted((ROOT / 'configs').rglob('*.py')):
    assert {n.split('.')[0] for n in imported(path)} <= {'rljax', 'ml_collections'}, path
    assert ast.get_docstring(ast.parse(path.read_text())), f'{path} says nothing of itself'


def test_sizes():
  for path in FILES:
    text = path.read_text()
    assert text.count('\n') <= 300, f'{path} is long: is it one noun?'
    for node in ast.walk(ast.parse(text)):
      if isinstance(node, ast.FunctionDef):
        code = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
        size = code[-1].end_lineno - code[0].lineno + 1
        assert size <= 60, f'{path}: {node.name} has {size} lines of code'
  for path, most in ((PACKAGE / 'train.py', 200), (PACKAGE / '__main__.py', 60)):
    assert path.read_text().count('\n') <= most


def test_names_of_modules():
  libraries = {'tokenizers', 'evaluate', 'transformers', 'datasets', 'torch', 'optax', 'grain'}
  vague = {'utils', 'common', 'helpers', 'misc'}
  for path in FILES:
    if path.name not in ('__init__.py', '__main__.py'):
      assert path.stem not in libraries | vague | sys.stdlib_module_names, path


HEAVY = (
  'tensorflow torch orbax optax grain tensorflow_datasets clu tokenizers transformers '
  'sentencepiece matplotlib ml_collections wandb'
)


def run_python(code):
  answer = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert answer.returncode == 0, answer.stderr
  return answer.stdout.split()


def test_importing_the_losses_is_light():
  code = (
    'import jax; before = {k: v for k, v in jax.config.values.items()}\n'
    'import rljax.losses, rljax.advantages, rljax.weighting, rljax.regularizers, sys\n'
    'from jax._src import xla_bridge\n'
    'assert not xla_bridge._backends, "a backend was started"\n'
    'assert before == jax.config.values, "jax was configured"\n'
    'print(*(m for m in sys.modules if "." not in m))'
  )
  assert not set(run_python(code)) & set(HEAVY.split())


def test_the_command_line_speaks_before_jax_is_loaded():
  assert 'jax' not in run_python('import sys, rljax.cli; print(*sys.modules)')


def test_rewards_and_prompts_load_without_jax():
  code = 'import sys, rljax.prompts, rljax.rewards, rljax.tasks; print(*sys.modules)'
  assert 'jax' not in run_python(code)


def test_no_tensorflow_and_no_torch_is_required():
  names, seen = ['rljax'], set()
  while names:
    name = packaging.utils.canonicalize_name(names.pop())
    if name in seen:
      continue
    seen.add(name)
    try:
      required = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
      continue  # another platform's
    for text in required:
      requirement = packaging.requirements.Requirement(text)
      if requirement.marker is None or requirement.marker.evaluate({'extra': ''}):
        names.append(requirement.name)
  assert {'jax', 'numpy', 'optax'} <= seen
  assert not {n for n in seen if n in ('torch', 'keras') or n.startswith('tensorflow-cpu')}
  assert 'tensorflow' not in seen


def test_documents_install_from_where_rljax_is():
  """The name on PyPI is another project's."""
  wrong = re.compile(
    r'pip3? install[^\n#|&;]*[\s"\'\\]rljax(\[[\w,-]*\])?["\'\\]*(?=\s|$|[=<>~!,`])(?! @)'
  )
  assert wrong.search('pip install -U "rljax[test]"') and wrong.search('pip install rljax')
  assert not wrong.search('pip install "rljax[cuda12] @ git+<repository URL>"')
  documents = [ROOT / 'README.md', ROOT / 'CHANGELOG.md', ROOT / 'CITATION.cff']
  for folder in ('configs', 'docs', 'colab', 'experiments', 'rljax'):
    documents += [p for p in (ROOT / folder).rglob('*') if p.suffix in ('.md', '.py', '.ipynb')]
  for path in documents:
    found = wrong.search(path.read_text())
    assert not found, f'{path}: {found and found[0]}'
