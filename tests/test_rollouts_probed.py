"""Completions that are asked for their answer behind each step (SPAE)."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from rljax import config
from rljax.binding import bind
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts import probes as module
from rljax.rollouts.single_turn import Experience

CHARACTERS = {2: '1', 3: '=', 4: '2', 5: '3=='}
TOKENIZER = types.SimpleNamespace(
  decode=lambda ids: ''.join(CHARACTERS.get(i, '') for i in ids),
  encode=lambda text: [{'1': 2, '=': 3, '2': 4}[c] for c in text],
  eos_ids=(1,),
)
PROMPT = Prompt(text='12', prompt_id=0, answer=12, tokens=(2, 4))


def run(monkeypatch, completions, rewards, chance, width=12, environment=None, **hyper):
  """Experience of completions given as ids; `chance` of a token of an answer, by prefix."""
  num = len(completions) + 1
  rollout = types.SimpleNamespace(
    tokens=np.zeros((num, width), np.int32),
    group_ids=np.array([-1] + [0] * (num - 1), np.int32),
    prompt_length=np.full(num, 2, np.int32),
    action_mask=np.zeros((num, width), bool),
  )
  made = [
    Completion(prompt=PROMPT, tokens=ids, text=TOKENIZER.decode(ids), truncated=False)
    for ids in completions
  ]
  for row, ids in enumerate(completions, 1):
    rollout.action_mask[row, 2 : 2 + len(ids)] = True
  scores = Scores(np.array(rewards, np.float32), {}, 0, 0, {})
  monkeypatch.setattr(module, 'single_turn', lambda *_: Experience(rollout, made, scores))
  asked = []

  def logprobs(params, generate, rows, length):
    asked.extend(rows)
    assert length == width and all(len(row) <= width for row in rows)
    return [np.log(np.full(len(row), chance(TOKENIZER.decode(row[2:-3])))) for row in rows]

  monkeypatch.setattr(module, 'row_logprobs', logprobs)
  generate = types.SimpleNamespace(tokenizer=TOKENIZER, environment=environment)
  hyper = {'separator': '=', **hyper}
  return module.probed(None, [PROMPT], [0], generate, None, **hyper), asked


def potential(p):
  return (p**3 + p) / 2  # two digits and the end of text


def test_spae_probes_the_answer_at_each_boundary(monkeypatch):
  chance = {'': 0.5, '1=': 0.8, '1=2=': 0.3}.get
  found, asked = run(monkeypatch, [(2, 3, 4, 3, 4, 1), (2, 3, 2, 1)], [1.0, 0.0], chance)
  assert sorted(map(len, asked)) == [5, 7, 9]  # what both have in common is asked once
  assert asked[0] == (2, 4, 2, 4, 1)
  first, second, third = potential(0.5), potential(0.8), potential(0.3)
  gains = found.extras['potential_gains'][1:, 2:8]
  up, down, right = second - first, third - second, 1 - third
  np.testing.assert_allclose(gains[0], [up, up, down, down, right, right], rtol=1e-5)
  np.testing.assert_allclose(gains[1], [up, up, -second, -second, 0, 0], rtol=1e-5)
  assert not found.extras['potential_gains'][:, :2].any() and not found.extras['idle_steps'].any()
  assert found.metrics['method/probed/steps'] == 2.5


def test_spae_charges_for_steps_once_the_answer_is_sure(monkeypatch):
  chance = {'': 0.2, '1=': 0.99, '1=2=': 0.1, '1=2=1=': 0.1}.get
  found, _ = run(monkeypatch, [(2, 3, 4, 3, 2, 3, 4, 1)], [1.0], chance)
  # The first step brings it, the next two come too late, the last one says the answer.
  assert found.extras['idle_steps'][1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
  assert found.metrics['method/probed/idle'] == 0.5
  shaping = bind(config.load(str(config.find('papers/spae'))).rl.advantage_shaping.potential)
  arrays = {name: jnp.asarray(x[1:]) for name, x in found.extras.items()}
  given = {'advantages': jnp.ones((1, 12)), 'action_mask': jnp.ones((1, 12), bool), **arrays}
  shaped = np.asarray(shaping(given, shaping.hyper(0)))[0, 2:10]
  gains = found.extras['potential_gains'][1, 2:10]
  np.testing.assert_allclose(shaped[:2], 1 + gains[:2], rtol=1e-6)
  np.testing.assert_allclose(shaped[2:6], 1 + gains[2:6] - 0.1, rtol=1e-6)
  assert shaped[0] > 1 > shaped[2]


def test_steps_that_leave_no_room_and_tokens_that_end_two(monkeypatch):
  found, asked = run(monkeypatch, [(2, 3, 4, 3, 4), (5, 4), ()], [np.nan, 1.0, 0.0],
                     lambda prefix: 0.5, width=7, marker='')  # fmt: skip
  assert {len(row) for row in asked} == {5, 6, 7}
  start = potential(0.5)
  gains = found.extras['potential_gains'][1:, 2:]
  np.testing.assert_allclose(gains[0, :4], [0, 0, -start, -start], atol=1e-6)
  np.testing.assert_allclose(gains[1, :2], [0, 1 - start], rtol=1e-6)
  assert found.metrics['method/probed/no_room'] == pytest.approx(1 / 6)


def test_the_answer_stands_behind_its_marker(monkeypatch):
  _, asked = run(monkeypatch, [(2, 1)], [1.0], lambda prefix: 0.5, marker='==')
  assert asked == [(2, 4, 3, 3, 2, 4, 1)]


def test_what_cannot_be_probed(monkeypatch):
  with pytest.raises(ValueError, match="the separator is ''"):
    run(monkeypatch, [(2,)], [1.0], None, separator='')
  with pytest.raises(ValueError, match='leave it out'):
    run(monkeypatch, [(2,)], [1.0], None, environment=object())
  monkeypatch.setattr('test_rollouts_probed.PROMPT', Prompt(text='1', prompt_id=7, tokens=(2,)))
  with pytest.raises(ValueError, match='prompt 7 has no answer'):
    run(monkeypatch, [(2,)], [1.0], None)
