"""Steps of completions, scored one by one."""

import types

import numpy as np
import pytest

from rljax.prompts import Completion, Prompt
from rljax.rollouts import scored_steps as module
from rljax.rollouts.single_turn import Experience
from rljax.tasks import words

PIECES = {2: 'a', 3: 'b', 4: 'cd', 5: 'efg'}
TOKENIZER = types.SimpleNamespace(decode=lambda ids: ''.join(PIECES.get(i, '') for i in ids))


def run(monkeypatch, completions, scores, environment=None):
  """Extras of completions given as token ids, each after a prompt of two tokens; row 0 unused."""
  num, length = len(completions) + 1, 10
  rollout = types.SimpleNamespace(
    tokens=np.zeros((num, length), np.int32),
    group_ids=np.array([-1] + [0] * (num - 1), np.int32),
    prompt_length=np.full(num, 2, np.int32),
  )
  prompt = Prompt(text='x', prompt_id=0, answer='abc')
  made = [
    Completion(prompt=prompt, tokens=ids, text=TOKENIZER.decode(ids), truncated=False)
    for ids in completions
  ]
  monkeypatch.setattr(module, 'single_turn', lambda *_: Experience(rollout, made, None))
  generate = types.SimpleNamespace(tokenizer=TOKENIZER, environment=environment)
  return module.step_scored(None, [prompt], [0], generate, None, scores=scores).extras


def test_prm_scores_stand_on_the_tokens_that_end_their_steps(monkeypatch):
  def judge(text, answer):
    cut = {'abcd': ['ab', 'cd'], 'aefgb': ['aef', 'gb'], 'efg': ['e', 'fg'], '': []}[text]
    return [(step, 10.0 + i) for i, step in enumerate(cut)]

  # Two tokens and one; a step that ends inside a token; two steps in one token; nothing said.
  found = run(monkeypatch, [(2, 3, 4, 1), (2, 5, 3, 1), (5, 1), (1,)], judge)
  steps, values = found['step_ids'][:, 2:6], found['token_rewards'][:, 2:6]
  assert steps.tolist() == [[0] * 4, [0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 0], [0] * 4]
  assert values.tolist() == [[0] * 4, [0, 10, 11, 0], [0, 10, 11, 0], [21, 0, 0, 0], [0] * 4]
  assert not found['token_rewards'][:, :2].any() and found['step_ids'].dtype == np.int32


def test_letters_are_steps(monkeypatch):
  found = run(monkeypatch, [(2, 2, 4, 1)], 'tasks.words.step_scores')
  assert words.step_scores('aacd', 'abc') == [('a', 1), ('a', 0), ('c', 1), ('d', 0)]
  assert found['token_rewards'][1].tolist() == [0, 0, 1, 0, 1, 0, 0, 0, 0, 0]


def test_steps_that_are_not_the_completion(monkeypatch):
  with pytest.raises(ValueError, match="are not 'ab', cut"):
    run(monkeypatch, [(2, 3)], lambda text, answer: [('a', 1.0)])
  with pytest.raises(ValueError, match='leave it out'):
    run(monkeypatch, [(2,)], words.step_scores, environment=object())
