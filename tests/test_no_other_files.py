"""Files are opened in one place, so that all of them may stand on an object store."""

import ast

import pytest
from test_floors import FILES, PACKAGE

# What touches a file: functions by their dotted name, methods by their last name.
FUNCTIONS = {'open', 'io.open', 'gzip.open', 'sqlite3.connect'}
FUNCTIONS |= {f'np.{name}' for name in ('save', 'load', 'savez', 'savetxt', 'loadtxt', 'memmap')}
FUNCTIONS |= {
  f'os.{name}'
  for name in (
    'open fdopen rename replace remove unlink mkdir makedirs rmdir removedirs link symlink '
    'truncate listdir scandir walk'
  ).split()
}
FUNCTIONS |= {f'shutil.{n}' for n in ('copy', 'copy2', 'copyfile', 'copytree', 'move', 'rmtree')}
METHODS = set(
  'open mkdir rename unlink rmdir rmtree touch symlink_to hardlink_to write_text write_bytes '
  'read_text read_bytes iterdir tofile'.split()
)

# Module -> why it opens files by itself, and which of the above it calls.
EXCEPTIONS = {
  'cli.py': ('the null device, where nobody reads on', 'os.open'),
  'data/jsonl.py': ('a record by its place in a local file', 'open gzip.open'),
  'docs/pages.py': ('files of the checkout', 'read_text'),
  'docs/public_api.py': ('its own sources', 'read_text'),
  'devices.py': ("the kernel's files", 'read_text'),
  'hosts.py': ('bytes in memory', 'np.savez np.load'),
  'metrics/memory.py': ("the kernel's files", 'open os.listdir'),
  'models/tensor_files.py': ('memory maps; writes what files.atomic puts', 'open np.memmap'),
  'notices.py': ("the kernel's files", 'read_text'),
  'rewards/judges/cache.py': ('a data base on a local disk', 'os.makedirs sqlite3.connect'),
  'rewards/sandbox.py': ('a local temporary folder of a sandbox', 'shutil.rmtree'),
  'rewards/sandbox_inside.py': ('within a sandbox', 'open os.open os.mkdir os.makedirs os.symlink'),
  'rewards/sandbox_runner.py': ('makes a sandbox', 'open os.open os.mkdir os.listdir rmtree'),
  'rewards/sql.py': ('a data base on a local disk', 'sqlite3.connect'),
  'rewards/worker.py': ('its own standard output', 'os.open os.fdopen'),
  'tasks/table_questions.py': ('a data base in memory', 'sqlite3.connect'),
  'workdir/lock.py': ('locks of the local system', 'os.open'),
  'workdir/sources.py': ("the user's sources", 'read_text'),
}
# Methods of these names that have nothing to do with files.
OTHERS = {('train.py', 'stage.rename'), ('stages/ranked.py', 'self.rename')}
OTHERS |= {('stages/interleaved.py', 'super().rename')}
OTHERS |= {('models/huggingface_files.py', 'file.rename')}


def touches(path):
  """Dotted names of what a module calls that touches files."""
  where = str(path.relative_to(PACKAGE))
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Call):
      name = ast.unparse(node.func)
      last = name.rpartition('.')[2]
      if name in FUNCTIONS:
        yield name
      elif isinstance(node.func, ast.Attribute) and last in METHODS and (where, name) not in OTHERS:
        if not name.startswith('files.'):
          yield last if name not in FUNCTIONS else name


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_opened_in_files(path):
  where = str(path.relative_to(PACKAGE))
  if not where.startswith('files/'):
    allowed = EXCEPTIONS.get(where, ('', ''))[1].split()
    assert set(touches(path)) <= set(allowed), f'{where} opens files by itself: use rljax.files'


def test_no_exception_is_left_over():
  for where, (why, names) in EXCEPTIONS.items():
    assert why and set(names.split()) == set(touches(PACKAGE / where)), where
