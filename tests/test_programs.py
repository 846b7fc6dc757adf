"""Programs as completions: what is taken for one, its rewards, and the tasks of programming."""

import base64
import gzip
import json
import pathlib
import pickle
import zlib

import mutants
import pytest

from rljax import data, tasks
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, programs, sandbox
from rljax.tasks import coding

REAL_HUMANEVAL = pathlib.Path(__file__).parents[2] / 'shared' / 'data' / 'humaneval'
RUNS = dict(allow=True, cpu_seconds=1)


def completions(prompts, texts):
  return [
    Completion(prompt=p, tokens=(), text=t, truncated=False, sample_index=i)
    for i, (p, t) in enumerate(zip(prompts, texts))
  ]


# -- what is taken for a program


@pytest.mark.parametrize(
  ('completion', 'code'),
  [
    ('```python\na\n```\nor\n```py\nb\n```\n```text\nc\n```', 'b'),
    ('x\n```\na\n\nb\n```\n', 'a\n\nb'),
    ('```Python\na\n```\n```python\nopen', 'a'),
    ('see:\n```python\na\nb', 'a\nb'),
    ('  return `x`\n', '  return `x`\n'),
    ('  ```python\n  a\n  ```', '  a'),
    ('```\n```', ''),
    ('', ''),
  ],
)
def test_extraction_has_one_order(completion, code):
  assert programs.extract_code(completion) == code


def test_code_behind_its_preamble():
  head = 'import math\n\ndef f(x):\n  """Doc."""\n'
  assert programs.complete(head, '  return x\n', 'f') == head + '  return x\n'
  for code in ('def f(x): return math.pi', 'f = lambda x: math.pi', 'class f: pass'):
    assert programs.complete(head, code, 'f') == f'\n{head}\n{code}'
  assert programs.complete(head, '  return 1\n\ndef fg(): pass', 'f').startswith(
    head + '  return 1'
  )
  future = 'from __future__ import annotations\ndef f(x: y): return 1'
  exec(compile(programs.complete(head, future, 'f'), 'x', 'exec', dont_inherit=True), {})
  assert programs.complete('', 'a', '') == 'a'


# -- rewards


def test_unit_tests_are_graded():
  def score(text, **given):
    return programs.unit_tests(text, ('assert f(1) == 1', 'assert f(2) == 2'), {}, **RUNS, **given)

  right = score('```python\ndef f(x): return x\n```')
  assert right == {'reward': 1.0, 'accuracy': 1.0, 'fraction': 1.0, 'timeout': 0.0}
  half = score('def f(x): return 1')
  assert half == {'reward': 0.0, 'accuracy': 0.0, 'fraction': 0.5, 'timeout': 0.0}
  assert score('def f(x): return 1', partial=0.5)['reward'] == 0.25
  late = score('def f(x):\n  while x == 2: pass\n  return x', partial=1.0)
  assert late == {'reward': 0.5, 'accuracy': 0.0, 'fraction': 0.5, 'timeout': 1.0}
  assert score('')['fraction'] == 0
  with pytest.raises(ValueError, match='partial=2'):
    score('', partial=2)
  with pytest.raises(sandbox.NotAllowedError):
    programs.unit_tests('', (), {})


def test_cases_are_graded():
  cases = (('1', '2'), ('2', '3'))
  script = programs.stdin_cases('print(int(input()) + 1)', cases, {}, **RUNS)
  assert script == {'reward': 1.0, 'accuracy': 1.0, 'fraction': 1.0, 'timeout': 0.0}
  called = programs.stdin_cases('def f(x): return 2', cases, {'function': 'f'}, **RUNS)
  assert called == {'reward': 0.0, 'accuracy': 0.0, 'fraction': 0.5, 'timeout': 0.0}


def test_a_worker_has_more_time_than_the_sandbox():
  reward = {'name': 'rewards.programs.unit_tests', 'allow': True, 'total_seconds': 20.0}
  prompt = Prompt(text='', prompt_id=0, answer=('assert f() == 1',))
  given = completions([prompt], ['def f(): return 1'])
  with Scorer(reward, workers=1, cpu_seconds=4.0) as scorer:
    scores = scorer.score(given)
    assert scores.errors == 1
    assert 'reward worker is ended after 20.0 s' in next(iter(scores.messages))
  with Scorer(reward, workers=1) as scorer:
    scores = scorer.score(given * 2)
    assert scores.rewards.tolist() == [1, 1] and scores.components['fraction'].tolist() == [1, 1]


def test_code_is_not_run_without_a_word():
  with Scorer('rewards.programs.unit_tests', workers=1) as scorer:
    scores = scorer.score(completions([Prompt(text='', prompt_id=0, answer=())], ['1']))
  assert scores.errors == 1 and 'NotAllowedError' in next(iter(scores.messages))


# -- HumanEval


HEAD = 'import math\n\ndef half(x):\n    """Half of x."""\n'
TEST = '\n\ndef check(candidate):\n  assert candidate(4) == 2\n  assert candidate(3) == 1.5\n'


def write_humaneval(file, **changes):
  record = dict(
    task_id='HumanEval/0', prompt=HEAD, entry_point='half', test=TEST,
    canonical_solution='    return x / math.sqrt(4)\n',
  ) | changes  # fmt: skip
  opened = gzip.open if file.suffix == '.gz' else open
  with opened(file, 'wt') as stream:
    stream.write(json.dumps({k: v for k, v in record.items() if v is not None}) + '\n')


@pytest.mark.parametrize('name', ['HumanEval.jsonl', 'HumanEval.jsonl.gz'])
@pytest.mark.parametrize('chat', [False, True])
def test_humaneval(tmp_path, name, chat):
  write_humaneval(tmp_path / name)
  task = tasks.humaneval(path=str(tmp_path), allow=True, chat=chat)
  (prompt,) = task.test
  assert prompt == tasks.humaneval(path=str(tmp_path / name), allow=True, chat=chat).test[0]
  shown = prompt.messages[0]['content'] if chat else prompt.text
  assert len(task.train) == 0 and (HEAD.strip() in shown if chat else HEAD == shown)
  right = task.demonstrate(prompt)
  assert task.well_formed(right) and not task.well_formed('    return (')
  others = ['    return x // 2\n', '```python\ndef half(x): return math.ceil(x / 2)\n```', '1 / 0']
  with Scorer(task.reward, workers=1) as scorer:
    scores = scorer.score(completions([prompt] * 4, [right, *others]))
  assert scores.errors == 0 and scores.rewards.tolist() == [1, 0, 0, 0]
  assert scores.components['fraction'].tolist() == [1, 0.5, 0.5, 0]


def test_humaneval_missing_or_broken(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'curl -fLO https://github.com/openai/human-eval'):
    tasks.humaneval(path=str(tmp_path), allow=True)
  write_humaneval(tmp_path / 'HumanEval.jsonl', test=None)
  task = tasks.humaneval(path=str(tmp_path), allow=True)
  with pytest.raises(ValueError, match=r"HumanEval.jsonl, record 1: has no 'test'"):
    task.test[0]
  write_humaneval(tmp_path / 'HumanEval.jsonl', entry_point=3)
  task = tasks.humaneval(path=str(tmp_path), allow=True)
  with pytest.raises(ValueError, match=r"'entry_point' is int, expected"):
    task.test[0]
  with pytest.raises(sandbox.NotAllowedError, match=r'--config.task.allow=True.*ontained'):
    tasks.humaneval(path=str(tmp_path))


def real_humaneval():
  if not REAL_HUMANEVAL.is_dir():
    pytest.skip('the data set is not on this machine')
  task = tasks.humaneval(path=str(REAL_HUMANEVAL), allow=True)
  assert len(task.test) == 164
  return task


def mutants_of(prompts, operators):
  """(prompt, mutant) for each operator that finds something to change."""
  for prompt in prompts:
    source = prompt.metadata['preamble'] + prompt.metadata['solution']
    for operator in operators:
      mutant = mutants.mutate(source, prompt.metadata['entry_point'], operator)
      if mutant is not None:
        yield prompt, mutant


def killed(pairs):
  reward = {'name': 'rewards.programs.unit_tests', 'allow': True, 'cpu_seconds': 2}
  with Scorer(reward, workers=2) as scorer:
    scores = scorer.score(completions(*zip(*pairs)))
  assert scores.errors == scores.timeouts == 0, scores.messages
  return 1 - scores.rewards


@pytest.mark.slow
def test_humaneval_as_published():
  task = real_humaneval()
  prompts = list(task.test)
  assert not killed([(p, task.demonstrate(p)) for p in prompts]).any()
  assert all(task.well_formed(task.demonstrate(p)) for p in prompts)


@pytest.mark.slow
def test_humaneval_has_a_dead_mutant_of_each_solution():
  pairs = []
  for index, prompt in enumerate(real_humaneval().test):
    pairs += mutants_of([prompt], [mutants.SURE[index % len(mutants.SURE)]])
  assert len(pairs) == 164 and killed(pairs).all()


@pytest.mark.slow
def test_humaneval_kills_mutants():
  prompts = list(real_humaneval().test)
  assert killed(list(mutants_of(prompts, mutants.SURE))).all()
  pairs = list(mutants_of(prompts, mutants.OTHERS))
  assert len(pairs) > 164 and killed(pairs).mean() > 0.8


def test_mutants_differ():
  source = 'def f(x):\n  if x > 1:\n    return x\n  return 0\ndef g(): return 1'
  made = {mutants.mutate(source, 'f', o) for o in mutants.SURE + mutants.OTHERS}
  assert len(made) == 5 and all('return 1' in m for m in made)
  assert mutants.mutate('def f(): pass', 'f', mutants.ReturnNone) is None


# -- MBPP and LiveCodeBench, on files that are made here


def mbpp_record(number, **changes):
  record = dict(
    text=f'Add {number}.', task_id=number, test_setup_code='import math',
    code=f'f = ({number}).__add__',
    test_list=[f'assert f(1) == {number + 1}', 'assert math.pi > 3'], challenge_test_list=[],
  )  # fmt: skip
  return record | changes


def write_lines(file, records):
  file.write_text('\n'.join(map(json.dumps, records)) + '\n')


def test_mbpp(tmp_path):
  write_lines(tmp_path / 'mbpp.jsonl', map(mbpp_record, (1, 11, 12, 600, 601)))
  task = tasks.mbpp(path=str(tmp_path), allow=True)
  assert [p.metadata['task_id'] for p in task.test] == [11, 12] and len(task.train) == 1
  prompt = task.test[0]
  assert prompt.text.startswith('Add 11.\n') and 'assert f(1) == 12' in prompt.text
  with Scorer(task.reward, workers=1) as scorer:
    scores = scorer.score(completions([prompt] * 2, [task.demonstrate(prompt), 'f = abs']))
  assert scores.rewards.tolist() == [1, 0] and scores.components['fraction'].tolist() == [1, 0.5]


def test_sanitized_mbpp(tmp_path):
  records = [mbpp_record(n, prompt='Say it.', test_imports=['import math']) for n in (20, 700)]
  for record in records:
    del record['text'], record['test_setup_code']
  (tmp_path / 'sanitized-mbpp.json').write_text(json.dumps(records))
  task = tasks.mbpp(path=str(tmp_path), allow=True, chat=True)
  prompt = task.test[0]
  assert prompt.messages[0]['content'].startswith('Say it.') and prompt.answer[0] == 'import math'
  assert programs.unit_tests(task.demonstrate(prompt), prompt.answer, {}, **RUNS)['accuracy'] == 1
  (tmp_path / 'sanitized-mbpp.json').write_text('{}')
  with pytest.raises(ValueError, match='dict, no JSON list'):
    tasks.mbpp(path=str(tmp_path), allow=True)


def test_mbpp_missing_or_broken(tmp_path):
  with pytest.raises(FileNotFoundError, match='curl -fLO https://raw'):
    tasks.mbpp(path=str(tmp_path / 'mbpp.jsonl'), allow=True)
  write_lines(tmp_path / 'mbpp.jsonl', [mbpp_record(11)])
  with pytest.raises(ValueError, match='no task_id in 601 … 974, which is train'):
    tasks.mbpp(path=str(tmp_path), allow=True)
  write_lines(tmp_path / 'mbpp.jsonl', [mbpp_record(11, test_list='x'), mbpp_record(601)])
  with pytest.raises(ValueError, match=r"test, record 1: 'test_list' is str"):
    tasks.mbpp(path=str(tmp_path), allow=True).test[0]


def case(given, output, kind='stdin'):
  return {'input': given, 'output': output, 'testtype': kind}


def packed(value):
  return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def contest_record(day, public, private, **changes):
  record = dict(
    question_content='Double it.', question_id=f'q{day}', contest_date=f'2024-08-0{day}T00:00:00',
    starter_code='', public_test_cases=json.dumps(public), private_test_cases=private,
    metadata='{}',
  )  # fmt: skip
  return record | changes


def test_livecodebench(tmp_path):
  script = contest_record(1, [case('1\n', '2\n')], packed(json.dumps([case('3\n', '6\n')])))
  function = contest_record(
    5, [case('1', '2', 'functional')], json.dumps([case('[3]', '[3, 3]', 'functional')]),
    starter_code='class Solution:\n    def twice(self, x):\n        ',
    metadata='{"func_name": "twice"}',
  )  # fmt: skip
  write_lines(tmp_path / 'test.jsonl', [script])
  write_lines(tmp_path / 'test2.jsonl', [function])
  task = tasks.livecodebench(path=str(tmp_path), allow=True, test_from='2024-08-02')
  (first,), (second,) = task.train, task.test
  assert first.answer == (('1\n', '2\n'), ('3\n', '6\n')) and 'standard input' in first.text
  assert 'class Solution' in second.text and second.metadata['question_id'] == 'q5'
  method = 'class Solution:\n  def twice(self, x): return 2 * x'
  texts = ['print(2 * int(input()))', 'print(2)', method, 'twice = abs']
  with Scorer(task.reward, workers=1) as scorer:
    scores = scorer.score(completions([first, first, second, second], texts))
  assert scores.errors == 0 and scores.rewards.tolist() == [1, 0, 1, 0]
  assert scores.components['fraction'].tolist() == [1, 0.5, 1, 0]
  assert len(tasks.livecodebench(path=str(tmp_path), allow=True).test) == 2


class Malice:
  def __reduce__(self):
    return print, ('executed',)


@pytest.mark.parametrize(
  ('changes', 'complaint'),
  [
    (dict(private_test_cases=packed(Malice())), 'its pickle is not one string: REDUCE'),
    (dict(private_test_cases='no cases'), 'neither JSON nor'),
    (dict(private_test_cases='[1'), 'no JSON'),
    (dict(public_test_cases='[]', private_test_cases='[]'), r'test types \[\]'),
    (dict(private_test_cases='[{"input": ""}]'), "has no 'output'"),
    (dict(private_test_cases=json.dumps([case('1', '2', 'other')])), r"\['other', 'stdin'\]"),
    (dict(starter_code=None), "'starter_code' is NoneType"),
  ],
)
def test_livecodebench_broken(tmp_path, changes, complaint, capsys):
  write_lines(tmp_path / 'test.jsonl', [contest_record(1, [case('1', '2')], '[]', **changes)])
  task = tasks.livecodebench(path=str(tmp_path), allow=True)
  with pytest.raises(ValueError, match=complaint) as error:
    task.test[0]
  assert 'test.jsonl, record 1' in str(error.value) and 'executed' not in capsys.readouterr().out


def test_what_is_well_formed():
  assert coding.well_formed('```python\nx = "\\d" is 1\n```') and coding.well_formed('  return 1')
  for text in ('x = (', '', 'I think so.', '(' * 9999, '\0'):
    assert not coding.well_formed(text)


def test_lines_of_a_packed_file(tmp_path):
  with gzip.open(tmp_path / 'x.jsonl.gz', 'wt') as stream:
    stream.write('{"a": 1}\n\n{"a": 2}\nno\n')
  lines = data.JsonLines(tmp_path / 'x.jsonl.gz')
  assert len(lines) == 3 and lines[1] == {'a': 2} and lines[0] == {'a': 1}
  with pytest.raises(ValueError, match=r'x.jsonl.gz, line 4: no JSON'):
    lines[2]
  (tmp_path / 'y.jsonl.gz').write_bytes(b'{"a": 1}\n')
  with pytest.raises(gzip.BadGzipFile):
    data.JsonLines(tmp_path / 'y.jsonl.gz')
