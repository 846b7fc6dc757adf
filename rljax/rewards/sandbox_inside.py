"""From the supervisor of `sandbox_runner.py` to a program: the processes between, and the program.

  supervisor ─ fork ─► gate (new namespaces) ─ fork ─► init (mounts, waits) ─ fork ─► program

Gate and init end with the process above them, and a PID namespace ends with its init. Standard
library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import types

_CASE = '__rljax_case__'  # the name by which rewritten tests report
_LINUX = sys.platform == 'linux'
_FLAGS = 0x6E020000  # NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET and NEWCGROUP
_NEW_USER = 0x10000000
_SPACE_ID = 1000  # who the program is in a user namespace
_NETWORK = (
  'socket.bind socket.connect socket.getaddrinfo socket.gethostbyaddr socket.gethostbyname '
  'socket.getnameinfo socket.sendmsg socket.sendto'
).split()
_EXECUTION = ('ctypes.dlopen', 'os.exec', 'os.posix_spawn', 'os.system', 'subprocess.Popen')

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(*arguments: int) -> None:
  """Calls prctl(2), on Linux."""
  if _LINUX:
    _libc.prctl(*(ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:5]))


def _check(returned: int, what: str) -> None:
  if returned:
    number = ctypes.get_errno()
    raise OSError(number, f'{what}: {os.strerror(number)}')


def gate(request: dict, fds: list[int], nonce: str) -> None:
  """Becomes the gate, and through it all that is below; does not return.

  Args:
    request: as the supervisor read it.
    fds: standard input, output and error of the program, and where reports go.
    nonce: what stands before a report that may be believed.
  """
  supervisor = os.getppid()
  os.setsid()
  report = fds[3]
  try:
    if request['namespaces']:
      _enter_namespaces()
    prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, which a change of user would clear
    if os.getppid() != supervisor:
      os._exit(1)
    alive, say_alive = os.pipe()
    init = os.fork()
    if init:
      os.write(say_alive, b'.')
      os.waitpid(init, 0)
      os._exit(0)
    prctl(1, signal.SIGKILL)
    os.close(say_alive)
    if not os.read(alive, 1):
      os._exit(1)
    if request['namespaces']:
      _mount(request)
    if request['namespaces'] and not request['own_user']:
      # Version 3 of the header, this process; no capability in any of the three sets.
      _check(_libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()), 'capset')
    program = os.fork()
    if not program:
      _become_program(request, fds)
      _program(request, nonce)
    while (ended := os.wait4(-1, 0))[0] != program:
      pass
    fact = {'status': ended[1], 'cpu': ended[2].ru_utime + ended[2].ru_stime}
  except OSError as error:
    fact = {'broken': str(error), 'status': 0}
  os.write(report, f'{nonce} {json.dumps(fact)}\n'.encode())
  os._exit(0)


# ------------------------------------------------------------------------------- what it may see


def _enter_namespaces() -> None:
  if os.geteuid() == 0 and not _libc.unshare(_FLAGS):
    return
  user, group = os.geteuid(), os.getegid()
  _check(_libc.unshare(_FLAGS | _NEW_USER), 'unshare')
  for name, text in (
    ('setgroups', 'deny'),
    ('uid_map', f'{_SPACE_ID} {user} 1'),
    ('gid_map', f'{_SPACE_ID} {group} 1'),
  ):
    with open(f'/proc/self/{name}', 'w') as stream:
      stream.write(text)


def _mount(request: dict) -> None:
  """A root of its own: Python and the system's libraries, read-only, and an empty /tmp."""
  root = '/proc'  # exists everywhere, and nothing that is needed lies below it
  _call_mount('none', '/', None, 0x44000, None)  # MS_REC | MS_PRIVATE
  _call_mount('tmpfs', root, 'tmpfs', 2, 'size=1m,mode=755')  # MS_NOSUID
  python = os.path.realpath(sys.executable), os.path.realpath(os.__file__)
  paths = {'/usr', '/lib', '/lib64', '/bin', os.path.realpath(sys.base_prefix)}
  paths |= {os.path.dirname(p) for p in python}
  for path in sorted(paths):
    if os.path.islink(path):
      os.symlink(os.readlink(path), root + path)
    elif os.path.isdir(path) and not any(path.startswith(f'{p}/') for p in paths):
      os.makedirs(root + path)
      _bind(path, root + path, 3)  # MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID
  os.mkdir(f'{root}/dev')
  for path in ('/dev/null', '/dev/zero', '/dev/urandom'):
    os.close(os.open(root + path, os.O_CREAT, 0o666))
    _bind(path, root + path, 2)
  os.symlink('/tmp', f'{root}/dev/shm')
  os.mkdir(f'{root}/tmp')
  size = f'size={request["output_bytes"]},nr_inodes=1024,mode=1777'
  _call_mount('tmpfs', f'{root}/tmp', 'tmpfs', 6, size)  # MS_NOSUID | MS_NODEV
  _set_attributes(root, 0, 1)
  os.chdir(root)
  _check(_libc.pivot_root(b'.', b'.'), 'pivot_root')
  _check(_libc.umount2(b'.', 2), 'umount2')  # MNT_DETACH


def _call_mount(source: str, target: str, kind: str | None, flags: int, data: str | None) -> None:
  texts = [text if text is None else text.encode() for text in (source, target, kind, data)]
  answer = _libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3])
  _check(answer, f'mount {target}')


def _bind(source: str, target: str, attributes: int) -> None:
  _call_mount(source, target, None, 0x5000, None)  # MS_BIND | MS_REC
  _set_attributes(target, 0x8000, attributes)  # AT_RECURSIVE


def _set_attributes(target: str, flags: int, attributes: int) -> None:
  packed = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
  number = ctypes.c_long(442)  # mount_setattr, on all architectures
  at = ctypes.c_int(-100)  # AT_FDCWD
  answer = _libc.syscall(number, at, target.encode(), flags, packed, ctypes.c_size_t(32))
  _check(answer, f'mount_setattr {target}')


# ------------------------------------------------------------------------------- the program


def _become_program(request: dict, fds: list[int]) -> None:
  """Takes its standard streams, its place, its limits, and gives up what it need not have."""
  for place, fd in enumerate(fds):  # these are above 3: the supervisor has 0, 1, 2 and more open
    os.dup2(fd, place)
  os.closerange(4, 1 << 20)
  os.chdir(request['place'])
  own_user = request['own_user']
  if own_user:
    os.setgroups([])
    os.setresgid(own_user, own_user, own_user)
    os.setresuid(own_user, own_user, own_user)
  prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
  limits = {
    'RLIMIT_CORE': 0,
    'RLIMIT_CPU': request['cpu_seconds'],
    'RLIMIT_FSIZE': request['output_bytes'],
    'RLIMIT_NOFILE': request['open_files'],
  }
  if request['counts_processes']:
    limits['RLIMIT_NPROC'] = request['processes']
  if _LINUX:
    limits['RLIMIT_AS'] = request['memory_bytes']
  for name, limit in limits.items():
    number = getattr(resource, name)
    # Above the soft limit of CPU time a program gets SIGXCPU, which it may ignore; then SIGKILL.
    resource.setrlimit(number, (limit, limit + (name == 'RLIMIT_CPU')))


class _Report:
  """What the program's tests have to say; a fork of the program is not believed."""

  def __init__(self, nonce: str) -> None:
    self._nonce, self._owner = nonce, os.getpid()

  def say(self, **fact) -> None:
    if os.getpid() == self._owner:
      os.write(3, f'{self._nonce} {json.dumps(fact)}\n'.encode())

  def passed(self) -> None:
    self.say(case=True)

  def failed(self, what: str) -> None:
    error = sys.exc_info()[1]
    if isinstance(error, MemoryError):
      raise
    reason = '' if type(error) is AssertionError else f': {_describe(error)}'
    self.say(case=False, message=f'{what[:200]}{reason}')


def _program(request: dict, nonce: str) -> None:
  """Runs what the request asks for and ends the process."""
  report, code = _Report(nonce), 0
  is_script = not request['tests'] and not request['function']
  module = types.ModuleType('__main__' if is_script else 'program')
  sys.modules[module.__name__] = module
  sys.modules.pop('sandbox_inside', None)
  sys.path[:] = [p for p in sys.path if p != os.path.dirname(os.path.abspath(__file__))]
  sys.argv = ['program.py']
  os.environ.clear()
  os.environ.update(HOME=os.getcwd(), TMPDIR=os.getcwd())
  sys.addaudithook(_refuser(report, request['namespaces']))
  try:
    exec(compile(request['source'], 'program.py', 'exec'), module.__dict__)
    if request['tests']:
      setattr(module, _CASE, report)
      exec(compile(request['tests'], 'tests.py', 'exec'), module.__dict__)
    if request['function']:
      _call(request, module, report)
    report.say(done=True)
  except SystemExit as error:
    code = error.code if isinstance(error.code, int) else int(error.code is not None)
    report.say(exit=code)
  except BaseException as error:
    code = 1
    number = error.errno if isinstance(error, OSError) else None
    report.say(error=type(error).__name__, number=number, message=_describe(error))
  try:
    if threading := sys.modules.get('threading'):
      for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
          thread.join()
    sys.stdout.flush()
  except BaseException as error:
    code = code or 1
    number = error.errno if isinstance(error, OSError) else None
    report.say(error=type(error).__name__, number=number, message=_describe(error))
  os._exit(code & 0xFF)


def _call(request: dict, module: types.ModuleType, report: _Report) -> None:
  """Calls the function (of an instance of Solution, if there is one) and reports what it gives."""
  solution = getattr(module, 'Solution', None)
  owner = solution() if solution else module
  arguments = [json.loads(line) for line in sys.stdin.read().split('\n') if line.strip()]
  report.say(call=getattr(owner, request['function'])(*arguments))


def _describe(error: BaseException) -> str:
  try:
    text = ' '.join(str(error).split()).encode(errors='replace').decode()
  except BaseException:  # the program may have written __str__
    text = ''
  return f'{type(error).__name__}: {text}'[:200].removesuffix(': ')


def _refuser(report: _Report, has_namespaces: bool):
  """An audit hook that keeps the program from the network, and says that it tried.

  Where there are no namespaces it is all that does; programs that it starts are not audited, so it
  may start none then.
  """
  refused = {*_NETWORK, *(() if has_namespaces else _EXECUTION)}

  def hook(event: str, arguments: tuple) -> None:
    internet = event == 'socket.__new__' and arguments[1] != 1  # AF_UNIX
    if internet or event in refused:
      report.say(refused=event)
      raise PermissionError(1, f'{event} is refused in the sandbox')

  return hook
