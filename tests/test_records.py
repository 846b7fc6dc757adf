"""Records of files, tasks made of them, mixtures of tasks, and what splits have in common."""

import dataclasses
import gzip
import json

import grain
import numpy as np
import pytest

from rljax import binding, data, tasks
from rljax.data.records import SUFFIXES, Joined, Parquet, open_records
from rljax.prompts import Completion, Prompt, Task
from rljax.rewards import Scorer
from rljax.tokenization import byte_level, prompt_tokens

ROWS = [{'id': i, 'question': f'what is {i} + {i}? é', 'answer': str(2 * i)} for i in range(23)]


def as_text(rows):
  return [{k: str(x) for k, x in row.items()} for row in rows]


def write(path, rows=ROWS):
  """A file of the kind that its name says."""
  lines = ''.join(json.dumps(row) + '\n' for row in rows)
  if path.name.endswith('.jsonl'):
    path.write_text(lines + '\n')
  elif path.name.endswith('.jsonl.gz'):
    path.write_bytes(gzip.compress(lines.encode()))
  elif path.name.endswith('.json'):
    path.write_text(json.dumps(rows))
  elif path.name.endswith(('.csv', '.tsv')):
    mark = ',' if path.name.endswith('.csv') else '\t'
    table = [list(rows[0]), *([str(x) for x in row.values()] for row in rows)]
    path.write_text('\n'.join(mark.join(f'"{x}"' for x in line) for line in table))
  else:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(rows)
    if path.name.endswith('.parquet'):
      pyarrow.parquet.write_table(table, path, row_group_size=7)
    else:
      with pyarrow.ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table)
  return path


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_files_of_every_kind(tmp_path, suffix):
  found = open_records(write(tmp_path / f'some{suffix}'))
  wanted = as_text(ROWS) if suffix in ('.csv', '.tsv') else ROWS
  assert len(found) == 23 and list(found) == wanted
  assert found[5] == wanted[5] and found[-1] == wanted[-1] and found[8:3:-2] == wanted[8:3:-2]
  with pytest.raises(IndexError):
    found[23]


def test_an_arrow_file_with_a_foot(tmp_path):
  import pyarrow

  table = pyarrow.Table.from_pylist(ROWS)
  with pyarrow.ipc.new_file(str(tmp_path / 'a.arrow'), table.schema) as stream:
    stream.write_table(table)
  assert list(open_records(tmp_path / 'a.arrow')) == ROWS


def test_directories(tmp_path):
  hub = tmp_path / 'hub' / 'data'
  hub.mkdir(parents=True)
  for i in range(2):
    write(hub / f'train-0000{i}-of-00002.parquet', ROWS[i * 10 : i * 10 + 10])
  write(hub / 'test-00000-of-00001.parquet', ROWS[20:])
  assert list(open_records(tmp_path / 'hub')) == ROWS[:20]
  assert list(open_records(tmp_path / 'hub', 'test')) == ROWS[20:]
  saved = tmp_path / 'saved' / 'train'
  saved.mkdir(parents=True)
  names = [write(saved / f'data-0000{i}.arrow', ROWS[i::2]).name for i in range(2)]
  state = {'_data_files': [{'filename': name} for name in names]}
  (saved / 'state.json').write_text(json.dumps(state))
  assert list(open_records(tmp_path / 'saved')) == ROWS[::2] + ROWS[1::2]
  assert list(open_records(saved)) == ROWS[::2] + ROWS[1::2]
  with pytest.raises(FileNotFoundError, match="no records of a split 'dev'; there is test, train"):
    open_records(tmp_path / 'hub', 'dev')
  with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
    open_records(tmp_path / 'nowhere')


def test_what_tfds_has_prepared(tmp_path):
  from rljax.data.gsm8k_builder import Gsm8k

  (tmp_path / 'raw').mkdir()
  rows = [{k: row[k] for k in ('question', 'answer')} for row in ROWS]
  for split, part in (('train', rows[:20]), ('test', rows[20:])):
    write(tmp_path / 'raw' / f'{split}.jsonl', part)
  Gsm8k(source=tmp_path / 'raw', data_dir=tmp_path / 'made').download_and_prepare()
  found = open_records(tmp_path / 'made')
  assert list(found) == rows[:20] and list(open_records(tmp_path / 'made', 'test')) == rows[20:]
  with pytest.raises(FileNotFoundError, match="split 'dev'; there is"):
    open_records(tmp_path / 'made', 'dev')


@pytest.mark.parametrize(
  'name, content, message',
  [
    ('a.jsonl.gz', b'{}\n[1]\n', r'a\.jsonl\.gz, line 2: list, no JSON object'),
    ('a.jsonl.gz', b'{}\n{\n', r'line 2: no JSON'),
    ('a.json', b'{"a": 1}', 'is no list of JSON objects'),
    ('a.csv', b'a,b\n1,2\n3\n', r'a\.csv, line 3: has not the 2 fields'),
    ('a.csv', b'a,b\n1,2,3\n', r'a\.csv, line 2: has not the 2 fields'),
    ('a.parquet', b'nothing', r'a\.parquet: no parquet file'),
    ('a.arrow', b'nothing', r'a\.arrow: no arrow file'),
    ('a.txt', b'nothing', r'a\.txt: records are read of \.jsonl'),
  ],
)
def test_files_that_are_not_what_they_say(tmp_path, name, content, message):
  (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith('.gz') else content)
  with pytest.raises(ValueError, match=message):
    list(open_records(tmp_path / name))


def test_joined_and_row_groups(tmp_path):
  joined = Joined([ROWS[:3], [], ROWS[3:4], ROWS[4:]])
  assert list(joined) == ROWS and joined[-20] == ROWS[3]
  table = Parquet(write(tmp_path / 'a.parquet'))
  order = np.random.default_rng(0).permutation(23)
  assert [table[int(i)] for i in order] == [ROWS[i] for i in order]


# -- tasks


def exact(completion, answer):
  return float(completion == answer)


def half(completion, metadata):
  return {'reward': 0.5, 'seen': float('id' in metadata)}


def task_of(tmp_path, **more):
  node = dict(
    name='tasks.records', path=str(write(tmp_path / 'a.jsonl')), reward=f'{__name__}.exact',
    prompt='{question}\n', test_fraction=0.3,
  )  # fmt: skip
  return binding.bind(node | more)({})


def test_records_are_prompts(tmp_path):
  task = task_of(tmp_path, demonstration='= {answer}')
  ids = [p.metadata['id'] for p in (*task.train, *task.test)]
  assert sorted(ids) == list(range(23)) and 2 < len(task.test) < 14
  assert [p.prompt_id for p in task.train] == list(range(len(task.train)))
  prompt = task.train[3]
  row = ROWS[prompt.metadata['id']]
  assert prompt.text == f'{row["question"]}\n' and prompt.answer == row['answer']
  assert prompt.metadata == row and task.demonstrate(prompt) == f'= {row["answer"]}'
  assert prompt.messages is None and len(task.train[1:3]) == 2
  doubled = tmp_path / 'doubled.jsonl'
  write(doubled, [*ROWS, *({**row, 'question': row['question'].upper()} for row in ROWS)])
  both = task_of(tmp_path, path=str(doubled))
  assert len(both.test) == 2 * len(task.test)  # the same words are on the same side
  with Scorer(task.reward, workers=1) as scorer:
    texts = [prompt.answer, 'no']
    scores = scorer.score([Completion(prompt, (), text, False) for text in texts])
  assert scores.rewards.tolist() == [1, 0]


def test_records_as_chat_and_with_a_split_of_their_own(tmp_path):
  write(tmp_path / 'test.csv', ROWS[:5])
  task = task_of(
    tmp_path, chat=True, system='Be brief.', test_fraction=0.0, num_train=4, num_test=2,
    test_path=str(tmp_path / 'test.csv'), answer=None, label='mine',
  )  # fmt: skip
  assert len(task.train) == 4 and len(task.test) == 2 and task.name == 'mine'
  system, user = task.train[0].messages
  assert system == {'role': 'system', 'content': 'Be brief.'} and user['role'] == 'user'
  assert task.train[0].answer is None
  with pytest.raises(ValueError, match='has no chat template: give prompts as text'):
    prompt_tokens(byte_level(), task.train[0])  # a base model is told so


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(answer='gold'), r"train record \d+: has no field 'gold'; it has id, question, answer"),
    (dict(prompt='{asked}'), r"has no field 'asked'; it has id, question, answer"),
    (dict(system='x'), 'a system message needs chat=True'),
  ],
)  # fmt: skip
def test_records_without_a_field(tmp_path, changes, message):
  with pytest.raises(ValueError, match=message):
    task_of(tmp_path, **changes).train[0]


# -- mixtures


def mixed(tmp_path, **more):
  write(tmp_path / 'a.jsonl')
  mine = dict(name='tasks.records', path=str(tmp_path / 'a.jsonl'), test_fraction=0.3)
  node = dict(
    name='tasks.mixture',
    sources=dict(
      mine=dict(task=dict(mine, reward=f'{__name__}.half', prompt='{question}'), weight=1.0),
      sums=dict(task=dict(name='tasks.arithmetic', num_train=100, num_test=4), weight=3.0),
    ),
  )
  return binding.bind(node | more)({})


def test_a_mixture_has_the_shares_of_its_weights(tmp_path):
  task = mixed(tmp_path)
  count, held_out = len(task.train), [p.metadata['source'] for p in task.test]
  assert count == 100 + 23 - held_out.count('mine') and held_out.count('sums') == 4
  assert set(held_out[:2]) == {'mine', 'sums'}
  sources = [p.metadata['source'] for p in task.train]
  assert sources.count('sums') / count == pytest.approx(0.75, abs=0.02)
  own = [p.prompt_id for p in task.train if p.metadata['source'] == 'mine']
  assert len(own) > len(set(own))  # the small one comes round again
  assert max(own) < min(p.prompt_id for p in task.train if p.metadata['source'] == 'sums')
  assert [p.prompt_id for p in task.train] == [p.prompt_id for p in mixed(tmp_path).train]
  assert task.demonstrate is None  # one of them has none


def test_each_source_keeps_its_reward(tmp_path):
  task = mixed(tmp_path)
  first = {p.metadata['source']: p for p in reversed(task.test)}
  right = tasks.arithmetic().demonstrate(first['sums'])
  pairs = [(first['sums'], right), (first['sums'], '1'), (first['mine'], 'x')]
  with Scorer(task.reward, workers=1) as scorer:
    scores = scorer.score([Completion(p, (), text, False) for p, text in pairs])
  assert scores.rewards.tolist() == [1, 0, 0.5] and scores.errors == 0
  np.testing.assert_array_equal(scores.components['sums'], [1, 0, np.nan])
  np.testing.assert_array_equal(scores.components['mine'], [np.nan, np.nan, 0.5])
  np.testing.assert_array_equal(scores.components['seen'], [np.nan, np.nan, 1])


def test_what_cannot_be_mixed(tmp_path):
  with pytest.raises(ValueError, match='there are no sources'):
    mixed(tmp_path, sources={})
  with pytest.raises(ValueError, match=r"the weight of 'a' is -1\.0; it is 0 or above"):
    mixed(tmp_path, sources=dict(a=dict(task=dict(name='tasks.sorting'), weight=-1)))
  with pytest.raises(ValueError, match='the weights of a are all 0'):
    mixed(tmp_path, sources=dict(a=dict(task=dict(name='tasks.sorting'), weight=0)))


def test_a_source_without_weight_is_an_unseen_task(tmp_path):
  small = dict(num_train=50, num_test=4)
  sources = dict(
    words=dict(task=dict(name='tasks.sorting', length=3, **small)),
    unseen=dict(task=dict(name='tasks.reverse_text', **small), weight=0),
  )
  task = mixed(tmp_path, sources=sources)
  assert {p.metadata['source'] for p in task.train} == {'words'} and len(task.train) == 50
  assert [p.metadata['source'] for p in task.test] == ['words', 'unseen'] * 4
  own = tasks.sorting(length=3, **small)
  assert task.candidates(task.test[0], 7) == own.candidates(own.test[0], 7)
  assert task.demonstrate(task.test[1]) == task.test[1].text[-2::-1]
  assert mixed(tmp_path).candidates is None


def test_a_curriculum_goes_on_in_a_mixture(tmp_path):
  from rljax.curriculum import uniform

  task = mixed(tmp_path)
  first, second = uniform(task.train, 3), uniform(task.train, 3)
  first.sample(50)
  second.load_state_dict(json.loads(json.dumps(first.state_dict())))
  assert [p.prompt_id for p in first.sample(90)] == [p.prompt_id for p in second.sample(90)]
  assert isinstance(first._stream, grain.MapDataset)


# -- overlap


def test_overlap_counts_shared_words_and_repeats():
  train = ['One two, three four five', 'six seven', 'SIX  seven!', '=', 'a b c d']
  test = ['zero one TWO three', 'six seven', 'six seven eight', '=', 'b d c a', 'nine ten']
  found = data.overlap(train, test, ngram=3)
  assert (found.num_train, found.num_test, found.repeated) == (5, 6, 1)
  assert found.same == 2 and found.shared == 3
  assert found.examples == ('zero one TWO three', 'six seven', '=')
  assert 'of 6 held-out prompts 2 are among 5 training prompts, 3 share 3 words' in str(found)
  nothing = data.overlap(train, ['quite another'], ngram=3)
  assert nothing.shared == nothing.same == 0 and 'e.g.' not in str(nothing)


def test_tasks_of_ours_share_no_prompt():
  for task in (tasks.arithmetic(num_train=3000), tasks.products(num_train=3000)):
    found = data.overlap((p.text for p in task.train), [p.text for p in task.test])
    assert found.shared == 0 and found.num_train == 3000


def test_a_run_says_that_its_splits_overlap(tmp_path):
  from rljax.assembly import World

  prompts = [Prompt(text=text, prompt_id=i) for i, text in enumerate(('a b', 'c d'))]
  node = {'overlap': 13, 'num_prompts': 8}
  config = type('Config', (), {'evaluation': type('Node', (), node)})
  world = World(**dict.fromkeys(f.name for f in dataclasses.fields(World)))
  world.config, world.task = config, Task('t', prompts, prompts[1:], 'x')
  assert world.warnings()[0].startswith('warning: of 1 held-out prompts 1 are among 2 training')
  world.task = Task('t', prompts[:1], prompts[1:], 'x')
  assert world.warnings() == []
  config.evaluation.overlap = 0
  assert world.warnings() == []


def test_a_task_that_is_slow_to_make_delays_no_run_by_much(monkeypatch):
  from rljax import assembly

  made = []

  def make(index):
    made.append(index)
    return Prompt(text='a b', prompt_id=index)

  node = {'overlap': 13, 'num_prompts': 8}
  config = type('Config', (), {'evaluation': type('Node', (), node)})
  world = assembly.World(**dict.fromkeys(f.name for f in dataclasses.fields(assembly.World)))
  train = tasks.procedural.Generated(10_000, make)
  world.config, world.task = config, Task('t', train, [Prompt('c', 0)], 'x')
  clock = iter([0.0, *(1.0 + i for i in range(10_000))])
  monkeypatch.setattr(assembly.time, 'monotonic', lambda: next(clock))
  monkeypatch.setattr(assembly, 'SECONDS_COMPARED', 5.5)
  assert world.warnings() == [] and len(made) == 6
