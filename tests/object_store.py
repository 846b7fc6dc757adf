"""An object store for tests: put whole, get, list, delete; it refuses to append and to rename.

`gs://` of this process goes to it on every way that is taken: etils.epath through fsspec,
tensorstore (orbax's arrays) over HTTP, orbax's questions about a bucket. Objects are files of one
folder, so what a killed process had put is there for the next one.
"""

import contextlib
import http.server
import io
import json
import os
import pathlib
import sys
import threading
import types
import urllib.parse

import fsspec

FOLDER, URL = 'RLJAX_TEST_OBJECTS', 'TENSORSTORE_GCS_HTTP_URL'


class Refused(OSError):
  """What an object store does not do."""


class Objects:
  """The objects of all buckets; names are 'bucket/a/b'.

  Attributes:
    puts: names in the order in which this process put them.
  """

  def __init__(self, folder):
    self.folder = pathlib.Path(folder)
    self.puts = []

  def _file(self, name):
    return self.folder / urllib.parse.quote(name, safe='')

  def put(self, name, content):
    temporary = self.folder / f'.{os.getpid()}-{threading.get_ident()}'
    temporary.write_bytes(content)
    os.replace(temporary, self._file(name))
    self.puts.append(name)

  def get(self, name):
    """The content, or None."""
    with contextlib.suppress(FileNotFoundError):
      return self._file(name).read_bytes()

  def delete(self, name):
    self._file(name).unlink(missing_ok=True)

  def names(self, prefix=''):
    found = (urllib.parse.unquote(f) for f in os.listdir(self.folder) if not f.startswith('.'))
    return sorted(name for name in found if name.startswith(prefix))


class FileSystem(fsspec.AbstractFileSystem):
  """What gcsfs is to fsspec."""

  protocol = ('gcs', 'gs')
  cachable = False

  def __init__(self, **options):
    super().__init__(**options)
    self.caches = options.get('use_listings_cache', True)
    self.objects = Objects(os.environ[FOLDER])

  def mkdir(self, path, create_parents=True, **options):
    """Folders are beginnings of names."""

  def makedirs(self, path, exist_ok=False):
    pass

  def rmdir(self, path):
    pass

  def info(self, path, **options):
    name = self._strip_protocol(path)
    if (content := self.objects.get(name)) is not None:
      return {'name': name, 'size': len(content), 'type': 'file'}
    if self.objects.names(f'{name}/'):
      return {'name': name, 'size': 0, 'type': 'directory'}
    raise FileNotFoundError(path)

  def ls(self, path, detail=True, **options):
    name = self._strip_protocol(path)
    inside = {n[len(name) + 1 :].split('/')[0] for n in self.objects.names(f'{name}/')}
    if not inside:
      found = [self.info(path)]
    else:
      found = [self.info(f'{name}/{part}') for part in sorted(inside) if part]
    return found if detail else [entry['name'] for entry in found]

  def _rm(self, path):
    self.objects.delete(self._strip_protocol(path))

  def cp_file(self, path1, path2, **options):
    content = self.objects.get(self._strip_protocol(path1))
    if content is not None:
      self.objects.put(self._strip_protocol(path2), content)

  def mv(self, path1, path2, **options):
    raise Refused(f'rename {path1} to {path2}')

  rename = move = mv

  def _open(self, path, mode='rb', **options):
    name = self._strip_protocol(path)
    if 'a' in mode or '+' in mode:
      raise Refused(f'append to {path}')
    if 'r' in mode:
      content = self.objects.get(name)
      if content is None:
        raise FileNotFoundError(path)
      return io.BytesIO(content)
    return _Upload(self.objects, name)


class _Upload:
  """A file that becomes an object when it is closed."""

  def __init__(self, objects, name):
    self._objects, self._name, self._parts, self.closed = objects, name, [], False

  def write(self, content):
    self._parts.append(bytes(content))
    return len(content)

  def writable(self):
    return True

  def readable(self):
    return False

  seekable = readable

  def flush(self):
    pass

  def close(self):
    if not self.closed:
      self.closed = True
      self._objects.put(self._name, b''.join(self._parts))

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    if kind is None:
      self.close()
    self.closed = True


class _Handler(http.server.BaseHTTPRequestHandler):
  """The part of the JSON interface of Google Cloud Storage that tensorstore uses."""

  protocol_version = 'HTTP/1.1'
  objects = None

  def log_message(self, *_):
    pass

  def _answer(self, status, content=b'', kind='application/json', **headers):
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace('_', '-'), value)
    self.send_header('Content-Type', kind)
    self.send_header('Content-Length', str(len(content)))
    self.end_headers()
    self.wfile.write(content)

  def _place(self):
    """(object or bucket, query)."""
    url = urllib.parse.urlsplit(self.path)
    _, _, rest = url.path.partition('/b/')
    bucket, _, name = rest.partition('/o')
    name = urllib.parse.unquote(name.removeprefix('/'))
    return bucket, name, dict(urllib.parse.parse_qsl(url.query))

  def do_GET(self):
    bucket, name, query = self._place()
    if not name:
      found = self.objects.names(f'{bucket}/{query.get("prefix", "")}')
      items = [{'name': n.partition('/')[2], 'size': '0', 'generation': '1'} for n in found]
      return self._answer(200, json.dumps({'items': items}).encode())
    content = self.objects.get(f'{bucket}/{name}')
    if content is None:
      return self._answer(404, b'{}')
    given = self.headers.get('Range')
    if not given:
      return self._answer(200, content, 'application/octet-stream', x_goog_generation='1')
    first, _, last = given.removeprefix('bytes=').partition('-')
    if not first:
      begin, end = max(0, len(content) - int(last)), len(content)
    else:
      begin, end = int(first), min(int(last) + 1 if last else len(content), len(content))
    where = f'bytes {begin}-{end - 1}/{len(content)}'
    self._answer(
      206, content[begin:end], 'application/octet-stream', x_goog_generation='1',
      Content_Range=where,
    )

  def do_POST(self):
    bucket, _, query = self._place()
    content = self.rfile.read(int(self.headers.get('Content-Length') or 0))
    self.objects.put(f'{bucket}/{query["name"]}', content)
    self._answer(200, json.dumps({'name': query['name'], 'generation': '1'}).encode())

  def do_DELETE(self):
    bucket, name, _ = self._place()
    self.objects.delete(f'{bucket}/{name}')
    self._answer(204)


@contextlib.contextmanager
def serving(folder):
  """Objects in `folder`; gives the environment in which a process finds them under gs://."""
  handler = type('Handler', (_Handler,), {'objects': Objects(folder)})
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
  server.daemon_threads = True
  threading.Thread(target=server.serve_forever, daemon=True).start()
  try:
    yield {
      FOLDER: str(folder),
      URL: f'http://127.0.0.1:{server.server_port}',
      'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'none',
    }
  finally:
    server.shutdown()
    server.server_close()


def install(monkeypatch=None):
  """gs:// of this process is the store of its environment; for good, or for one test."""
  for name in FileSystem.protocol:
    fsspec.register_implementation(name, FileSystem, clobber=True)
  bucket = types.SimpleNamespace(hierarchical_namespace_enabled=False)
  storage = types.ModuleType('google.cloud.storage')
  storage.Client = lambda: types.SimpleNamespace(get_bucket=lambda name: bucket)
  cloud = types.ModuleType('google.cloud')
  cloud.storage = storage
  modules = {'google.cloud': cloud, 'google.cloud.storage': storage}
  if monkeypatch is None:
    sys.modules.update(modules)
    return
  for name, module in modules.items():
    monkeypatch.setitem(sys.modules, name, module)
