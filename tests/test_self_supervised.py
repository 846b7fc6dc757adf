"""Tasks made of solutions, and MR-RLVR, which begins with them."""

import pytest

from rljax import binding, config
from rljax.prompts import Completion
from rljax.rewards import Scorer
from rljax.tasks.self_supervised import fill_match, order_agreement, self_supervised

ARITHMETIC = dict(name='tasks.arithmetic', num_operands=4, num_train=20, num_test=5)
TASK = self_supervised(task=ARITHMETIC, num_hidden=2)


def rewards(prompts, texts):
  given = [Completion(p, (), text, False) for p, text in zip(prompts, texts, strict=True)]
  with Scorer(TASK.reward, workers=0) as scorer:
    scores = scorer.score(given)
  assert not scores.messages
  return scores.rewards.tolist()


def test_mr_rlvr_hides_and_shuffles_the_steps_of_solutions():
  base = binding.bind(ARITHMETIC)({})
  assert len(TASK.train) == 60 and len({p.prompt_id for p in TASK.train}) == 60
  orders = set()
  for index in range(20):
    outcome, filled, ordered = TASK.train[3 * index : 3 * index + 3]
    problem, solution = base.train[index].text, base.demonstrate(base.train[index])
    steps = solution.split(',')
    assert (outcome.text, TASK.demonstrate(outcome)) == (problem, solution)
    shown, missing = filled.text.removeprefix(problem)[:-1], iter(filled.answer)
    assert shown.count('?') == len(filled.answer) == 2 and filled.text.endswith(':')
    assert [next(missing) if step == '?' else step for step in shown.split(',')] == steps
    shuffled = ordered.text.removeprefix(problem)[:-1].split(',')
    assert [shuffled[int(place) - 1] for place in ordered.answer] == steps
    orders.add(ordered.answer)
    all_three = (outcome, filled, ordered)
    assert [p.metadata['source'] for p in all_three] == ['outcome', 'fill', 'order']
    assert rewards(all_three, map(TASK.demonstrate, all_three)) == [1, 1, 1]
    assert rewards(all_three, ['', '', '']) == [0, 0, 0]
  assert len(orders) > 3
  assert [p.text for p in TASK.test] == [p.text for p in base.test]
  assert {p.metadata['source'] for p in TASK.test} == {'outcome'}


def test_mr_rlvr_pays_for_each_step_and_each_pair_in_order():
  assert fill_match(['a', 'x'], ['a', 'b']) == 0.5
  assert fill_match(['a'], ['a', 'b']) == fill_match(['b', 'a'], ['a', 'b']) == 0
  right = ['3', '1', '2']
  assert order_agreement(right, right) == order_agreement(['1'], ['1']) == 1
  assert order_agreement(['1', '3', '2'], right) == pytest.approx(2 / 3)
  assert order_agreement(['2', '1', '3'], right) == 0
  for no_order in (['3', '1'], ['3', '3', '2'], ['3', '1', '2', '2']):
    assert order_agreement(no_order, right) == 0


def test_mr_rlvr_begins_with_the_process_and_goes_on_with_results():
  settings = config.load(str(config.find('papers/mr_rlvr')))
  baseline = config.load(str(config.find('presets/solution_steps')))
  settings.task.task.update(num_train=40, num_test=5)
  assert settings.process.iterations + settings.rl.iterations == baseline.rl.iterations
  task = binding.bind(settings.task)({})
  tokenizer = binding.bind(settings.tokenizer)({})
  found = []
  for stage in ('process', 'rl'):
    given = {'prompts': task.train, 'seed': 0}
    prompts = binding.bind(settings[stage].curriculum, given)(given).sample(20)
    found.append({prompt.metadata['source'] for prompt in prompts})
    for prompt in prompts:
      asked, said = (len(tokenizer.encode(t)) for t in (prompt.text, task.demonstrate(prompt)))
      assert asked <= settings[stage].max_prompt and said < settings[stage].max_new_tokens
      assert asked + said < settings.sft.max_length
  assert found == [{'fill', 'order'}, {'outcome'}]


def test_what_self_supervision_needs():
  with pytest.raises(ValueError, match='num_hidden=0'):
    self_supervised(task=ARITHMETIC, num_hidden=0)
  with pytest.raises(ValueError, match='a demonstration of several turns'):
    self_supervised(task=dict(name='tasks.products', tool_share=1.0)).train[1]
