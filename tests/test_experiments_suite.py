"""The suite's tasks: rewards, demonstrations and splits are what they say, and configs bind."""

import collections
import importlib
import pathlib
import sys

import pytest

from rljax import config
from rljax.rewards import Scorer

EXPERIMENTS = pathlib.Path(__file__).resolve().parent.parent / 'experiments'
sys.path.append(str(EXPERIMENTS))
CONFIGS = EXPERIMENTS / 'suite' / 'configs'

regimes, split = (importlib.import_module(f'suite.{name}') for name in ('regimes', 'split'))
NAMES = ('split',)


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
  assert len(task.test) >= max(1024, resolved.evaluation.num_prompts + 256)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('regime', regimes.REGIMES)
def test_a_regime_changes_the_steps_alone(name, regime):
  plain, changed = load(name), regimes.regime(load(name), regime)
  assert changed.rl.rows <= 512 // changed.rl.minibatches
  config.resolve(changed)
  for key in ('minibatches', 'epochs', 'rows'):
    changed.rl[key] = plain.rl[key]
  assert changed == plain


def test_an_unknown_regime():
  with pytest.raises(ValueError, match="regime 'Q': there are P, O"):
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
