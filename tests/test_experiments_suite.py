"""The suite's tasks: rewards, demonstrations and splits are what they say, and configs bind."""

import collections
import dataclasses
import importlib
import pathlib
import sys

import pytest

from rljax import config
from rljax.rewards import Scorer

EXPERIMENTS = pathlib.Path(__file__).resolve().parent.parent / 'experiments'
sys.path.append(str(EXPERIMENTS))
CONFIGS = EXPERIMENTS / 'suite' / 'configs'

NAMES = ('split', 'ops', 'pad')
regimes, split, ops, pad = (
  importlib.import_module(f'suite.{name}') for name in ('regimes', *NAMES)
)


def load(name):
  return config.load(str(CONFIGS / f'{name}.py'))


@pytest.mark.parametrize('name', NAMES)
def test_a_config_binds_and_its_samples_fit(name):
  resolved = config.resolve(load(name))
  make = getattr(importlib.import_module(f'suite.{name}'), name)
  task = make(**{k: v for k, v in resolved.task.items() if k != 'name'})
  alphabet = set(resolved.tokenizer.alphabet)
  Scorer(task.reward, workers=0).close()
  for prompt in [*task.train[:300], *task.test[:300]]:
    shown = task.demonstrate(prompt)
    assert set(prompt.text + shown) <= alphabet and task.well_formed(shown)
    assert shown == task.demonstrate(prompt)
    assert len(prompt.text) <= resolved.rl.max_prompt
    assert len(shown) < resolved.rl.max_new_tokens
    assert len(prompt.text + shown) < resolved.sft.max_length
  longest = resolved.rl.max_prompt + resolved.rl.max_new_tokens
  assert resolved.rl.row_length >= longest and resolved.sft.row_length >= resolved.sft.max_length
  assert [p.prompt_id for p in task.test] == list(range(len(task.test)))
  # SFT looks at prompts behind those of the evaluation.
  assert len(task.test) >= max(1024, resolved.evaluation.num_prompts) + 256


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('regime', regimes.REGIMES)
def test_a_regime_changes_what_it_is_about(name, regime):
  plain, changed = load(name), regimes.regime(load(name), regime)
  assert changed.rl.rows <= 512 // changed.rl.minibatches
  config.resolve(changed)
  others = {'S4': ('max_staleness',), 'X': ('rollout',), 'O': ('optimizer',)}.get(regime, ())
  for key in others:
    assert changed.rl[key] != plain.rl[key]
  for key in ('minibatches', 'epochs', 'rows', *others):
    changed.rl[key] = plain.rl[key]
  assert changed == plain


def test_a_scan_changes_nothing_but_the_rate():
  scan = importlib.import_module('suite.scan')
  low, high = (scan.arm_of('ops', 'O', rate, []).settings for rate in (1e-4, 3e-4))
  assert high['rl']['optimizer']['learning_rate'] == pytest.approx(1e-4)
  assert low['rl']['optimizer']['learning_rate'] == pytest.approx(1e-4 / 3)
  low['rl']['optimizer']['learning_rate'] = high['rl']['optimizer']['learning_rate']
  assert low == high and high['rl']['iterations'] < load('ops').rl.iterations


def test_an_unknown_regime():
  with pytest.raises(ValueError, match="regime 'Q': there are P, O, S4, X"):
    regimes.regime(load('split'), 'Q')
  odd = load('split')
  odd.rl.update(prompts=3, samples=5)
  with pytest.raises(ValueError, match='15 samples are not divisible by 8'):
    regimes.regime(odd, 'O')


# -- split


@pytest.mark.parametrize(
  ('completion', 'right'),
  [
    ('41+32', 1), ('00+73', 1), ('34+39', 1), ('41+33', 0), ('1+72', 0), ('041+32', 0),
    ('41+32+', 0), ('41-32', 0), ('', 0), ('73', 0), ('٤١+٣٢', 0), (' 1+72', 0), ('+41+32', 0),
  ],
)  # fmt: skip
def test_split_reward(completion, right):
  assert split.reward(completion, 73)['reward'] == right
  assert split.reward(completion, 73)['carries'] == (completion == '34+39')


def test_split_demonstrations_are_uniform_over_right_answers():
  task = split.split(low=100, high=100, num_train=9900)
  counts = collections.Counter(task.demonstrate(prompt) for prompt in task.train)
  assert all(split.reward(shown, 100)['reward'] for shown in counts)
  assert len(counts) == 99  # 01+99 … 99+01
  assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 160  # 98 degrees of freedom


def test_split_tests_all_numbers_alike():
  task = split.split()
  counts = collections.Counter(prompt.answer for prompt in task.test[: 4 * 159])
  assert set(counts) == set(range(20, 179)) and set(counts.values()) == {4}
  assert {prompt.answer for prompt in task.train[:4000]} == set(counts)
  first = [prompt.answer for prompt in task.test[:40]]
  assert 80 < sum(first) / 40 < 118, 'the first ones are no corner of the range'
  with pytest.raises(ValueError, match='low=5, high=199'):
    split.split(low=5, high=199)


# -- ops


def test_ops_rules_agree_in_one_place_at_most():
  for letter, places in ops.RULES.items():
    assert len(set(places)) == 3
    for other in set(ops.RULES) - {letter}:
      assert sum(a == b for a, b in zip(places, ops.RULES[other])) <= 1, (letter, other)


def test_ops_reward():
  prompt = ops.prompt_of('b', '4072', 0)
  assert (prompt.text, prompt.answer, prompt.metadata['trap']) == ('4072b', '072', '724')
  for completion, right in (('072', 1), ('72', 0), ('0720', 0), ('724', 0), ('', 0), ('072b', 0)):
    found = ops.reward(completion, prompt.answer, prompt.metadata)
    assert found == {'reward': right, 'category_b': right, 'trap': completion == '724'}


@pytest.mark.parametrize('wrong', ops.WRONG)
def test_ops_demonstrations_are_wrong_in_the_share_of_their_letter(wrong):
  shares = (0.3, 0.9, 1.0, 0.0)
  task = ops.ops(shares=shares, wrong=wrong)
  shown = collections.defaultdict(list)
  for prompt in task.train[:8000]:
    found = ops.reward(task.demonstrate(prompt), prompt.answer, prompt.metadata)
    shown[prompt.metadata['category']].append((found['reward'], found['trap']))
  for letter, share in zip('abcd', shares, strict=True):
    rights, traps = zip(*shown[letter])
    assert len(rights) == 2000 and sum(rights) / 2000 == pytest.approx(1 - share, abs=0.035)
    expected = share * {'trap': 1, 'digits': 1 / 23, 'spread': 1 / 999}[wrong]
    assert sum(traps) / 2000 == pytest.approx(expected, abs=0.035)
  prompt = next(p for p in task.train if p.metadata['category'] == 'c')
  again = (dataclasses.replace(prompt, prompt_id=i) for i in range(2000))
  wrongs = {task.demonstrate(p) for p in again}
  assert prompt.answer not in wrongs
  most = {'trap': 1, 'digits': 23, 'spread': 999}[wrong]
  assert 0.8 * most < len(wrongs) <= most, 'all wrong answers come up'


def test_ops_refuses_what_cannot_be():
  for given in (dict(shares=()), dict(shares=(0.5,) * 6), dict(shares=(1.5,)), dict(wrong='few')):
    with pytest.raises(ValueError, match='needs 1 to 5 fractions'):
      ops.ops(**given)


def test_ops_holds_out_digits_for_all_letters():
  task = ops.ops()
  held_out = {prompt.text[:4] for prompt in task.test}
  assert not held_out & {prompt.text[:4] for prompt in task.train[:20_000]}
  for prompts in (task.test, task.train[:1024]):
    counts = collections.Counter(prompt.metadata['category'] for prompt in prompts)
    assert set(counts) == set('abcd') and len(set(counts.values())) == 1
  assert len({prompt.text for prompt in task.test}) == len(task.test)


# -- pad


@pytest.mark.parametrize(
  ('completion', 'right', 'filler'),
  [
    ('085', 1, 0), ('...085', 1, 3), ('.' * 19 + '085', 1, 19), ('..085.', 0, 2), ('.0.85', 0, 1),
    ('85', 0, 0), ('...', 0, 3), ('', 0, 0), ('..086', 0, 2), ('085=', 0, 0),
  ],
)  # fmt: skip
def test_pad_reward(completion, right, filler):
  part = 'filler_right' if right else 'filler_wrong'
  assert pad.reward(completion, 85) == {'reward': right, part: filler}
  assert pad.well_formed('..086') and not pad.well_formed('..086.') and not pad.well_formed('86')


@pytest.mark.parametrize('wrong', [0.0, 0.5])
def test_pad_demonstrations(wrong):
  task = pad.pad(wrong=wrong)
  found = [pad.reward(task.demonstrate(p), p.answer) for p in task.train[:4500]]
  assert sum(f['reward'] for f in found) / 4500 == pytest.approx(1 - wrong, abs=0.03)
  counts = collections.Counter(f.get('filler_right', f.get('filler_wrong')) for f in found)
  assert set(counts) == set(range(9)) and sum((n - 500) ** 2 / 500 for n in counts.values()) < 30
  with pytest.raises(ValueError, match='a fraction'):
    pad.pad(wrong=1.5)


def test_pad_holds_out_both_orders():
  task = pad.pad()

  def pair(prompt):
    return tuple(sorted(prompt.text[:-1].split('+')))

  assert not {pair(p) for p in task.test} & {pair(p) for p in task.train[:30_000]}
  assert len({p.text for p in task.test}) == len(task.test)
