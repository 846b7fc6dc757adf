"""Published problems: files in the formats of their authors, and what the reward says of answers.

Files are written here in each format. Where the data themselves lie beside the checkout, every
reference is accepted, and what was changed is judged as the order of `rewards.answers` says.
"""

import json
import pathlib
import random
import re

import pytest

from rljax import tasks
from rljax.rewards import Scorer, exact_answer
from rljax.rewards.grading import golds, symbolic
from rljax.tasks import record_files, record_formats

SHARED = pathlib.Path(__file__).parents[2] / 'shared' / 'data'
REAL = {  # name → (folder, records)
  'gsm8k': ('gsm8k', 1319),
  'math500': ('math500', 500),
  'aime': ('aime24', 30),
  'amc': ('amc23', 40),
  'svamp': ('svamp', 1000),
  'asdiv': ('asdiv', 2215),
}


def lines(*records):
  return '\n'.join(map(json.dumps, records)) + '\n'


MATH = {'problem': 'What is half of pi?', 'level': 'Level 1', 'type': 'Algebra',
        'solution': 'It is $\\boxed{\\frac{\\pi}{2}}$.'}  # fmt: skip
GPQA = ['Record ID', 'Question', 'Correct Answer', *(f'Incorrect Answer {n}' for n in (1, 2, 3))]
ASDIV = """<Machine-Reading-Corpus-File><ProblemSet>
<Problem ID="nluds-0" Grade="1" Source="x">
<Body>Two apples and three apples.</Body><Question>How many apples?</Question>
<Solution-Type>Addition</Solution-Type><Answer>5 (apples)</Answer><Formula>2+3=5</Formula>
</Problem></ProblemSet></Machine-Reading-Corpus-File>"""
# (data set, file, content, gold text, a wrong answer)
FORMATS = [
  ('math500', 'test.jsonl', lines({**MATH, 'answer': '\\frac{\\pi}{2}', 'unique_id': 'a/1.json'}),
   '\\frac{\\pi}{2}', '\\pi'),
  ('math', 'test/algebra/1.json', json.dumps(MATH), '\\frac{\\pi}{2}', '\\pi'),
  ('math', 'test.jsonl', lines({**MATH, 'solution': 'so $\\boxed 7$'}), '7', '8'),
  ('aime', 'test.jsonl', lines({'problem': '?', 'answer': '025'}), '025', '26'),
  ('amc', 'test.jsonl', lines({'problem': '?', 'answer': 27.0}), '27', '28'),
  ('minerva', 'test.jsonl', lines({'problem': '?', 'solution': 'so \\boxed{1.6e-3}', 'idx': 0}),
   '1.6e-3', '1.7e-3'),
  ('minerva', 'test.jsonl', lines({'question': '?', 'answer': '2.5'}), '2.5', '2.6'),
  ('olympiadbench', 'OE_TO_maths_en_COMP.json', json.dumps([{
    'id': 1, 'context': None, 'question': '?', 'solution': ['so'], 'final_answer': ['$1,-2$'],
    'is_multiple_answer': True, 'unit': None, 'answer_type': 'Numerical', 'error': None}]),
   '1,-2', '1,2'),
  ('svamp', 'SVAMP.json', json.dumps([{
    'ID': 'chal-1', 'Body': 'b', 'Question': 'q', 'Equation': '( 2.0 + 3.0 )', 'Answer': 5.0,
    'Type': 'Addition'}]), '5', '6'),
  ('asdiv', 'ASDiv.xml', ASDIV, '5 (apples)', '6'),
  ('asdiv', 'test.jsonl', lines({'body': 'b', 'question': 'q', 'answer': 'Yes'}), 'Yes', 'No'),
  ('mawps', 'test.json', json.dumps([{
    'iIndex': 1, 'sQuestion': 'q', 'lEquations': ['X=2+3'], 'lSolutions': [5.0]}]), '5', '6'),
  ('mawps', 'test.json', json.dumps([{'sQuestion': 'q', 'lSolutions': [5.0, 6.5]}]), '5, 6.5', '5'),
  ('aqua', 'test.json', lines({
    'question': 'q', 'options': ['A)21', 'B)22', 'C)23', 'D)24', 'E)25'], 'rationale': 'r',
    'correct': 'E'}), 'E', 'A'),
  ('gpqa', 'gpqa_diamond.csv',
   ','.join(GPQA) + '\nrec1,"q, or\nnot?",right,wrong 1,wrong 2,wrong 3\n', 'right', 'wrong 2'),
  ('mmlu', 'test/anatomy_test.csv', '"q, or not?",one,two,three,four,C\nr,1,2,3,4,A\n', 'C', 'B'),
  ('mmlu', 'test.jsonl', lines({'question': 'q', 'choices': list('wxyz'), 'answer': 2}), 'C', 'B'),
]  # fmt: skip


def write(folder, name, content):
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content)
  return str(folder)


def load(dataset, path, **more):
  return tasks.published(dataset=dataset, path=path, use_symbolic=False, **more)


def test_every_data_set_has_a_format_here():
  assert {name for name, *_ in FORMATS} == set(record_formats.DATA_SETS)


@pytest.mark.parametrize(
  ('dataset', 'name', 'content', 'gold', 'wrong'), FORMATS, ids=[f'{n}-{f}' for n, f, *_ in FORMATS]
)
def test_gold_scores_1_and_others_less(tmp_path, dataset, name, content, gold, wrong):
  task = load(dataset, write(tmp_path, name, content))
  assert task.name == dataset and task.license and not len(task.train)
  prompt = task.test[0]
  assert prompt.prompt_id == 0 and prompt.text.endswith('\\boxed{}.\n')
  demonstration = task.demonstrate(prompt)
  assert task.well_formed(demonstration) and not task.well_formed('5')
  with Scorer(task.reward, workers=0) as scorer:
    names = scorer._names
  assert names == ('completion', 'answer')
  for completion in (demonstration, f'\\boxed{{{gold}}}', f'The answer is {gold}.'):
    assert exact_answer(completion, prompt.answer)['reward'] == 1, completion
  for completion in ('', f'\\boxed{{{wrong}}}', f'The answer is {wrong}.'):
    found = exact_answer(completion, prompt.answer)
    assert found['reward'] < 1 and found['accuracy'] == found['lenient'] == 0, completion
  assert exact_answer(f'so {gold}', prompt.answer)['accuracy'] == 0, 'not marked'


def test_options_are_listed_and_shuffled_by_the_question(tmp_path):
  rows = ''.join(f'r{i},question {i},right,wrong 1,wrong 2,wrong 3\n' for i in range(40))
  task = load('gpqa', write(tmp_path, 'gpqa_diamond.csv', ','.join(GPQA) + '\n' + rows))
  letters = [prompt.answer['value'] for prompt in task.test]
  assert set(letters) == set('ABCD') and letters == [p.answer['value'] for p in task.test]
  prompt = task.test[0]
  assert prompt.text.startswith('question 0\nA) ')
  assert f'\n{letters[0]}) right\n' in prompt.text


def test_splits_numbers_and_chat(tmp_path):
  for split, count in (('train', 5), ('test', 3)):
    records = [{'problem': f'{split} {i}', 'answer': i} for i in range(count)]
    write(tmp_path, f'{split}.jsonl', lines(*records))
  task = load('aime', str(tmp_path), num_train=4, num_test=9, chat=True, instruction='')
  assert (len(task.train), len(task.test)) == (4, 3)
  assert task.train[3].messages == ({'role': 'user', 'content': 'train 3'},)
  one = load('aime', str(tmp_path / 'train.jsonl'))
  assert (len(one.train), len(one.test)) == (0, 5)


def test_a_tolerance_of_the_data(tmp_path):
  record = {'question': '?', 'final_answer': ['3.14'], 'error': '1e-2'}
  task = load('olympiadbench', write(tmp_path, 'test.jsonl', lines(record)))
  answer = task.test[0].answer
  assert exact_answer('\\boxed{\\pi}', answer)['accuracy'] == 1
  assert exact_answer('\\boxed{3.16}', answer)['accuracy'] == 0


@pytest.mark.parametrize(
  ('dataset', 'name', 'content', 'message'),
  [
    ('math', 'test.jsonl', lines({'problem': '?', 'solution': '5'}), 'math, test record 1: no'),
    ('aime', 'test.jsonl', lines({'problem': '?'}), "record 1: has no 'answer'; it has problem"),
    ('aime', 'test.jsonl', lines({'problem': '?', 'answer': 'many'}), "'many' is said to be a num"),
    ('olympiadbench', 'test.jsonl', lines({'question': '?'}), "has no 'final_answer'"),
    ('aqua', 'test.json', lines({'question': '?', 'options': ['1'], 'correct': 'A'}), 'begin with'),
    ('mmlu', 'test.csv', 'q,1,2,3,4,E\n', "right option 'E'; options are A, B, C, D"),
    ('mmlu', 'test.csv', 'q,1,2,3,4,A\nq,1,2\n', r'test.csv, row 2: 3 cells where 6'),
    ('asdiv', 'ASDiv.xml', '<Problem>', 'ASDiv.xml: no XML'),
    ('svamp', 'SVAMP.json', '[1]', 'SVAMP.json, record 1: int, no JSON object'),
    ('svamp', 'SVAMP.json', '[', 'SVAMP.json: no JSON'),
    ('gpqa', 'test.csv', '', 'test.csv: no rows'),
  ],
)
def test_a_broken_file_is_named(tmp_path, dataset, name, content, message):
  with pytest.raises(ValueError, match=message):
    load(dataset, write(tmp_path, name, content)).test[0]


def test_what_is_missing_is_named(tmp_path, monkeypatch):
  with pytest.raises(ValueError, match="dataset='maths'; known are aime, amc"):
    tasks.published(dataset='maths')
  monkeypatch.setenv('RLJAX_DATA', str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r'svamp: no .*SVAMP\.json in .*\n  https://.*\nLic'):
    tasks.published(dataset='svamp')
  monkeypatch.setattr(symbolic, 'available', lambda: False)
  with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[tasks\]'.*use_symbolic=False"):
    tasks.published(dataset='math500')
  monkeypatch.setattr(symbolic, 'available', lambda: True)
  write(tmp_path, 'math500/test.jsonl', lines({**MATH, 'answer': '1'}))
  assert tasks.published(dataset='math500').reward == 'rewards.short_answer'


def test_files_are_found_by_the_first_pattern(tmp_path):
  for name in ('b.csv', 'a.csv', 'notes.txt', 'sub/c.json'):
    write(tmp_path, name, '{}')
  found = [p.name for p in record_files.find(tmp_path, ('*.xml', '*', 'sub/*'))]
  assert found == ['a.csv', 'b.csv'] and record_files.find(tmp_path, ('*.xml',)) == []


# -- the data themselves


@pytest.fixture(scope='module', params=REAL)
def real(request):
  folder, records = REAL[request.param]
  path = SHARED / folder
  if not path.is_dir():
    pytest.skip(f'no {request.param} at {path}')
  if request.param == 'gsm8k':
    task = tasks.gsm8k(path=str(path))
  else:
    task = load(request.param, str(path))
  assert len(task.test) == records
  return task


def gold_of(prompt):
  return golds.as_gold(prompt.answer).text


def is_plain(prompt):
  return re.fullmatch(r'-?[0-9]+', gold_of(prompt)) is not None


def scores(task, write_completion, keep=lambda prompt: True):
  """(component → count, prompts) over those prompts of which a completion can be written."""
  totals, count = {}, 0
  for prompt in task.test:
    completion = write_completion(prompt) if keep(prompt) else None
    if completion is None:
      continue
    count += 1
    for name, value in exact_answer(completion, prompt.answer).items():
      totals[name] = totals.get(name, 0) + value
  return totals, count


@pytest.mark.parametrize(
  'form',
  [
    '\\boxed{{{}}}',
    '\\boxed{{{}}}. So 7 steps.',
    'First 3.\n#### {}',
    'The answer is {}.',
    'The answer is {}. It has 7 steps.',
    '**Answer:** {}\nI hope that it helps.',
    'The answer is ${}$',
    '<answer>{}</answer> in 7 steps',
  ],
)
def test_every_reference_is_accepted(real, form):
  found, count = scores(real, lambda prompt: form.format(gold_of(prompt)))
  assert found['accuracy'] == found['lenient'] == found['formatted'] == count
  assert not found['slow_path'] and not found['undecided']


def test_hashes_in_the_middle_are_an_answer_unless_words_follow(real):
  found, count = scores(real, lambda p: f'First 3.\n#### {gold_of(p)}\nI hope that it helps.')
  words = sum(re.match('[A-Za-z]{2}', gold_of(prompt)) is not None for prompt in real.test)
  assert found['accuracy'] == found['formatted'] == count - words


def test_demonstrations_are_right(real):
  found, count = scores(real, real.demonstrate)
  assert found['accuracy'] == count == len(real.test)


def changed(prompt):
  """The gold answer with a number one larger, None if it has none."""
  text = gold_of(prompt)
  number = re.search(r'[0-9]+', text)
  if not number:
    return None
  return f'{text[: number.start()]}{int(number[0]) + 1}{text[number.end() :]}'


def test_a_changed_number_is_rejected(real):
  def complete(prompt):
    return None if changed(prompt) is None else f'\\boxed{{{changed(prompt)}}}'

  found, count = scores(real, complete)
  assert found['accuracy'] == found['lenient'] == 0 and count > 0.85 * len(real.test)


def test_another_problems_answer_is_rejected(real):
  rng = random.Random(0)
  prompts = [prompt for prompt in real.test if is_plain(prompt)]

  def complete(prompt):
    other = gold_of(rng.choice(prompts))
    return None if int(other) == int(gold_of(prompt)) else f'\\boxed{{{other}}}'

  found, count = scores(real, complete, is_plain)
  assert found['accuracy'] == found['lenient'] == 0 and count > 0.5 * len(prompts)


def test_an_answer_in_the_middle_counts_only_if_it_is_marked(real):
  def is_no_choice(prompt):
    return golds.kind_of(prompt.answer) != 'choice'

  def complete(prompt):
    return f'It is {gold_of(prompt)} at first, in the end -98765.'

  plain, count = scores(real, complete, is_no_choice)
  assert count and plain['accuracy'] == plain['lenient'] == plain['formatted'] == 0
  later, _ = scores(real, lambda p: f'\\boxed{{{gold_of(p)}}}, no: \\boxed{{-98765}}')
  assert later['accuracy'] == later['lenient'] == 0
  marked, count = scores(real, lambda p: f'The answer is {gold_of(p)}\nI tried -98765 ways.')
  assert marked['accuracy'] == count


def test_a_unit_does_no_harm(real):
  for form in ('\\boxed{{{} \\text{{ widgets}}}}', 'The answer is {} widgets.', '#### {} widgets'):
    found, count = scores(real, lambda p, form=form: form.format(gold_of(p)), is_plain)
    assert found['accuracy'] == count > 0


def test_without_a_marker_only_leniently(real):
  found, count = scores(real, lambda p: f'So in 3 steps it is {gold_of(p)}', is_plain)
  assert found['accuracy'] == found['formatted'] == 0 and found['lenient'] == count > 0


def test_nothing_is_no_answer(real):
  for completion in ('', '\\boxed{}', '####', 'The answer is', 'I cannot say.'):
    found, _ = scores(real, lambda _, text=completion: text)
    assert not any(found.values()), completion
