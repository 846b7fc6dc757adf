"""Which prompts come next, and that a resumed run goes on as the uninterrupted one."""

import json

import pytest

from rljax.curriculum import uniform
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
