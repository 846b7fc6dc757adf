"""Local and remote (`gs://` …) files: found, read, and written whole.

A reader never sees half a file: a local file is written beside its place and renamed over it; an
object store shows an object when it is closed. A temporary file that a killed process left behind
is removed by the next write of the same file.

Objects can be put whole, read, listed and deleted, and nothing else: they cannot be appended or
renamed, and folders are beginnings of names.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pathlib
import shutil
import socket
import tempfile
from collections.abc import Iterator

from etils import epath

PathLike = str | os.PathLike
CHUNK = 16 * 1024 * 1024  # bytes of an upload or a download that are held at a time


def as_path(path: PathLike) -> epath.Path:
  """`path` with `~` expanded; local, or remote with a scheme such as `gs://`.

  Examples:
    >>> print(files.as_path('gs://bucket/run') / 'config.json')
    gs://bucket/run/config.json
  """
  if is_remote(path):
    _look_anew()
  return epath.Path(path).expanduser()


@functools.cache
def _look_anew() -> None:
  """Folders of object stores are listed each time: what this process knows of them is not all.

  Other machines write there, and so does tensorstore. A stored listing would hide it, and tells the
  length of an object, too, which is then cut when it is read.
  """
  from fsspec.config import conf

  for protocol in ('gcs', 's3', 'az'):
    conf.setdefault(protocol, {}).setdefault('use_listings_cache', False)


def is_remote(path: PathLike) -> bool:
  """True for `gs://`, `s3://` and the like.

  Examples:
    >>> print(files.is_remote('gs://bucket/run'), files.is_remote('runs/one'))
    True False
  """
  return '://' in os.fspath(path)


def exists(path: PathLike) -> bool:
  """True if there is a file or a folder at `path`.

  Examples:
    >>> print(files.exists('nothing.txt'))
    False
  """
  return as_path(path).exists()


def names(folder: PathLike) -> list[str]:
  """Names of what stands in a folder, in order; [] if there is no such folder.

  Examples:
    >>> for name in ('b', 'a'):
    ...   files.write_text(f'some/{name}', '')
    >>> print(files.names('some'), files.names('nothing'))
    ['a', 'b'] []
  """
  place = as_path(folder)
  return sorted(p.name for p in place.iterdir() if p.name) if place.is_dir() else []


def make_folder(path: PathLike) -> None:
  """Makes a folder and those above it; an object store needs none.

  Examples:
    >>> files.make_folder('runs/one')
    >>> print(files.exists('runs/one'))
    True
  """
  if not is_remote(path):
    as_path(path).mkdir(parents=True, exist_ok=True)


def remove(path: PathLike) -> None:
  """Removes a file, if there is one.

  Examples:
    >>> files.write_text('gone.txt', 'x')
    >>> files.remove('gone.txt')
    >>> print(files.exists('gone.txt'))
    False
  """
  as_path(path).unlink(missing_ok=True)


def move(source: PathLike, target: PathLike, *, stays: str = '', last: str = '') -> None:
  """Gives a file or a folder another name.

  An object store cannot: there each object is copied, through this host, and then the old ones are
  removed. A kill in between leaves the old ones whole or, beginning to go, the new ones.

  Args:
    source, target: old and new name.
    stays: remote: a file in the folder that is left where it is.
    last: remote: a file in the folder that is removed after all others.

  Examples:
    >>> files.write_text('old.txt', 'x')
    >>> files.move('old.txt', 'new.txt')
    >>> print(files.exists('old.txt'), files.read_text('new.txt'))
    False x
  """
  first = as_path(source)
  if not is_remote(source):
    first.rename(target)
    return
  found = [name for name in _inside(first) if name != stays or not name]
  for name in found:
    (first / name).copy(as_path(target) / name, overwrite=True)
  for name in sorted(found, key=lambda name: name == last):
    (first / name).unlink()


def _inside(place: epath.Path) -> list[str]:
  """Relative names of all files in a folder; [''] for a file."""
  if not place.is_dir():
    return ['']
  return [f'{n}/{m}' if m else n for n in names(place) for m in _inside(place / n)]


@functools.cache
def local_copy(folder: str) -> pathlib.Path:
  """A copy of a remote folder on this host; it goes when the process ends.

  Examples:
    >>> import pathlib
    >>> folder = pathlib.Path('model')  # as a test stands for gs://…
    >>> files.write_text(folder / 'config.json', '{}')
    >>> print(files.names(files.local_copy(str(folder))))
    ['config.json']
  """
  if not (found := _inside(as_path(folder))) or found == ['']:
    raise FileNotFoundError(f'{folder} is no folder with files')
  copy = pathlib.Path(tempfile.mkdtemp())
  atexit.register(shutil.rmtree, copy, ignore_errors=True)
  for name in found:
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    with (as_path(folder) / name).open('rb') as there, open(copy / name, 'wb') as file:
      shutil.copyfileobj(there, file, CHUNK)
  return copy


# -- writing


def _is_alive(pid: str) -> bool:
  try:
    os.kill(int(pid), 0)
  except (ValueError, ProcessLookupError, OverflowError):
    return False
  except PermissionError:
    pass
  return True


def _temporary(target: pathlib.Path) -> pathlib.Path:
  """A place beside `target` for this process; removes those of dead processes of this machine.

  The ending of the name is kept, because some writers choose their format by it.
  """
  prefix = f'.{target.name}.{socket.gethostname()}-'
  for entry in os.scandir(target.parent):
    if entry.name.startswith(prefix) and not _is_alive(entry.name[len(prefix) :].split('.')[0]):
      pathlib.Path(entry.path).unlink(missing_ok=True)
  return target.parent / f'{prefix}{os.getpid()}.tmp{target.suffix}'


@contextlib.contextmanager
def atomic(path: PathLike) -> Iterator[pathlib.Path]:
  """Gives a local temporary path; when the block ends well it becomes `path`, else it is removed.

  Folders above `path` are made.

  Examples:
    >>> with files.atomic('sum.txt') as temporary:
    ...   _ = temporary.write_text('3')
    ...   print(files.exists('sum.txt'))  # not before all of it is there
    False
    >>> print(files.read_text('sum.txt'))
    3
  """
  target = as_path(path)
  if is_remote(path):
    with tempfile.TemporaryDirectory() as folder:
      temporary = pathlib.Path(folder) / target.name
      yield temporary
      upload(temporary, target)
    return
  make_folder(target.parent)
  local = pathlib.Path(os.fspath(target))
  temporary = _temporary(local)
  try:
    yield temporary
    with open(temporary, 'rb') as file:
      os.fsync(file.fileno())  # else a crash of the machine may leave an empty file
    os.replace(temporary, local)
  finally:
    temporary.unlink(missing_ok=True)


def upload(local: PathLike, target: PathLike) -> None:
  """Puts a local file on an object store and removes it here; it may be larger than the memory.

  Examples:
    >>> files.write_text('here.txt', 'x')
    >>> files.upload('here.txt', 'there.txt')
    >>> print(files.exists('here.txt'), files.read_text('there.txt'))
    False x
  """
  with open(local, 'rb') as file, as_path(target).open('wb') as there:
    shutil.copyfileobj(file, there, CHUNK)
  os.unlink(local)


def write_bytes(path: PathLike, content: bytes) -> None:
  """Writes a file atomically.

  Examples:
    >>> files.write_bytes('folder/raw', b'abc')  # folders above it are made
    >>> print(files.read_bytes('folder/raw'))
    b'abc'
  """
  with atomic(path) as temporary:
    temporary.write_bytes(content)


def write_text(path: PathLike, text: str) -> None:
  r"""Writes a UTF-8 file atomically.

  Examples:
    >>> files.write_text('c.txt', 'one\n')
    >>> files.write_text('c.txt', 'two\n')  # written over, never half of it
    >>> print(files.read_text('c.txt').strip())
    two
  """
  write_bytes(path, text.encode())


def read_text(path: PathLike) -> str:
  """The text of a UTF-8 file.

  Examples:
    >>> files.write_text('note.txt', 'ℓ ≤ 0')
    >>> print(files.read_text('note.txt'))
    ℓ ≤ 0
  """
  return as_path(path).read_bytes().decode()


def read_bytes(path: PathLike) -> bytes:
  r"""The content of a file.

  Examples:
    >>> files.write_bytes('raw', b'\x00\x01')
    >>> print(files.read_bytes('raw'))
    b'\x00\x01'
  """
  return as_path(path).read_bytes()
