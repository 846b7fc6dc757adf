"""Scoring in processes: what misbehaves costs its own sample only, and nothing stays behind."""

import inspect
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import types

import numpy as np
import psutil
import pytest

from rljax import tasks
from rljax.binding import BindingError
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, inverted, random_reward
from rljax.rewards.delivery import resolve


def completions(texts, **prompt):
  given = {'text': 'p', 'prompt_id': 0, **prompt}
  return [
    Completion(prompt=Prompt(**given), tokens=(i,), text=t, truncated=i % 2 == 1, sample_index=i)
    for i, t in enumerate(texts)
  ]


def behave(completion):
  """Does what the completion says; the rewards of this file run in worker processes."""
  if completion == 'raise':
    raise ValueError('no  good\nreward')
  if completion == 'hang':
    while True:
      pass
  if completion == 'sleep':
    time.sleep(1000)
  if completion == 'exit':
    sys.exit(3)
  if completion == 'die':
    os._exit(3)
  if completion == 'segfault':
    os.kill(os.getpid(), signal.SIGSEGV)
  if completion == 'memory':
    return len(bytearray(2**31))
  if completion == 'oom':
    os.kill(os.getpid(), signal.SIGKILL)
  if completion.startswith('child'):
    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)', completion])
    os._exit(1)
  if completion == 'print':
    print('{"noise": 1}', flush=True)
    sys.stdin.read()
  return {'nan': math.nan, 'inf': -math.inf, 'text': '1.0', 'none': None, 'huge': 1e300}.get(
    completion, 1.0
  )


class OnlyHere:
  """An answer that other processes cannot unpickle."""

  def __reduce__(self):
    return _refuse, ()


def _refuse():
  raise ImportError('not in workers')


@pytest.fixture(scope='module')
def scorer():
  with Scorer(behave, workers=2, cpu_seconds=0.4, memory_mib=512) as made:
    yield made


def test_every_failure_is_counted_and_costs_one_sample(scorer):
  bad = ['raise', 'hang', 'sleep', 'exit', 'die', 'segfault', 'memory', 'oom']
  bad += ['nan', 'inf', 'text', 'none', 'huge']
  texts = [t for b in bad for t in ('fine', b, 'print')]
  scores = scorer.score(completions(texts))
  assert scores.rewards.dtype == np.float32 and scores.rewards.shape == (len(texts),)
  assert np.isnan(scores.rewards[1::3]).all(), 'never 0'
  assert (scores.rewards[0::3] == 1).all() and (scores.rewards[2::3] == 1).all()
  assert (scores.errors, scores.timeouts) == (len(bad) - 2, 2)
  line = inspect.getsourcelines(behave)[1] + 3
  assert scores.messages[f'ValueError: no good reward (test_rewards.py, line {line})'] == 1
  assert scores.messages['over the time limit'] == 2
  assert len(scores.messages) <= 8 and max(map(len, scores.messages)) <= 200


def test_messages_of_each_way_to_die(scorer):
  def message(text):
    scores = scorer.score(completions([text]))
    assert scores.errors == 1 and scores.timeouts == 0
    return next(iter(scores.messages))

  assert message('die') == 'the reward ended its process with exit code 3'
  assert message('exit').startswith('SystemExit: 3 (test_rewards.py, line ')
  assert message('segfault') == 'the process of the reward was ended by SIGSEGV'
  assert 'SIGKILL (out of memory?)' in message('oom')
  assert message('memory') == 'MemoryError: over the memory limit'
  assert message('none') == 'returned None, which is no finite number'
  assert message('text') == "returned '1.0', which is no finite number"


def test_a_worker_killed_between_calls_is_replaced(scorer):
  scorer.score(completions(['fine']))
  for process in list(scorer._pool._processes):
    os.kill(process.pid, signal.SIGKILL)
  scores = scorer.score(completions(['fine'] * 20))
  assert (scores.rewards == 1).all() and scores.errors == 0


def test_answers_that_a_worker_cannot_read():
  with Scorer('tasks.arithmetic.reward', workers=1) as scorer:
    with pytest.raises(RuntimeError, match=r'cannot read the answers.*not in workers'):
      scorer.score(completions(['1+1=2'], answer=OnlyHere()))
    assert scorer.score(completions(['1+1=2'], answer=2)).rewards.tolist() == [1]


def test_no_samples(scorer):
  scores = scorer.score([])
  assert scores.rewards.shape == (0,) and scores.errors == 0 and scores.components == {}


def test_the_wall_clock_bound_is_five_times_the_cpu_limit(scorer):
  start = time.monotonic()
  assert scorer.score(completions(['sleep'])).timeouts == 1
  assert time.monotonic() - start >= 5 * 0.4


def wait_until_gone(processes, seconds=10.0):
  _, alive = psutil.wait_procs(processes, timeout=seconds)
  return [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_no_process_stays_behind():
  me = psutil.Process()
  before = set(me.children(recursive=True))
  scorer = Scorer(behave, workers=2)
  name = f'child of {os.getpid()}'
  assert scorer.score(completions([name, 'fine'])).errors == 1
  mine = set(me.children(recursive=True)) - before
  scorer.close()
  assert mine and not wait_until_gone(mine)
  assert not set(me.children(recursive=True)) - before
  everywhere = [p.info['cmdline'] or [''] for p in psutil.process_iter(['cmdline'])]
  assert name not in [line[-1] for line in everywhere]
  with pytest.raises(RuntimeError, match='closed'):
    scorer.score(completions(['fine']))


def run_script(tmp_path, code, *arguments):
  path = tmp_path / 'script.py'
  path.write_text(textwrap.dedent(code))
  return subprocess.run(
    [sys.executable, str(path), *arguments], capture_output=True, text=True, check=False
  )


def test_workers_die_with_a_killed_parent(tmp_path):
  code = """
    import os, signal
    from rljax.rewards import Scorer
    scorer = Scorer('tasks.arithmetic.reward', workers=2)
    print(*[p.pid for p in scorer._pool._processes], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
  """
  done = run_script(tmp_path, code)
  assert done.returncode == -signal.SIGKILL
  workers = [psutil.Process(int(p)) for p in done.stdout.split() if psutil.pid_exists(int(p))]
  assert not wait_until_gone(workers)


# -- what a reward receives and returns


def everything(completion, prompt, answer, metadata, tokens, truncated):
  expected = ('b', 'p', 7, {'k': 1}, (1,), True)
  return float((completion, prompt, answer, metadata, tokens, truncated) == expected)


def test_arguments_by_name():
  given = completions(['a', 'b'], answer=7, metadata={'k': 1})
  for workers in (0, 1):
    with Scorer(everything, workers=workers) as scorer:
      assert scorer.score(given).rewards.tolist() == [0, 1]


def parts(completion):
  if completion == 'no reward':
    return {'format': 1}
  return {'reward': len(completion), **({'format': 0.5} if completion != 'bare' else {})}


@pytest.mark.parametrize('workers', [0, 1])
def test_components(workers):
  with Scorer(parts, workers=workers) as scorer:
    scores = scorer.score(completions(['ab', 'bare', 'no reward']))
  np.testing.assert_array_equal(scores.rewards, np.float32([2, 4, np.nan]))
  np.testing.assert_array_equal(scores.components['format'], np.float32([0.5, np.nan, np.nan]))
  assert scores.errors == 1 and "without 'reward'" in next(iter(scores.messages))


def draws(completion):
  return random.random() + np.random.rand()


def test_random_rewards_do_not_depend_on_the_worker():
  given = completions('abcdefghij')
  state = random.getstate()
  with Scorer(draws, workers=0, seed=5) as here, Scorer(draws, workers=2, seed=5) as there:
    expected = here.score(given).rewards
    assert random.getstate() == state, 'the generator of this process is left alone'
    np.testing.assert_array_equal(there.score(given).rewards, expected)
    np.testing.assert_array_equal(there.score(given[::-1]).rewards, expected[::-1])
  assert len(set(expected.tolist())) == 10
  with Scorer(draws, workers=0, seed=6) as other:
    assert not (other.score(given).rewards == expected).any()


def test_in_process_counts_errors():
  with Scorer(behave, workers=0) as scorer:
    scores = scorer.score(completions(['fine', 'raise', 'nan', 'exit']))
  np.testing.assert_array_equal(scores.rewards, np.float32([1, np.nan, np.nan, np.nan]))
  assert scores.errors == 3


def test_a_dotted_name_with_hyper_parameters():
  task = tasks.countdown(num_test=8)
  given = [
    Completion(prompt=p, tokens=(), text=task.demonstrate(p), truncated=False) for p in task.test
  ]
  node = {'name': 'rewards.inverted', 'reward': 'tasks.countdown.reward'}
  with Scorer(task.reward, workers=1) as scorer, Scorer(node, workers=1) as opposite:
    assert scorer.score(given).rewards.tolist() == [1] * 8
    assert opposite.score(given).rewards.tolist() == [0] * 8


def loaded_modules(completion):
  return float(completion in sys.modules)


def test_workers_import_what_the_reward_imports(tmp_path, monkeypatch):
  (tmp_path / 'light_reward.py').write_text(
    'import sys, os\n'
    'from rljax.tasks.countdown import reward as countdown\n'
    'def reward(completion):\n'
    '  if completion == "platform":\n'
    '    return float(os.environ["JAX_PLATFORMS"] == "cpu")\n'
    '  return float(completion in sys.modules)\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  heavy = ['jax', 'numpy', 'grain', 'rljax.structs']
  with Scorer('light_reward.reward', workers=1) as scorer:
    rewards = scorer.score(completions([*heavy, 'rljax.tasks.countdown', 'platform'])).rewards
  assert rewards.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
  ('reward', 'message'),
  [
    ('tasks.countdown.rewrad', r"has no 'rewrad'; did you mean reward"),
    ('no.such.reward', 'there is no module'),
    ('countdown', 'no dotted name'),
    (lambda text: 1.0, r"takes 'text', which does not exist; a reward may take completion"),
    ({'name': 'rewards.random_reward', 'prob': 1}, "unknown hyper-parameter 'prob'"),
    (7, 'neither a dotted name nor a function'),
    ('rljax.rewards.FIELD', 'has no'),
  ],
)
def test_a_wrong_reward_is_named_at_once(reward, message):
  with pytest.raises(BindingError, match=message):
    Scorer(reward, workers=0)


def test_a_reward_that_cannot_be_imported_in_a_worker(tmp_path, monkeypatch):
  (tmp_path / 'parent_only.py').write_text(
    'import os\n'
    'if os.environ.get("PARENT") != str(os.getpid()):\n'
    '  raise ImportError("not here")\n'
    'def reward(completion): return 1.0\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv('PARENT', str(os.getpid()))
  with Scorer('parent_only.reward', workers=1) as scorer:
    with pytest.raises(RuntimeError, match='cannot import the reward: ImportError: not here'):
      scorer.score(completions(['a']))


def test_a_reward_whose_import_ends_the_worker(tmp_path, monkeypatch):
  (tmp_path / 'deadly.py').write_text(
    'import os\n'
    'if os.environ.get("PARENT") != str(os.getpid()):\n'
    '  os._exit(9)\n'
    'def reward(completion): return 1.0\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv('PARENT', str(os.getpid()))
  with Scorer('deadly.reward', workers=1) as scorer:
    with pytest.raises(RuntimeError, match=r'before they score anything.*exit code 9'):
      scorer.score(completions(['a']))


# -- how it travels


def test_importable_functions_go_by_name():
  assert resolve(random_reward)[1] == ('module', ('rljax.rewards.controls', 'random_reward'), {})
  assert resolve('rewards.random_reward')[1][0] == 'name'
  assert resolve(lambda completion: 1.0)[1][0] == 'pickle'


def test_a_lambda_and_a_closure():
  bonus = 2.5

  def local(completion):
    return bonus + len(completion)

  for reward in (lambda completion: bonus + len(completion), local):
    with Scorer(reward, workers=1) as scorer:
      assert scorer.score(completions(['a', 'bc'])).rewards.tolist() == [3.5, 4.5]


def test_what_cannot_travel_is_named():
  lock = __import__('threading').Lock()
  with pytest.raises(BindingError, match='cannot be sent to a worker process'):
    Scorer(lambda completion: lock.locked(), workers=1)


def test_a_script_without_main_guard(tmp_path):
  code = """
    import dataclasses, sys
    from rljax.prompts import Completion, Prompt
    from rljax.rewards import Scorer

    print('once')

    @dataclasses.dataclass
    class Answer:
      value: int

    def length(completion):
      return len(completion)

    def my_reward(completion, answer):
      return length(completion) + answer.value

    prompt = Prompt(text='', prompt_id=0, answer=Answer(10))
    given = [Completion(prompt=prompt, tokens=(), text=t, truncated=False) for t in ('a', 'bc')]
    scorer = Scorer(my_reward, workers=2)
    print(scorer.score(given).rewards.tolist())
  """
  done = run_script(tmp_path, code)
  assert done.stdout == 'once\n[11.0, 12.0]\n' and not done.stderr, done.stderr


def test_a_module_that_workers_cannot_find(tmp_path):
  import importlib.util

  path = tmp_path / 'loaded_by_path.py'
  path.write_text('BONUS = 4\ndef reward(completion): return BONUS + len(completion)\n')
  spec = importlib.util.spec_from_file_location('loaded_by_path', path)
  module = importlib.util.module_from_spec(spec)
  sys.modules['loaded_by_path'] = module
  try:
    spec.loader.exec_module(module)
    with Scorer(module.reward, workers=1) as scorer:
      assert scorer.score(completions(['a'])).rewards.tolist() == [5]
  finally:
    del sys.modules['loaded_by_path']


def test_a_notebook_cell(tmp_path):
  nbclient = pytest.importorskip('nbclient', reason='pip install nbclient ipykernel')
  nbformat = pytest.importorskip('nbformat', reason='pip install nbformat')
  cells = [
    'def my_reward(completion):\n  return 2.0 * len(completion)',
    'from rljax.prompts import Completion, Prompt\n'
    'from rljax.rewards import Scorer\n'
    "prompt = Prompt(text='', prompt_id=0)\n"
    "given = [Completion(prompt=prompt, tokens=(), text='abc', truncated=False)]\n"
    'with Scorer(my_reward, workers=1) as scorer:\n'
    '  print(scorer.score(given).rewards.tolist())',
  ]
  notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
  nbclient.NotebookClient(notebook, timeout=120).execute(cwd=str(tmp_path))
  assert notebook.cells[1].outputs[0].text == '[6.0]\n'


# -- controls


def test_random_reward():
  values = [random_reward('p', (i, 1)) for i in range(2000)]
  assert set(values) == {0.0, 1.0} and abs(np.mean(values) - 0.5) < 0.05
  assert values == [random_reward('p', (i, 1)) for i in range(2000)]
  assert values != [random_reward('q', (i, 1)) for i in range(2000)]
  assert np.mean([random_reward('p', (i,), probability=0.1) for i in range(2000)]) < 0.15


def test_inverted():
  answer = {'answer': 5, 'metadata': {}, 'tokens': (), 'truncated': False}
  for text, expected in (('2+3=5', 0.0), ('2+3=6', 1.0)):
    assert inverted(text, '', **answer, reward='tasks.arithmetic.reward') == expected


def test_what_a_notebook_defines_reaches_a_worker_by_its_name(monkeypatch):
  # As in a notebook: a module __main__ without a file, of which the worker has another one.
  main = types.ModuleType('__main__')
  exec('def half(completion, *, of=1.0):\n  return of / 2', vars(main))
  monkeypatch.setitem(sys.modules, '__main__', main)
  with Scorer({'name': '__main__.half', 'of': 3.0}, workers=1) as scorer:
    assert scorer.score(completions(['a'])).rewards.tolist() == [1.5]
