"""The sandbox: verdicts, limits, what a program sees, and that nothing of it stays behind."""

import concurrent.futures
import dataclasses
import importlib.util
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import psutil
import pytest

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, sandbox, verdicts
from rljax.rewards.sandbox import Containment, Limits

# A busy machine must not end what is to end by something else.
SMALL = Limits(
  cpu_seconds=1, wall_seconds=60.0, total_seconds=60.0, memory_mib=128, processes=8, output_mib=1
)
SHORT = dataclasses.replace(SMALL, wall_seconds=1.5)
LINUX = sys.platform == 'linux'


def containments():
  """What this machine offers, the strongest first, and what others have to do with."""
  found = sandbox.probe()
  weaker = [Containment(True, False, False)] if found.namespaces and found.own_user else []
  return [found, *weaker, Containment(False, False, False)]


@pytest.fixture(params=containments(), ids=lambda c: f'{c.namespaces:d}{c.own_user:d}')
def containment(request, monkeypatch):
  monkeypatch.setattr(sandbox, 'probe', lambda: request.param)
  return request.param


def run(source, **given):
  return sandbox.run(source, **{'limits': SMALL, 'allow': True, **given})


WHILE = 'while True:\n  '
FORK_AND_CATCH = f'import os\n{WHILE}try: os.fork()\n  except OSError: pass'
PROGRAMS = {
  'passed': ('passed', 'print(input()[::-1])'),
  'raises': ('error', 'raise ValueError("no  good")'),
  'no python': ('error', 'def f(: pass'),
  'deep': ('error', '(' * 5000),
  'exit': ('error', 'import sys; sys.exit(3)'),
  'exit 0': ('passed', 'import sys; sys.exit()'),
  'asserts': ('wrong', 'assert 1 == 2'),
  'signal': ('error', 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'),
  'loop': ('timeout', f'{WHILE}pass'),
  'deaf loop': ('timeout', f'import signal; signal.signal(signal.SIGXCPU, 1)\n{WHILE}pass'),
  'sleep': ('timeout', 'import time; time.sleep(1000)'),
  'memory': ('memory', f'x = []\n{WHILE}x.append(bytearray(10**6))'),
  'shared memory': ('memory', 'import mmap; mmap.mmap(-1, 2**30)'),
  'print': ('output', f'{WHILE}print("x" * 1000)'),
  'file': ('output', f'f = open("f", "wb")\n{WHILE}f.write(b"x" * 10**6)'),
  'fork': ('refused', f'import os\n{WHILE}os.fork()'),
  'socket': ('refused', 'import socket; socket.create_connection(("127.0.0.1", 80))'),
}


@pytest.mark.parametrize('name', PROGRAMS)
def test_verdicts(name, containment):
  if not LINUX and 'memory' in name:
    pytest.skip('only Linux bounds address space')
  kind, source = PROGRAMS[name]
  verdict = run(source, stdin='abc\n', limits=SHORT if name == 'sleep' else SMALL)
  assert verdict.kind == kind, verdict
  assert (verdict.passed, verdict.total) == (int(kind == 'passed'), 1)
  assert bool(verdict.message) == (kind != 'passed')
  assert verdict.stdout == {'passed': 'cba\n'}.get(name, verdict.stdout)
  assert len(verdict.stdout) <= 2**20
  assert kind in verdicts.KINDS


def test_a_bomb_that_catches_what_refuses_it_ends_too(containment):
  assert run(FORK_AND_CATCH, limits=SHORT).kind in ('refused', 'timeout')


def test_messages():
  assert run('raise ValueError("no  good")').message == 'ValueError: no good'
  assert run('import sys; sys.exit(3)').message == 'ended with exit code 3'
  assert run(f'{WHILE}pass').message == 'over 1 s of CPU time'
  assert run('class E(Exception):\n  def __str__(self): return 1\nraise E').message == 'E'
  assert run('raise ValueError("\\ud800")').message == 'ValueError: ?', 'it can be written'


def test_what_a_program_finds(containment):
  source = """
import os, sys, threading
threading.Thread(target=lambda: print('thread')).start()
print(sorted(os.environ), os.environ['HOME'] == os.getcwd(), os.listdir())
print(__name__, sys.argv, 'rljax' in sys.modules, 'sandbox_runner' in str(sys.path))
print(hash('a'))
"""
  verdict, again = run(source), run(source)
  lines = verdict.stdout.splitlines()
  assert lines.pop(lines.index('thread')) and verdict.kind == 'passed'
  assert lines[:2] == ["['HOME', 'TMPDIR'] True []", "__main__ ['program.py'] False False"]
  assert lines[2] in again.stdout.splitlines(), 'sets have one order'


def test_namespaces_hide_the_machine(tmp_path):
  if not sandbox.probe().namespaces:
    pytest.skip(f'no namespaces: {sandbox.probe().why_not}')
  name = f'rljax-{random.randrange(10**12)}'
  source = f"""
import os, socket
def can(act):
  try: act()
  except OSError: return False
  return True
print([name for _, name in socket.if_nameindex()], os.getpid() < 10, os.getuid() != 0)
print(os.path.exists({str(tmp_path)!r}), os.path.exists('/etc'), os.path.exists('/proc/1'))
print([can(lambda: open(p + '/x', 'w')) for p in ('/', '/usr', os.path.dirname(os.__file__))])
print(*map(can, [lambda: os.kill({os.getpid()}, 0), lambda: os.setuid(0), lambda: os.chroot('/')]))
open('/tmp/{name}', 'w').write('x')
"""
  verdict = run(source)
  expected = ["['lo'] True True", 'False False False', '[False, False, False]', 'False False False']
  assert verdict.stdout.splitlines() == expected, verdict
  assert not os.path.exists(f'/tmp/{name}')


def test_the_user_of_a_program_owns_nothing():
  if not sandbox.probe().own_user:
    pytest.skip('only root may take another user')
  first, second = (int(run('import os; print(os.getuid())').stdout) for _ in range(2))
  assert min(first, second) >= 1_000_000_000 and first != second, 'nor shares it with others'


@pytest.mark.skipif(not shutil.which('setpriv') or os.geteuid() != 0, reason='needs root, setpriv')
def test_without_the_rights_of_root():
  """What remains are user namespaces, or nothing but limits."""
  code = """
from rljax.rewards import sandbox
found = sandbox.probe()
print(found.namespaces, found.own_user)
print(sandbox.run('import os; print(os.getuid())', allow=True).stdout)
print(sandbox.run('import os; os.kill(-1, 9)', allow=True).kind if found.namespaces else 'error')
"""
  rights = ['setpriv', '--bounding-set=-sys_admin,-setuid', sys.executable, '-c', code]
  done = subprocess.run(rights, capture_output=True, text=True, check=True)
  namespaces, own_user, user, kind = done.stdout.split()
  assert own_user == 'False' and user == ('1000' if namespaces == 'True' else '0')
  assert kind == 'error', 'there is nobody to signal'


def traces():
  """Supervisors and folders that tests of this process have left."""
  folders = set(pathlib.Path(tempfile.gettempdir()).glob('rljax-sandbox-*'))
  return folders, set(psutil.Process().children(recursive=True))


ESCAPE = """
import os, time
for _ in range(3):
  if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
      open('left behind', 'w').write('x')
      time.sleep({seconds})
    os._exit(0)
time.sleep(0.2)
{then}
"""


@pytest.mark.parametrize('then', ['', 'time.sleep(1000)', 'os.kill(os.getpid(), 9)'])
def test_nothing_stays_behind(then, containment):
  seconds = random.randrange(10**6, 10**9)
  before, known = traces(), set(psutil.pids())
  limits = SHORT if 'sleep' in then else SMALL
  kind = run(ESCAPE.format(seconds=seconds, then=then), limits=limits).kind
  assert kind == {'': 'passed', 'time.sleep(1000)': 'timeout'}.get(then, 'error')
  assert traces() == before
  for pid in set(psutil.pids()) - known:
    try:
      assert not any('sandbox_runner' in part for part in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
      pass


def test_a_supervisor_dies_with_its_parent(containment):
  source = ESCAPE.format(seconds=1000, then='time.sleep(1000)')
  code = f"""
from rljax.rewards import sandbox
sandbox.probe = lambda: sandbox.{containment!r}
sandbox.run({source!r}, limits=sandbox.Limits(wall_seconds=100, total_seconds=100), allow=True)
"""
  before = traces()[0]
  parent = subprocess.Popen([sys.executable, '-c', code])
  process = psutil.Process(parent.pid)
  while len(below := process.children(recursive=True)) < 5:
    assert parent.poll() is None
  parent.kill()
  parent.wait()
  _, alive = psutil.wait_procs(below, timeout=30)
  assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
  assert not traces()[0] - before


def test_all_ends_with_the_supervisor():
  if not sandbox.probe().namespaces:
    pytest.skip(f'no namespaces: {sandbox.probe().why_not}')
  source, me = ESCAPE.format(seconds=1000, then='time.sleep(1000)'), psutil.Process()
  before = set(me.children(recursive=True))
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    failed = pool.submit(run, source, limits=Limits(wall_seconds=100, total_seconds=100))
    while len(below := set(me.children(recursive=True)) - before) < 7:
      assert not failed.done()
    min(below, key=lambda p: p.create_time()).kill()
    with pytest.raises(RuntimeError, match='its supervisor ended'):
      failed.result()
  _, alive = psutil.wait_procs(below, timeout=30)
  assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


# -- tests and cases


def test_asserts_are_counted_one_by_one():
  tests = ['assert f(1) == 2', 'assert f(2) == 4, "why"', 'assert f("a")', '']
  tests += ['def check(g):\n  for i in range(3):\n    assert g(i) == i + 1\n', 'check(f)']
  verdict = sandbox.run_tests('def f(x): return x + 1', tests, limits=SMALL, allow=True)
  assert (verdict.kind, verdict.passed, verdict.total) == ('wrong', 4, 6)
  assert verdict.message.startswith("f(2) == 4; f('a'): TypeError: can only")
  right = sandbox.run_tests('f = lambda x: x', ['assert f(1) == 1'], limits=SMALL, allow=True)
  assert right == right.__class__('passed', '', 1, 1, seconds=right.seconds)


@pytest.mark.parametrize(
  ('source', 'kind', 'counts'),
  [
    ('import os; os._exit(0)', 'error', (0, 2)),
    ('import sys; sys.exit()', 'error', (0, 2)),
    ('def f(x): raise SystemExit', 'wrong', (0, 2)),
    ('def f(x):\n  while x == 2: pass\n  return 1', 'timeout', (1, 2)),
    ('def f(x): return bytearray(10**9)', 'memory', (0, 2)),
    ('import os; os.fork()\ndef f(x): return 1', 'passed', (2, 2)),
    ('def f(x): return x\nif __name__ == "__main__": 1 / 0', 'wrong', (1, 2)),
    ('import os\nos.write(3, b"x {}\\n" * 9)\nf = abs', 'wrong', (1, 2)),
  ],
)
def test_programs_that_end_before_their_tests(source, kind, counts):
  tests = ['assert f(1) == 1', 'assert f(2) == 1']
  verdict = sandbox.run_tests(source, tests, limits=SMALL, allow=True)
  assert (verdict.kind, (verdict.passed, verdict.total)) == (kind, counts), verdict


def test_tests_without_asserts():
  assert_raises = 'try:\n  f()\n  assert False\nexcept AssertionError: pass'
  for tests in (['f()'], [assert_raises]):
    verdict = sandbox.run_tests('def f(): pass', tests, limits=SMALL, allow=True)
    assert (verdict.kind, verdict.passed, verdict.total) == ('passed', 1, 1)
  with pytest.raises(ValueError, match=r'a test is no Python.*assert \('):
    sandbox.run_tests('', ['assert ('], allow=True)


def test_cases_of_standard_input():
  source = 'n = int(input())\nprint(n / 2 if n < 9 else n)'
  cases = [('1', '0.50 \n\n'), ('4', '2'), ('10', '10'), ('12', '13'), ('x', '')]
  verdict = sandbox.run_cases(source, cases, limits=SMALL, allow=True)
  assert (verdict.kind, verdict.passed, verdict.total) == ('wrong', 3, 5)
  assert verdict.message == "case 4: line 1 is '12', expected '13'"
  assert sandbox.run_cases(source, cases[:3], limits=SMALL, allow=True).kind == 'passed'
  with pytest.raises(ValueError, match='no cases'):
    sandbox.run_cases(source, [], allow=True)


def test_a_large_input_and_a_program_that_does_not_read():
  long = 'x' * 10**6
  read = sandbox.run_cases('print(len(input()))', [(long, '1000000')], limits=SMALL, allow=True)
  assert read.kind == 'passed'
  assert sandbox.run_cases('print(1)', [(long, '1')], limits=SMALL, allow=True).kind == 'passed'


def test_cases_do_not_meet(containment):
  source = 'import os; print(os.listdir()); open("f", "w").write("x")'
  assert sandbox.run_cases(source, [('', '[]')] * 2, limits=SMALL, allow=True).kind == 'passed'


def test_all_cases_share_a_bound():
  limits = Limits(wall_seconds=0.5, total_seconds=0.8)
  source = 'import time\nif input() == "s": time.sleep(1000)\nprint(1)'
  verdict = sandbox.run_cases(source, [('s', '1')] * 9, limits=limits, allow=True)
  assert (verdict.kind, verdict.passed, verdict.total) == ('timeout', 0, 9)


def test_functions_that_are_called():
  source = 'class Solution:\n  def add(self, a, b): return (a + b, {"n": None})'
  cases = [('1\n2', '[3, {"n": null}]'), ('"a"\n"b"', '["ab", {"n": 1}]')]
  verdict = sandbox.run_cases(source, cases, function='add', limits=SMALL, allow=True)
  assert (verdict.kind, verdict.passed, verdict.total) == ('wrong', 1, 2)
  assert verdict.message == 'case 2: returned ["ab", {"n": null}], expected ["ab", {"n": 1}]'
  plain = sandbox.run_cases('def f(x): return x', [('1', 'true')], function='f', allow=True)
  assert plain.kind == 'wrong', '1 is not true'


# -- permission


def test_nothing_runs_unless_it_is_allowed(monkeypatch):
  monkeypatch.setattr(sandbox, '_serve', lambda *_: pytest.fail('it ran'))
  monkeypatch.setattr(sandbox, 'probe', lambda: Containment(False, False, False, 'EPERM'))
  for allow in (False, None, 1, 'yes'):
    with pytest.raises(sandbox.NotAllowedError, match=r'allow=True \(got .*Not contained: .*EPERM'):
      sandbox.run('print(1)', allow=allow)


@pytest.mark.parametrize('bad', [{'cpu_seconds': 0}, {'cpu_seconds': 1.5}, {'memory_mib': 'x'}])
def test_limits_are_checked(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    Limits(**bad)


def test_a_limit_above_that_of_this_process(monkeypatch):
  monkeypatch.setattr(sandbox.resource, 'getrlimit', lambda number: (2**20, 2**20))
  with pytest.raises(ValueError, match=r'memory_mib=512, but .* no more than 1;'):
    sandbox.run('', allow=True)


def test_the_probe_says_what_holds():
  strong = str(Containment(True, True, True))
  assert 'network (none)' in strong and strong.endswith('Not contained: bugs of the kernel.')
  weak = str(Containment(False, False, False, 'unshare: EPERM'))
  assert 'audit hook' in weak.split('Not contained')[1] and weak.endswith('unshare: EPERM.')


def test_a_sandbox_that_does_not_work_is_no_verdict(monkeypatch, tmp_path):
  (tmp_path / 'broken.py').write_text('raise SystemExit')
  sandbox.probe()
  monkeypatch.setattr(sandbox, '_RUNNER', str(tmp_path / 'broken.py'))
  with pytest.raises(RuntimeError, match='could not run a program'):
    run('print(1)')


# -- within reward workers


def sandboxed(completion):
  limits = Limits(cpu_seconds=1, wall_seconds=50.0, total_seconds=50.0)
  return float(sandbox.run(completion, limits=limits, allow=True).kind == 'passed')


def test_a_worker_that_is_ended_takes_its_program_along():
  """The timers of a worker are shorter here than those of its program."""
  texts = ['print(1)', ESCAPE.format(seconds=1000, then='time.sleep(1000)'), '1 / 0']
  completions = [
    Completion(Prompt(text='', prompt_id=0), (), text, False, sample_index=i)
    for i, text in enumerate(texts)
  ]
  before, me = traces(), psutil.Process()
  with Scorer(sandboxed, workers=1, cpu_seconds=1.0) as scorer:
    scores = scorer.score(completions)
    assert scores.rewards[[0, 2]].tolist() == [1, 0] and scores.timeouts == 1
    for process in me.children(recursive=True):
      assert 'sandbox_runner' not in ' '.join(process.cmdline())
  _, alive = psutil.wait_procs(traces()[1] - before[1], timeout=30)
  assert not alive and traces() == before


# -- the campaign of experiments/sandbox


def campaign_of(tmp_path):
  folder = pathlib.Path(__file__).resolve().parent.parent / 'experiments' / 'sandbox'
  spec = importlib.util.spec_from_file_location('sandbox_run', folder / 'run.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  monkey = tmp_path / 'sandbox'
  monkey.mkdir()
  (monkey / 'README.md').write_text((folder / 'README.md').read_text())
  module.HERE = monkey
  return module


@pytest.mark.slow
def test_a_campaign_of_hostile_programs(tmp_path):
  campaign = campaign_of(tmp_path)
  results = campaign.campaign(60, jobs=2)
  assert not campaign.complaints(results)
  assert {way: row['programs'] for way, row in results['ways'].items()} == {
    'right': 27, 'wrong': 9, 'raises': 9, **dict.fromkeys(campaign.MISBEHAVING, 3),
  }  # fmt: skip


def test_the_report_of_a_campaign(tmp_path):
  campaign = campaign_of(tmp_path)
  campaign.WAYS = {k: campaign.WAYS[k] for k in ('right', 'raises', 'wrong')}
  campaign.MISBEHAVING = ()
  results = campaign.campaign(6, jobs=2)
  assert campaign.complaints(results) == [] and results['ways']['right']['programs'] == 4
  (tmp_path / 'results.json').write_text('{}')
  campaign.publish(tmp_path, campaign.markdown(results))
  page = (campaign.HERE / 'README.md').read_text()
  assert '| right | 4 | passed 4 | 4 / 4 |' in page and 'all as it should be' in page
  results['ways']['right']['unexpected'] = [dict(kind='error', message='m', source='s')]
  results |= {'files_left': ['/x'], 'seconds': 1e9}
  found = campaign.markdown(results)
  assert '| 3 / 4 |' in found and 'files_left: /x' in found and "error (m) of 's'" in found
  assert '1000000000 s, more than' in found
