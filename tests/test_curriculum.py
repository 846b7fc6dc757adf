"""Which prompts come next, and that a resumed run goes on as the uninterrupted one."""

import functools
import json

import numpy as np
import pytest

from rljax.curriculum import domains, fixed, most_varied, sets, uniform
from rljax.prompts import Prompt

PROMPTS = [Prompt(text=str(i), prompt_id=i) for i in range(20)]


def ids(prompts):
  return [p.prompt_id for p in prompts]


def test_epochs_without_replacement():
  drawn = ids(uniform(PROMPTS, seed=1).sample(60))
  epochs = [drawn[:20], drawn[20:40], drawn[40:]]
  assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) == 3, 'each epoch has another order'
  assert epochs[0] != list(range(20))


def test_seeds():
  assert ids(uniform(PROMPTS, seed=1).sample(20)) == ids(uniform(PROMPTS, seed=1).sample(20))
  assert ids(uniform(PROMPTS, seed=1).sample(20)) != ids(uniform(PROMPTS, seed=2).sample(20))


@pytest.mark.parametrize('before', [0, 7, 20, 33])
def test_resume_is_exact(before):
  first = uniform(PROMPTS, seed=3)
  first.sample(before)
  state = json.loads(json.dumps(first.state_dict()))
  first.update([1], [0.5])
  expected = ids(first.sample(31))
  second = uniform(PROMPTS, seed=3)
  second.sample(5)
  second.load_state_dict(state)
  assert ids(second.sample(10)) + ids(second.sample(21)) == expected


def test_a_state_of_another_run_is_refused():
  state = uniform(PROMPTS, seed=3).state_dict()
  with pytest.raises(ValueError, match='saved seed is 3, this run has 4'):
    uniform(PROMPTS, seed=4).load_state_dict(state)
  with pytest.raises(ValueError, match='saved num_prompts is 20, this run has 19'):
    uniform(PROMPTS[:19], seed=3).load_state_dict(state)


def test_no_prompts():
  with pytest.raises(ValueError, match='no prompts'):
    uniform([])


# -- fixed, and domains


def labelled(numbers):
  """Prompts of domains, by how many there are of each, mixed."""
  names = [name for name, number in numbers.items() for _ in range(number)]
  return [
    Prompt(text=f'{name} {i}', prompt_id=i, metadata={'source': name})
    for i, name in enumerate(names)
  ]


def sources(prompts):
  return [p.metadata['source'] for p in prompts]


def test_a_fixed_prompt_fills_every_batch():
  assert ids(fixed(PROMPTS, places=(7,)).sample(5)) == [7] * 5
  assert sorted(ids(fixed(PROMPTS, places=(7, 2)).sample(4))) == [2, 2, 7, 7]
  for places in ((), (20,), (-1,)):
    with pytest.raises(ValueError, match='needs some of 0 … 19'):
      fixed(PROMPTS, places=places)


def test_the_most_varied_prompts_come_first():
  accuracy = np.array([[1, 0, 0.5, 0], [1, 1, 0.5, 0.5], [1, 0, 0.4, 0]])
  assert most_varied(accuracy).tolist() == [1, 3, 2, 0]
  with pytest.raises(ValueError, match=r'\(3,\)'):
    most_varied(accuracy[:, 0])


def test_domains_come_in_their_shares_and_others_never():
  prompts = labelled({'a': 50, 'b': 5, 'c': 20})
  some = domains(prompts, shares={'a': 1, 'b': 3})
  drawn = some.sample(40)
  assert sources(drawn[:4]).count('b') == 3 and sources(drawn).count('b') == 30
  own = [p.prompt_id for p in drawn if p.metadata['source'] == 'b']
  assert sorted(own) == sorted([50, 51, 52, 53, 54] * 6), 'epochs within the domain'
  assert sources(domains(prompts, shares={'c': 1}).sample(9)) == ['c'] * 9


def test_adaptive_domains_hold_their_shares_in_what_is_kept():
  prompts = labelled({'easy': 40, 'good': 40})
  some, kept = domains(prompts, shares={'easy': 1, 'good': 1}, adaptive=True), []
  for iteration in range(40):
    drawn = some.sample(16)
    number, means = 0, []
    for prompt in drawn:  # of the easy ones every fourth teaches something
      number += (is_easy := prompt.metadata['source'] == 'easy')
      means.append(1.0 if is_easy and number % 4 else 0.5)
    some.update(ids(drawn), means)
    kept += [s for s, m in zip(sources(drawn), means) if m < 1 and iteration >= 20]
  assert some.probabilities()['easy'] == pytest.approx(0.8, abs=0.03)
  assert kept.count('easy') / len(kept) == pytest.approx(0.5, abs=0.05)
  plain = domains(prompts, shares={'easy': 1, 'good': 1})
  plain.update(ids(plain.sample(8)), [1.0] * 8)
  assert plain.probabilities() == {'easy': 0.5, 'good': 0.5}


def test_what_is_not_heard_of_is_not_kept():
  some = domains(labelled({'a': 9, 'b': 9}), shares={'a': 1, 'b': 1}, adaptive=True, memory=0.0)
  told = [p for p in some.sample(8) if p.metadata['source'] == 'a']
  some.update(ids(told), [0.5] * 4)
  assert some.probabilities()['b'] == pytest.approx(5 / 6)


def test_domains_go_on_where_they_were():
  prompts = labelled({'a': 9, 'b': 5})
  make = functools.partial(domains, prompts, 3, shares={'a': 2, 'b': 1}, adaptive=True)
  first, second = make(), make()
  first.update(ids(first.sample(7)), [0.5, 1.0, 0.5, 0.0, 1.0, 0.5, 1.0])
  waiting = first.sample(4)
  second.load_state_dict(json.loads(json.dumps(first.state_dict())))
  for each in (first, second):
    each.update(ids(waiting), [0.5, 1.0, 0.5, 1.0])
  assert ids(first.sample(30)) == ids(second.sample(30))
  with pytest.raises(ValueError, match='the saved shares is'):
    domains(prompts, 3, shares={'a': 1}).load_state_dict(first.state_dict())


def test_domains_that_cannot_be():
  with pytest.raises(ValueError, match='no prompt has metadata'):
    domains(labelled({'a': 3}), shares={'z': 1}).sample(1)
  for wrong in ({}, {'a': 0}):
    with pytest.raises(ValueError, match='shares above 0'):
      domains(labelled({'a': 3}), shares=wrong)
  with pytest.raises(ValueError, match="shares='a'; needs a dict"):
    domains(labelled({'a': 3}), shares='a')
  with pytest.raises(ValueError, match='memory=1'):
    domains(labelled({'a': 3}), shares={'a': 1}, memory=1)


# -- sets


def test_sets_are_drawn_whole():
  drawn = ids(sets(PROMPTS, seed=1, size=5).sample(40))
  runs = [tuple(drawn[i : i + 5]) for i in range(0, 40, 5)]
  assert all(run == tuple(range(run[0], run[0] + 5)) and run[0] % 5 == 0 for run in runs)
  assert sorted(runs[:4]) == sorted(runs[4:]) and runs[:4] != sorted(runs[:4])
  first = sets(PROMPTS, seed=1, size=5)
  first.sample(15)
  second = sets(PROMPTS, seed=1, size=5)
  second.load_state_dict(json.loads(json.dumps(first.state_dict())))
  assert ids(second.sample(25)) == drawn[15:]


def test_what_is_no_set():
  with pytest.raises(ValueError, match='size=3 with 20 prompts'):
    sets(PROMPTS, size=3)
  with pytest.raises(ValueError, match='7 prompts are asked for'):
    sets(PROMPTS, size=5).sample(7)
  with pytest.raises(ValueError, match='the saved size is 5, this run has 4'):
    sets(PROMPTS, size=4).load_state_dict(sets(PROMPTS, size=5).state_dict())
