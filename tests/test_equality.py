"""Equal answers: a table of hard pairs, the algebra behind it, the symbolic path in processes."""

import importlib.util
import random
import signal
import threading

import numpy as np
import pytest
from answer_pairs import HOSTILE, PAIRS

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer
from rljax.rewards.grading import expressions, golds, notation, symbolic, terms
from rljax.rewards.grading.equality import compare
from rljax.rewards.short_answer import short_answer

needs_extra = pytest.mark.skipif(
  importlib.util.find_spec('math_verify') is None,
  reason="needs math-verify: pip install '.[tasks]'",
)
SLOW = [pair for pair in PAIRS if pair[3].startswith('symbolic')]
FAST = [pair for pair in PAIRS if pair not in SLOW]


def faults(pairs, **how):
  """(false accepts, false rejects, other reasons) of the pairs."""
  accepts, rejects, reasons = [], [], []
  for gold, answer, equal, reason, _, _ in pairs:
    verdict = compare(gold, answer, **how)
    if verdict.equal != equal:
      (accepts if verdict.equal else rejects).append((gold, answer[:80], verdict.reason))
    elif not verdict.reason.startswith(reason) or verdict.slow != reason.startswith('symbolic'):
      reasons.append((gold, answer[:80], verdict))
  return accepts, rejects, reasons


def test_the_table_is_large():
  assert len(PAIRS) >= 200 and sum(not pair[2] for pair in PAIRS) >= 80
  assert len({(str(gold), answer) for gold, answer, *_ in PAIRS}) == len(PAIRS)
  assert len(SLOW) < len(PAIRS) / 10, 'the exact paths decide nearly all'


def test_exact_paths():
  assert faults(FAST, use_symbolic=False) == ([], [], [])


@needs_extra
def test_symbolic_path():
  assert faults(SLOW) == ([], [], [])
  verdict = compare('\\ln 2, 5', '5, \\ln 3')
  assert verdict == (False, '\\ln 2 is missing', True, False)


@needs_extra
def test_where_math_verify_says_something_else():
  import math_verify

  wrong = []
  for pair in PAIRS:
    if pair in HOSTILE:
      continue
    gold, answer, equal, _, listed, why = pair
    text = gold['value'] if isinstance(gold, dict) else gold
    read = [math_verify.parse(f'${each}$', parsing_timeout=None) for each in (text, answer)]
    says = math_verify.verify(*read, timeout_seconds=None)
    if says != (equal if listed is None else listed):
      wrong.append((text, answer, says, why))
  assert not wrong


def test_a_gold_answer_is_itself():
  for gold, *_ in PAIRS:
    text = gold['value'] if isinstance(gold, dict) else gold
    assert compare(gold, text, use_symbolic=False).equal, gold


def test_a_precision_is_absolute():
  gold = {'value': '1000', 'precision': 0.01}
  assert compare(gold, '1000.009').equal and not compare(gold, '1000.011').equal


def test_an_undecided_answer_is_wrong_and_says_so():
  verdict = compare('\\cot x', '\\frac{\\cos x}{\\sin x}', use_symbolic=False)
  assert verdict == (False, 'undecided without the symbolic path', False, True)


@pytest.mark.parametrize(
  ('answer', 'message'),
  [
    ('', 'needs a text'),
    (None, 'needs a text'),
    ({'kind': 'number'}, 'needs a text'),
    ({'value': '5', 'unit': 'm'}, 'needs a text'),
    ({'value': '5', 'kind': 'numbre'}, "kind 'numbre'; known are"),
    ({'value': 'many', 'kind': 'number'}, "'many' is said to be a number, and reads as text"),
    ({'value': 'Paris', 'kind': 'choice'}, "'Paris' is said to be a choice"),
  ],
)
def test_a_gold_answer_that_is_none(answer, message):
  with pytest.raises(ValueError, match=message):
    compare(answer, '5')


@pytest.mark.parametrize(
  ('text', 'kind'),
  [
    ('5', 'number'), ('5 cm', 'number'), ('2\\pi', 'expression'), ('(1, 2)', 'sequence'),
    ('\\{1\\}', 'set'), ('1, 2', 'list'), ('(0,1)\\cup(2,3)', 'union'), ('52_8', 'based'),
    ('\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}', 'matrix'), ('3:30', 'clock'), ('(C)', 'choice'),
    ('Evelyn', 'text'), ('x + y = 1', 'equation'), ('\\int x', 'formula'), (27.0, 'number'),
  ],
)  # fmt: skip
def test_kinds_are_read(text, kind):
  assert golds.kind_of(text) == kind


PIECES = (
  'a ab x 1 12 . , ( ) [ ] { } \\{ \\} \\frac \\frac{1}{2} \\sqrt \\sqrt{2} ^ ** * / - + = \\pm '
  '% \\cup $ \\$ \\text{} \\text{a} ° and or : p.m. \\le < x_1 i ! \\binom 5! e 1e9 \\pi \\sin '
  'word & \\\\ | « » \\begin{pmatrix} \\end{pmatrix} 777777777777 x^{64} (x+1)^{60} \\infty 000 '
  '\\overline ¶ \' USD'
).split()


def test_random_strings_have_a_verdict():
  rng = random.Random(0)
  golds_ = [gold for gold, *_ in PAIRS[::9]]
  for _ in range(3000):
    text = rng.choice(('', ' ')).join(rng.choices(PIECES, k=rng.randrange(1, 40)))
    if rng.random() < 0.3:
      text = (text * 99)[: rng.randrange(1, 400)]
    gold = rng.choice(golds_)
    verdict = compare(gold, text, use_symbolic=False)
    assert verdict.reason and not verdict.slow
    assert not (verdict.equal and verdict.undecided)


# -- the algebra


def quotient(text):
  return expressions.read(notation.plain(text))


def random_formula(rng, depth):
  """(LaTeX, its value at x = 0.7, y = -1.3), of sums, products, quotients, roots and powers."""
  if depth == 0:
    number = rng.randrange(1, 13)
    leaves = [(str(number), number), (f'\\sqrt{{{number}}}', number**0.5), ('x', 0.7), ('y', -1.3)]
    return rng.choice(leaves)
  (a, u), (b, v) = (random_formula(rng, depth - 1) for _ in range(2))
  return rng.choice(
    [
      (f'({a}+{b})', u + v),
      (f'({a}-{b})', u - v),
      (f'{a}\\cdot {b}', u * v),
      (f'\\frac{{{a}}}{{{b}}}' if abs(v) > 1e-6 else a, u / v if abs(v) > 1e-6 else u),
      (f'\\left({a}\\right)^2', u * u),
    ]
  )


def test_forms_are_equal_exactly_if_their_values_are():
  # Formulas of one value are made by rearranging; those of two values differ at a point.
  rng = random.Random(0)
  same = 0
  for i in range(200):
    (a, u), (b, v) = (random_formula(rng, i % 3) for _ in range(2))
    try:
      one, other = quotient(a), quotient(b)
      assert terms.equal(quotient(f'{a}+{b}'), quotient(f'{b}+{a}'))
      assert terms.equal(quotient(f'({a})({b})'), quotient(f'({b})({a})'))
      assert terms.equal(quotient(f'(({a})+({b}))^2'), quotient(f'({a})^2+2({a})({b})+({b})^2'))
    except terms.Refused:
      continue
    if abs(u - v) > 1e-9:
      assert not terms.equal(one, other), (a, b)
    same += terms.equal(one, other)
    if not one.symbols:
      assert terms.approximate(one) == pytest.approx(u, rel=1e-9, abs=1e-9), a
  assert same > 5, 'some are equal by chance'


@pytest.mark.parametrize(
  ('text', 'error'),
  [
    ('9^9^9', terms.TooLarge),
    ('9' * 400, terms.TooLarge),
    ('(x+y+z)^{60}', terms.TooLarge),
    ('1/(2-2)', terms.Undefined),
    ('', terms.Unreadable),
    ('2 +', terms.Unreadable),
    ('2 3', terms.Unreadable),
    ('(2', terms.Unreadable),
    ('2)', terms.Unreadable),
    ('hello', terms.Unreadable),
    ('\\int x', terms.Unreadable),
  ],
)
def test_what_the_algebra_refuses(text, error):
  with pytest.raises(error):
    quotient(text)


# -- the symbolic path


def completions(texts, answer):
  prompt = Prompt(text='p', prompt_id=0, answer=answer)
  return [
    Completion(prompt=prompt, tokens=(), text=t, truncated=False, sample_index=i)
    for i, t in enumerate(texts)
  ]


IDENTITY = '\\frac{\\cos x}{\\sin x}'
TEXTS = [f'\\boxed{{{IDENTITY}}}', '\\boxed{\\tan x}', '\\boxed{\\cot(x)}', '\\boxed{9**9**9}']


@needs_extra
@pytest.mark.parametrize('workers', [0, 1])
def test_in_reward_workers(workers):
  with Scorer('rewards.short_answer', workers=workers) as scorer:
    scores = scorer.score(completions(TEXTS, '\\cot x'))
    again = scorer.score(completions(TEXTS[:1], '\\cot x'))
  assert scores.errors == scores.timeouts == 0 and scores.messages == {}
  assert scores.rewards.tolist() == [1, 0, 1, 0] and again.rewards.tolist() == [1]
  assert scores.components['slow_path'].tolist() == [1, 1, 0, 0]


@needs_extra
def test_the_timers_of_the_process_are_left_alone():
  def late(*_):
    raise AssertionError('the alarm')

  before = signal.signal(signal.SIGALRM, late)
  signal.setitimer(signal.ITIMER_REAL, 500)
  try:
    assert symbolic.equal('\\cot x', IDENTITY) == (True, 'symbolic: equal')
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 0, 'still armed'
    assert signal.getsignal(signal.SIGALRM) is late
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@needs_extra
def test_a_thread_is_refused_with_the_way_out():
  found = []

  def ask():
    try:
      found.append(compare('\\cot x', IDENTITY))
    except RuntimeError as error:
      found.append(str(error))

  thread = threading.Thread(target=ask)
  thread.start()
  thread.join()
  assert len(found) == 1 and 'use Scorer with workers ≥ 1' in found[0]


@needs_extra
def test_over_its_time_the_symbolic_path_is_undecided(monkeypatch):
  symbolic.equal('\\cot x', IDENTITY)  # imported, which is not counted
  monkeypatch.setattr(symbolic, 'CPU_SECONDS', 1e-4)
  verdict = compare('\\cot 3x', '\\frac{\\cos 3x}{\\sin 3x}')
  assert verdict == (False, 'symbolic: over its time', True, True)
  functions = ', '.join(f'\\ln {n}' for n in range(2, 20))
  verdict = compare(functions, functions.replace('2', '3'))
  assert verdict == (False, 'elements undecided', True, True)


@pytest.mark.parametrize(
  'text',
  [
    '\\ln 9^{9^{9}}', '\\sin(2**3**4)', '\\sin(10^{12345})', '\\ln(12345!)', '\\sin x' * 100,
    '\\sum_{k=1}^{100} k', '\\ln ' + '7' * 41,
  ],
)  # fmt: skip
def test_costly_formulas_never_reach_it(text, monkeypatch):
  monkeypatch.setattr(symbolic, 'equal', lambda *_: pytest.fail('asked'))
  verdict = compare('\\cot x', text)
  assert not verdict.equal and not verdict.slow


def test_without_the_extra(monkeypatch):
  monkeypatch.setattr(symbolic, 'available', lambda: False)
  with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[tasks\]'"):
    compare('\\cot x', IDENTITY)
  given = completions([TEXTS[0], TEXTS[2]], '\\cot x')
  with Scorer('rewards.short_answer', workers=0) as scorer:
    scores = scorer.score(given)
  assert scores.errors == 1 and "'.[tasks]'" in next(iter(scores.messages))
  np.testing.assert_array_equal(scores.rewards, np.float32([np.nan, 1]))
  with Scorer({'name': 'rewards.short_answer', 'symbolic': False}, workers=0) as scorer:
    scores = scorer.score(given)
  assert scores.rewards.tolist() == [0, 1] and scores.components['undecided'].tolist() == [1, 0]


# -- the reward


@pytest.mark.parametrize(
  ('completion', 'answer', 'right'),
  [
    ('so \\boxed{42}', '42', 'accuracy lenient formatted'),
    ('The answer is 42 apples.', '42', 'accuracy lenient formatted'),
    ('The answer is about 42', '42', 'lenient formatted'),
    ('The answer is 42, since 6*7=42', '42', 'lenient formatted'),
    ('so 42', '42', 'lenient'),
    ('42, or 43', '42', ''),
    ('42\n#### 43', '42', 'formatted'),
    ('#### 42\nor 43', '42', 'accuracy lenient formatted'),
    ('', '42', ''),
    ('\\boxed{}', '42', ''),
    ('I say (B).', {'value': 'B', 'kind': 'choice'}, 'lenient'),
    ('so $2\\pi$ it is', '2\\pi', 'lenient'),
    ('It is\nEvelyn.', 'Evelyn', 'lenient'),
  ],
)
def test_short_answer(completion, answer, right):
  found = short_answer(completion, answer, symbolic=False)
  names = ('accuracy', 'lenient', 'formatted', 'slow_path', 'undecided')
  assert found == {'reward': found['accuracy'], **{n: float(n in right.split()) for n in names}}


def test_lenient_credit():
  assert short_answer('so 42', '42', lenient_credit=0.5)['reward'] == 0.5
  assert short_answer('#### 42', '42', lenient_credit=0.5)['reward'] == 1
  assert short_answer('so 41', '42', lenient_credit=0.5)['reward'] == 0
