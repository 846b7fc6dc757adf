"""Constraints that a program checks: each kind holds and fails, tasks are right."""

import json

import pytest

from rljax import tasks
from rljax.prompts import Completion
from rljax.rewards import Scorer, constraint_kinds, constraints
from rljax.tasks.constrained_text import KINDS, canonical
from rljax.tasks.ifeval import PUBLISHED

ENGLISH = 'It is the best of times and it is the worst of times.'
# kind, arguments, a text that follows it, one that does not.
CASES = [
  ('words', dict(number=3), 'one two three', 'one two'),
  ('words', dict(number=3, relation='less than'), 'one two', 'one two three'),
  ('words', dict(number=2, relation='at most'), 'one two', 'one two three'),
  ('sentences', dict(number=2, relation='exactly'), 'One. Two!', 'One, two.'),
  ('paragraphs', dict(number=2), 'a\nb\n\nc', 'a\nb'),
  ('paragraphs', dict(number=2, divider='***'), 'a\n***\nb', 'a\n***\nb\n***\n'),
  ('paragraph_start', dict(number=2, place=2, word='So'), 'a\n\n"so it is', 'so\n\nb'),
  ('keywords', dict(keywords=['red fox', 'dog']), 'A Red  fox, a dog.', 'redfox, a dog'),
  ('forbidden', dict(keywords=['cat']), 'concatenate', 'The CAT!'),
  ('keyword_count', dict(keyword='no', number=2), 'no, No', 'no, none'),
  ('letter_count', dict(letter='e', number=2, relation='less than'), 'Eva', 'Eve'),
  ('capital_words', dict(number=1), 'so BIG', 'so Big 3'),
  ('upper', {}, 'ALL 3!', 'ALL Three'),
  ('lower', {}, 'all 3!', '33'),
  ('no_commas', {}, 'a; b', 'a, b'),
  ('no_digits', {}, 'ab', 'a2'),
  ('starts_with', dict(phrase='Listen'), 'listen to me', 'now listen'),
  ('ends_with', dict(phrase='That is all.'), 'So "that is all."', 'That is all. Bye'),
  ('quoted', {}, '"a b"', '"a" b'),
  ('repeat_prompt', dict(prompt='Say hi.'), 'say hi. Hi!', 'Say hi.'),
  ('postscript', dict(marker='P.P.S'), 'a\nP.P.S. more', 'a P.S. more'),
  ('postscript', {}, 'a\np. s. more', 'a\nP.S.'),
  ('title', {}, '<<A title>>\ntext', '<< >> <title>'),
  ('bullets', dict(number=2), '* a\n- b', '* a\n**b**\n* c\n* d'),
  ('numbered', dict(number=2), '1. a\n2) b', '1. a\n3. b'),
  ('placeholders', dict(number=2), '[a] and [b c]', '[a] and []'),
  ('highlights', dict(number=2), '*a b* and **c**', '*a b* and ** **'),
  ('sections', dict(number=2, mark='SECTION'), 'Section 1\n**section 2**', 'Section 1, section 2'),
  ('json', {}, '```json\n{"a": [1]}\n```', '{"a": 1'),
  ('choice', dict(options=['yes.', 'no.']), 'Yes.', 'yes. no.'),
  ('two_responses', {}, 'a\n******\nb', 'a ****** a'),
  ('language', dict(language='en'), ENGLISH, 'Il est le plus grand et la plus belle.'),
  ('language', dict(language='de'), 'Das ist nicht so gut.', ENGLISH),
  ('language', dict(language='hi'), 'नमस्ते दुनिया', ENGLISH),
]


@pytest.mark.parametrize(('kind', 'arguments', 'good', 'bad'), CASES)
def test_each_kind_holds_and_fails(kind, arguments, good, bad):
  constraint = {'kind': kind, **arguments}
  constraints.validate([constraint], 'here')
  assert constraints.is_followed(good, constraint)
  assert constraints.is_followed(f'\n {good} \n', constraint), 'white space around it'
  assert not constraints.is_followed(bad, constraint)
  assert not constraints.is_followed(' \n', constraint), 'nothing follows nothing'


def test_all_kinds_are_tested():
  assert {case[0] for case in CASES} == set(constraint_kinds.KINDS)
  assert len(constraint_kinds.KINDS) >= 25


def test_strict_and_lenient_accuracy():
  asked = {'constraints': [dict(kind='lower'), dict(kind='words', number=2, relation='at most')]}

  def check(text, **hyper):
    return constraints.follow(text, asked, **hyper)

  assert check('so be') == dict(reward=1, strict=1, lenient=1, strict_share=1, lenient_share=1)
  opened = 'Sure!\nso be'
  assert check(opened)['reward'] == 0 and check(opened, lenient=True)['reward'] == 1
  assert check(opened)['strict_share'] == 0 and check(opened, partial=True)['reward'] == 0
  assert check('so be it', partial=True)['reward'] == 0.5
  assert check('so be it', partial=True, lenient=True)['lenient'] == 0
  assert check('') == dict(reward=0, strict=0, lenient=0, strict_share=0, lenient_share=0)
  both = {'constraints': [dict(kind='upper'), dict(kind='lower')]}
  mixed = constraints.follow('so\nBE', both)
  assert mixed['lenient'] == 1, 'as in the paper, each constraint has a form of its own'


def test_lenient_forms():
  forms = set(constraints.lenient_forms('Sure:\n**a** b\nBye'))
  assert {'**a** b', 'a b', 'Sure:\n**a** b', 'a b\nBye', 'Sure:\na b\nBye'} <= forms
  assert not constraints.is_followed('', dict(kind='no_commas'))
  title = {'constraints': [dict(kind='no_commas')]}
  assert constraints.follow('a, b', title)['lenient'] == 0, 'nothing is left of one line'


@pytest.mark.parametrize(
  ('constraint', 'message'),
  [
    (dict(kind='word', number=3), "here: 'word' is no kind of constraint; did you mean words"),
    (dict(kind='words'), "here: constraint .*missing a required argument: 'number'"),
    (dict(kind='words', number=3, relation='about'), 'its relation is none of at least'),
    (dict(kind='title', number=3), "unexpected keyword argument 'number'"),
  ],
)
def test_constraints_that_are_none(constraint, message):
  with pytest.raises(ValueError, match=message):
    constraints.validate([constraint], 'here')


def test_a_prompt_without_constraints_is_an_error_and_no_zero():
  with pytest.raises(ValueError, match='needs one at least'):
    constraints.follow('a', {})
  with pytest.raises(ValueError, match="language 'xx' cannot be told"):
    constraints.follow('a', {'constraints': [dict(kind='language', language='xx')]})


# -- the task that makes its problems


def test_demonstrations_follow_every_constraint():
  seen = set()
  for most in (1, 3, 6):
    task = tasks.constrained_text(min_constraints=most, max_constraints=most, size=most, num_test=8)
    for prompt in [*task.train[:150], *task.test]:
      asked = prompt.metadata['constraints']
      seen |= {c['kind'] for c in asked}
      found = constraints.follow(task.demonstrate(prompt), prompt.metadata)
      assert len(asked) == most and found['reward'] == 1, (prompt.text, task.demonstrate(prompt))
  assert seen == set(KINDS) and len(seen) >= 20


def test_the_split_holds_and_difficulty_matters():
  task = tasks.constrained_text(num_test=100, kinds=('words', 'title', 'lower', 'keywords'))
  test = {canonical(p) for p in task.test}
  train = {canonical(p) for p in task.train[:2000]}
  assert len(test) == 100 and not test & train
  easy, hard = (
    tasks.constrained_text(min_constraints=n, max_constraints=n, num_test=0) for n in (1, 5)
  )
  plain = 'The garden is quiet today.'

  def solved(task):
    return sum(constraints.follow(plain, p.metadata)['reward'] for p in task.train[:200])

  assert solved(easy) > 20 > solved(hard)
  assert easy.train[7] == tasks.constrained_text(max_constraints=1, num_test=0).train[7]


def test_impossible_settings():
  for wrong in (dict(min_constraints=0), dict(max_constraints=99), dict(kinds=('poem',)),
                dict(size=0)):
    with pytest.raises(ValueError, match='needs 1 ≤ min ≤ max'):
      tasks.constrained_text(**wrong)


def test_its_reward_in_a_worker():
  task = tasks.constrained_text(num_test=4, partial=True)
  given = [
    Completion(prompt=p, tokens=(), text=text, truncated=False)
    for p in task.test
    for text in (task.demonstrate(p), '')
  ]
  with Scorer(task.reward, workers=1) as scorer:
    scores = scorer.score(given)
  assert scores.rewards.tolist() == [1, 0] * 4 and scores.errors == 0
  assert set(scores.components) == {'strict', 'lenient', 'strict_share', 'lenient_share'}


# -- the published format


def record(names, kwargs, **more):
  return {'key': 7, 'prompt': 'Say hi.', 'instruction_id_list': names, 'kwargs': kwargs, **more}


def write(path, records):
  path.write_text(''.join(json.dumps(r) + '\n' for r in records))
  return str(path)


def test_the_published_format(tmp_path):
  path = write(
    tmp_path / 'input.jsonl',
    [
      record(
        ['punctuation:no_comma', 'length_constraints:number_words'],
        [{}, {'relation': 'at least', 'num_words': 3, 'keyword': None}],
      ),
      record(['combination:repeat_prompt'], [{'prompt_to_repeat': 'Say hi.'}], prompt='Again'),
      record(['length_constraints:number_paragraphs'], [{'num_paragraphs': 2}], prompt='Twice'),
    ],
  )
  task = tasks.ifeval(path=path, chat=True)
  assert len(task.test) == 3 and len(task.train) == 0
  assert task.test[0].messages == ({'role': 'user', 'content': 'Say hi.'},)
  given = [('hi all of you', 1), ('hi, you', 0), ('Say hi. Hi', 1), ('a\n\n***\n\nb', 1)]
  for place, (text, expected) in zip((0, 0, 1, 2), given):
    assert constraints.follow(text, task.test[place].metadata)['reward'] == expected
  halves = tasks.ifeval(path=path, test_fraction=0.5)
  assert len(halves.test) + len(halves.train) == 3


def test_every_published_name_has_a_check():
  assert len(PUBLISHED) == 25
  for kind, names, fixed in PUBLISHED.values():
    arguments = dict.fromkeys(names.values(), 1) | fixed
    arguments |= {'relation': 'at least'} if 'relation' in arguments else {}
    constraints.validate([{'kind': kind, **arguments}], 'here')


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [
    (record(['punctuation:no_coma'], [{}]), "record 2: unknown instruction 'punctuation:no_coma';"),
    (record(['punctuation:no_comma'], [{'n': 1}]), 'takes nothing; unknown: n'),
    (record(['keywords:existence'], [{}]), 'takes keywords; missing: keywords'),
    (record(['punctuation:no_comma'], []), '1 instructions, 0 kwargs'),
    ({'prompt': 'a'}, "record 2: has no 'instruction_id_list'"),
  ],
)
def test_records_that_cannot_be_read(tmp_path, wrong, message):
  path = write(tmp_path / 'input.jsonl', [record(['startend:quotation'], [{}]), wrong])
  with pytest.raises(ValueError, match=message):
    tasks.ifeval(path=path)


def test_a_missing_file(tmp_path):
  with pytest.raises(FileNotFoundError, match='put the file of prompts'):
    tasks.ifeval(path=str(tmp_path / 'nothing.jsonl'))
