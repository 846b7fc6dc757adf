"""Tasks: the split holds, demonstrations are right, rewards are exact, token twins agree."""

import json
import os
import pathlib
import random
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import tasks, tokenization
from rljax.prompts import Prompt
from rljax.rewards import answers
from rljax.tasks import procedural, steps, token_steps
from rljax.tasks.arithmetic import canonical as arithmetic_canonical
from rljax.tasks.arithmetic import reward as arithmetic_reward
from rljax.tasks.arithmetic import token_twin as arithmetic_twin
from rljax.tasks.countdown import canonical as countdown_canonical
from rljax.tasks.countdown import reward as countdown_reward
from rljax.tasks.countdown import token_twin as countdown_twin
from rljax.tasks.gsm8k import reward as gsm8k_reward
from rljax.tasks.reverse_text import canonical as reverse_canonical
from rljax.tasks.signs import canonical as signs_canonical
from rljax.tasks.signs import reward as signs_reward
from rljax.tasks.signs import well_formed as signs_well_formed
from rljax.tasks.words import reward as word_reward

REAL_GSM8K = pathlib.Path(__file__).parents[2] / 'shared' / 'data' / 'gsm8k'
TOKENIZER = tokenization.characters(alphabet=steps.ALPHABET)


def score(prompt, completion):
  """The reward of a procedural task's prompt."""
  if 'numbers' in prompt.metadata:
    return countdown_reward(completion, prompt.answer, prompt.metadata)
  return arithmetic_reward(completion, prompt.answer)


@pytest.mark.parametrize(
  ('make', 'canonical'),
  [
    (tasks.countdown, countdown_canonical),
    (tasks.arithmetic, arithmetic_canonical),
    (tasks.signs, signs_canonical),
    (tasks.reverse_text, lambda prompt: reverse_canonical(prompt.answer)),
    (tasks.sorting, lambda prompt: prompt.answer),
  ],
)
def test_train_and_test_share_no_problem(make, canonical):
  task = make(num_test=512)
  test = list(task.test)
  train = task.train[:4000]
  assert len(test) == len({p.text for p in test}) == 512
  assert not {canonical(p) for p in test} & {canonical(p) for p in train}
  assert [p.prompt_id for p in test] == list(range(512))


def test_countdown_splits_whatever_the_order_of_the_numbers():
  task = tasks.countdown(low=1, high=4, num_test=20, num_train=3000, test_fraction=0.3)
  test = {countdown_canonical(p) for p in task.test}
  train = {countdown_canonical(p) for p in task.train}
  orders = {p.text for p in task.train}
  assert not test & train
  assert len(orders) > len(train), 'permutations of one problem come up'
  assert len(test) == 20, 'held-out problems differ in more than the order'


def test_the_split_depends_on_the_problem_only():
  held_out = {countdown_canonical(p) for p in tasks.countdown(seed=1, num_test=300).test}
  train = {countdown_canonical(p) for p in tasks.countdown(seed=2, high=12).train[:3000]}
  assert not held_out & train


@pytest.mark.parametrize(
  'make', [tasks.countdown, tasks.arithmetic, tasks.signs, tasks.reverse_text, tasks.sorting]
)
def test_prompts_are_a_function_of_seed_and_index(make):
  one, other = make(seed=3), make(seed=3)
  assert one.train[77] == other.train[77] and one.train[-1] == other.train[len(one.train) - 1]
  assert one.test[5] == other.test[5]
  assert [p.text for p in one.train[:20]] != [p.text for p in make(seed=4).train[:20]]
  assert len({p.text for p in one.train[:20]}) > 10
  with pytest.raises(IndexError, match='prompt 100000'):
    one.train[100000]


@pytest.mark.parametrize(
  'task',
  [
    tasks.countdown(),
    tasks.countdown(num_numbers=4, high=6, num_test=100),
    tasks.countdown(operators='+-', high=25),
    tasks.arithmetic(),
    tasks.arithmetic(num_operands=5, high=9, operators='+-', max_value=99),
  ],
)
def test_demonstrations_are_right(task):
  for prompt in [*task.train[:100], *task.test[:50]]:
    completion = task.demonstrate(prompt)
    assert completion == task.demonstrate(prompt)
    assert score(prompt, completion) == 1 and task.well_formed(completion)
    TOKENIZER.encode(prompt.text + completion)


def test_countdown_demonstrations_vary_and_reach_every_solution():
  prompts = [
    Prompt(text='', prompt_id=i, answer=6, metadata={'numbers': (1, 2, 3)}) for i in range(300)
  ]
  found = {tasks.countdown().demonstrate(p) for p in prompts}
  assert {'1+2=3,3+3=6', '2*3=6,6*1=6', '1*2=2,2*3=6', '3*1=3,2*3=6'} <= found
  assert all(countdown_reward(c, 6, {'numbers': (1, 2, 3)}) == 1 for c in found)


def test_countdown_problems_are_uniform():
  # Numbers 1 … 3, two of them: every solvable (numbers, target) is equally likely.
  task = tasks.countdown(
    num_numbers=2, high=3, num_train=4000, test_fraction=0.0, num_test=0, max_value=9
  )
  counts = {}
  for prompt in task.train:
    counts[countdown_canonical(prompt)] = counts.get(countdown_canonical(prompt), 0) + 1
  expected = 4000 / len(counts)
  assert set(counts) == {
    (a, b, t)
    for a in range(1, 4)
    for b in range(a, 4)
    for t in {a + b, b - a, a * b}
    if t >= 1
  }
  assert sum((c - expected) ** 2 / expected for c in counts.values()) < 40  # 16 degrees of freedom


def test_countdown_reward_is_exact():
  def check(completion, numbers=(7, 3, 12), target=33):
    return countdown_reward(completion, target, {'numbers': numbers})

  assert check('7*3=21,21+12=33') == check('3*7=21,12+21=33') == 1
  assert check('7*3=21,21+12=33,') == 0, 'a comma too many'
  assert check('7*3=21,12+21=34') == 0, 'wrong sum'
  assert check('7*3=21') == check('21+12=33') == 0, 'a number is left, or was not given'
  assert check('7*3=21,21+12=33,33+0=33') == 0
  assert check('3*11=33', (3, 11, 33)) == 0, 'the target is among the numbers that are left over'
  assert check('7*03=21,21+12=33') == check(' 7*3=21,21+12=33') == check('') == 0
  assert check('7*3=21,21+12=33\n') == 0
  assert check('٧*3=21,21+12=33') == 0, 'digits of another script'
  assert check('5-5=0,0+4=4', (5, 5, 4), 4) == 1, 'zero may stand between'
  assert check('3+3=6', (3, 3), 6) == 1 and check('3+3=6', (3, 4), 6) == 0
  assert check("__import__('os')") == 0


def test_arithmetic_reward_reads_the_last_result():
  assert arithmetic_reward('4*5=20,3+20=23', 23) == 1
  assert arithmetic_reward('4*5=20,3+20=22', 23) == 0
  assert arithmetic_reward('4*5=21,3+20=23', 23) == 1, 'the way is free'
  assert arithmetic_reward('23', 23) == arithmetic_reward('=23', 23) == 0
  prompt = Prompt(
    text='', prompt_id=0, metadata={'operands': (3, 4, 5, 2), 'operators': ('+', '*', '-')}
  )
  assert tasks.arithmetic().demonstrate(prompt) == '4*5=20,3+20=23,23-2=21'


@pytest.mark.parametrize(
  'task', [tasks.signs(), tasks.signs(num_numbers=3, high=12, operators='+-*', num_test=300)]
)
def test_signs(task):
  ways = {}
  for prompt in [*task.train[:300], *task.test[:100]]:
    completion = task.demonstrate(prompt)
    assert signs_reward(completion, prompt.answer, prompt.metadata) == 1
    assert task.well_formed(completion) and completion == task.demonstrate(prompt)
    TOKENIZER.encode(prompt.text + completion)
    ways.setdefault(prompt.text, set()).add(completion)
  assert any(len(found) > 1 for found in ways.values()) or len(ways) > 350


def test_signs_reward_is_exact():
  def check(completion, numbers=(7, 5, 3, 2), target=11):
    return signs_reward(completion, target, {'numbers': numbers})

  assert check('+5=12-3=9+2=11') == 1
  assert check('+5=12-3=9-2=11') == check('+5=12+3=9+2=11') == 0, 'a wrong result'
  assert check('+3=10-5=5+2=7', target=7) == 0, 'another order'
  assert check('+5=12-3=9') == check('+5=12-3=9', target=9) == 0, 'a number is left'
  assert check('+5=12-3=9+2=11+0=11') == check('+5=12,-3=9+2=11') == check('') == 0
  assert check('+05=12-3=9+2=11') == check('+5=12-3=9+2=11\n') == 0
  assert check('+5=12', (7, 5), 12) == 1 and check('+5=12', (7, 5), 13) == 0
  assert signs_well_formed('+5=1-3=9', 2) and not signs_well_formed('+5=1-3=9', 3)


def test_sorting():
  task = tasks.sorting(length=5)
  for prompt in [*task.train[:200], *task.test[:200]]:
    assert len(prompt.text) == 6 and prompt.text[-1] == '>'
    assert prompt.answer == ''.join(sorted(prompt.text[:-1])) == task.demonstrate(prompt)
    assert word_reward(prompt.answer, prompt.answer) == {'reward': 1.0, 'similarity': 1.0}
  assert word_reward('abdce', 'abcde') == {'reward': 0.0, 'similarity': 0.6}
  assert word_reward('abcdee', 'abcde')['reward'] == word_reward('', 'abcde')['reward'] == 0
  assert task.well_formed('ab') and not task.well_formed('') and not task.well_formed('a>b')


def test_sorting_splits_whatever_the_order_of_the_letters():
  task = tasks.sorting(length=4, letters='abcde', num_test=15, num_train=3000, test_fraction=0.3)
  test, train = {p.answer for p in task.test}, {p.answer for p in task.train}
  assert len(test) == 15 and not test & train
  assert len({p.text for p in task.train}) > 5 * len(train), 'permutations of one word come up'


def test_reverse_text():
  task = tasks.reverse_text(instruction='Reverse: ')
  prompt = task.train[0]
  word = prompt.text.removeprefix('Reverse: ').removesuffix('>')
  assert task.demonstrate(prompt) == word[::-1] and task.well_formed(word)
  assert word_reward(word[::-1], prompt.answer) == {'reward': 1.0, 'similarity': 1.0}
  assert word_reward('axc', 'abc') == {'reward': 0.0, 'similarity': pytest.approx(2 / 3)}
  assert word_reward('', 'abc')['similarity'] == 0
  assert not task.well_formed('') and not task.well_formed('a b')


@pytest.mark.parametrize(
  ('make', 'hyper', 'message'),
  [
    (tasks.countdown, {'num_numbers': 1}, 'num_numbers=1'),
    (tasks.countdown, {'high': 0}, 'high=0'),
    (tasks.countdown, {'operators': '+/'}, "operators='\\+/'"),
    (tasks.arithmetic, {'num_operands': 1}, 'num_operands=1'),
    (tasks.arithmetic, {'high': 10_000}, 'high=10000'),
    (tasks.reverse_text, {'min_length': 0}, 'min_length=0'),
    (tasks.signs, {'high': 100}, 'high=100'),
    (tasks.signs, {'num_numbers': 1}, 'num_numbers=1'),
  ],
)
def test_impossible_settings_are_named(make, hyper, message):
  with pytest.raises(ValueError, match=message):
    make(**hyper)


def test_too_few_held_out_problems():
  task = tasks.countdown(high=3, num_test=500)
  with pytest.raises(ValueError, match=r'num_test=500; raise high.*found \d+ of 500'):
    task.test[0]


def test_importing_tasks_is_light():
  code = (
    'import sys, rljax.tasks; '
    'print([m for m in ("jax", "numpy", "grain", "tensorflow_datasets") if m in sys.modules])'
  )
  assert subprocess.check_output([sys.executable, '-c', code], text=True).strip() == '[]'


# -- token twins


def pad(texts, width):
  """(tokens [N, width] filled with a digit behind the end, length [N])."""
  ids = [TOKENIZER.encode(t)[:width] for t in texts]
  tokens = np.full((len(ids), width), TOKENIZER.encode('7')[0], np.int32)
  for row, line in enumerate(ids):
    tokens[row, : len(line)] = line
  return jnp.array(tokens), jnp.array([len(line) for line in ids])


def corrupt(rng, text):
  """`text` with one character changed, left out, doubled or swapped."""
  at = rng.randrange(len(text))
  how = rng.randrange(4)
  if how == 0:
    return text[:at] + rng.choice(steps.ALPHABET) + text[at + 1 :]
  if how == 1:
    return text[:at] + text[at + 1 :]
  return text[:at] + text[at] + text[at:] if how == 2 else text[at:] + text[:at]


def candidates(rng, task, num):
  """(prompts, completions): right, of another prompt, corrupted, random, awkward."""
  prompts, completions = [], []
  awkward = ['', ',', '1', '1+1', '1+1=', '=', '1+1=2,', '01+1=2', '12345*1=12345', '9999*9999=0']
  for prompt in task.train[:num]:
    right = task.demonstrate(prompt)
    noise = ''.join(rng.choice(steps.ALPHABET) for _ in range(rng.randrange(1, 20)))
    swapped = ','.join(reversed(right.split(',')))
    for text in (right, corrupt(rng, right), corrupt(rng, right), noise, swapped):
      prompts.append(prompt)
      completions.append(text)
    other = task.demonstrate(task.train[rng.randrange(1000)])
    prompts += [prompt, prompt]
    completions += [other, rng.choice(awkward)]
  return prompts, completions


@pytest.mark.parametrize('make', [tasks.countdown, tasks.arithmetic])
def test_twin_reward_is_the_reward(make):
  task = make()
  prompts, completions = candidates(random.Random(0), task, 120)
  tokens, length = pad(completions, 40)
  if make is tasks.countdown:
    answer = {
      'numbers': jnp.array([p.metadata['numbers'] for p in prompts]),
      'target': jnp.array([p.answer for p in prompts]),
    }
  else:
    answer = {'value': jnp.array([p.answer for p in prompts])}
  twin = np.array(jax.jit(task.twin.reward)(tokens, length, answer))
  host = np.array([score(p, c) for p, c in zip(prompts, completions)], np.float32)
  wrong = np.flatnonzero(twin != host)
  assert not len(wrong), [(prompts[i].text, completions[i], host[i]) for i in wrong[:5]]
  assert twin.dtype == np.float32 and 120 <= host.sum() < len(host) / 2


def test_twin_reward_sees_tokens_that_are_no_characters():
  tokens, length = pad(['1+2=3', '1+2=3', '1+2=3'], 8)
  tokens = jnp.array(np.array(tokens) + 1).at[1, 4].set(99)  # ids may be any: here one more each
  reward = jax.jit(countdown_twin(num_numbers=2, ids=range(3, 19)).reward)
  answer = {'numbers': jnp.array([[1, 2]] * 3), 'target': jnp.array([3, 3, 4])}
  assert reward(tokens, length, answer).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
  ('twin', 'task'),
  [
    (countdown_twin(), tasks.countdown()),
    (arithmetic_twin(num_operands=4), tasks.arithmetic(num_operands=4)),
  ],
)
def test_twin_prompts_are_training_problems(twin, task):
  draw = jax.jit(lambda key: twin.prompts(key, 256))
  tokens, length, answer = draw(jax.random.key(0))
  below = procedural.threshold(0.1)
  texts = [TOKENIZER.decode(t[:n]) for t, n in zip(np.array(tokens), np.array(length))]
  assert len(set(texts)) > 200
  if task.name == 'countdown':
    for text, numbers, target in zip(texts, *map(np.array, (answer['numbers'], answer['target']))):
      assert text == f'{",".join(map(str, numbers))}>{target}='
      numbers, target = tuple(map(int, numbers)), int(target)
      assert procedural.mix((*sorted(numbers), target)) >= below
      prompt = Prompt(text=text, prompt_id=0, answer=target, metadata={'numbers': numbers})
      assert score(prompt, task.demonstrate(prompt)) == 1
  else:
    for text, value in zip(texts, np.array(answer['value'])):
      expression = text.removesuffix('=')
      assert eval(expression) == value  # written by this process, not by a model
      operands = expression.replace('*', ' ').replace('+', ' ').replace('-', ' ').split()
      assert procedural.mix(sorted(map(int, operands))) >= below
  behind = np.arange(tokens.shape[1])[None] >= np.array(length)[:, None]
  assert not np.array(tokens)[behind].any()
  assert not (draw(jax.random.key(1))[0] == tokens).all()


def test_the_hash_is_the_same_on_the_device():
  rng = np.random.default_rng(0)
  values = rng.integers(0, 2**31 - 1, (500, 4)).astype(np.int32)
  host = [procedural.mix(map(int, row)) for row in values]
  device = np.array(token_steps.mix(jnp.array(values)))
  assert device.dtype == np.uint32 and device.tolist() == host
  share = np.mean(np.array(host) < procedural.threshold(0.1))
  assert abs(share - 0.1) < 0.05


# -- GSM8K


@pytest.mark.parametrize(
  ('completion', 'number'),
  [
    ('so 5.\n#### 1,234', '1234'),
    ('#### $18.00.', '18'),
    ('#### 1\n… no:\n#### 2', '2'),
    ('#### Step 1\nThe answer is **12** apples, not 13', '12'),
    ('#### 3 and \\boxed{4}', '3'),
    ('so \\boxed{\\frac{3}{4}} of 8', '3/4'),
    ('\\boxed{12 \\text{ apples}} or 13', '12'),
    ('\\boxed{1} \\boxed{1{,}500}', '1500'),
    ('Answer: 3\nThe final answer is 4.\nDone in 5 steps', '4'),
    ('first 3, then 9-4', '4'),
    ('x = -3', '-3'),
    ('it is −7', '-7'),
    ('costs -$5', '-5'),
    ('50%', '50'),
    ('half: .5', '1/2'),
    ('1,2,3', '3'),
    ('1/0', None),
    ('9' * 5000, None),
    ('none', None),
    ('', None),
  ],
)
def test_the_final_number(completion, number):
  expected = None if number is None else answers.parse_number(number)
  assert answers.extract_number(completion) == expected


def test_numbers_are_compared_exactly():
  assert gsm8k_reward('#### 0.1', '1/10') == gsm8k_reward('#### 72.0', '72') == 1
  assert gsm8k_reward('#### 0.3333333333333333', '1/3') == 0
  assert gsm8k_reward(f'#### {10**20 + 1}', f'{10**20}') == 0
  assert gsm8k_reward('nothing', 'nothing') == 0
  assert gsm8k_reward('#### 1e999999999', '1') == 1, 'the exponent is never computed'


def write_gsm8k(folder, num=4):
  for split in ('train', 'test'):
    solutions = [f'{i} + 1 = <<{i}+1={i + 1}>>{i + 1}\n#### {i + 1}' for i in range(num)]
    records = [
      {'question': f'{split}: {i} + 1?', 'answer': s} for i, s in enumerate(solutions)
    ]
    (folder / f'{split}.jsonl').write_text('\n'.join(map(json.dumps, records)) + '\n')
  return folder


def test_gsm8k_from_jsonl(tmp_path, monkeypatch):
  write_gsm8k(tmp_path)
  task = tasks.gsm8k(path=str(tmp_path))
  prompt = task.test[3]
  assert prompt.text.startswith('test: 3 + 1?\n') and prompt.answer == '4' and not prompt.messages
  assert task.demonstrate(prompt) == '3 + 1 = 4\n#### 4'
  assert gsm8k_reward(task.demonstrate(prompt), prompt.answer) == 1
  assert task.well_formed('#### 4') and not task.well_formed('4') and not task.well_formed('####')
  chat = tasks.gsm8k(path=str(tmp_path / 'train.jsonl'), chat=True, num_test=2)
  assert len(chat.test) == 2 and chat.train[0].messages[0]['role'] == 'user'
  (tmp_path / 'gsm8k').mkdir()
  write_gsm8k(tmp_path / 'gsm8k', num=5)
  monkeypatch.setenv('RLJAX_DATA', str(tmp_path))
  assert len(tasks.gsm8k().train) == 5


def test_gsm8k_missing_or_broken(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'train\.jsonl does not exist; fetch it by\n.*curl'):
    tasks.gsm8k(path=str(tmp_path / 'no'))
  write_gsm8k(tmp_path)
  (tmp_path / 'test.jsonl').write_text('{"question": "?"}\n{"question": "?", "answer": "5"}\n{\n')
  test = tasks.gsm8k(path=str(tmp_path)).test
  with pytest.raises(ValueError, match="test record 1: has no 'answer'"):
    test[0]
  with pytest.raises(ValueError, match='test record 2: no number behind ####'):
    test[1]
  with pytest.raises(ValueError, match=r'test\.jsonl, line 3: no JSON'):
    test[2]


@pytest.mark.skipif(not REAL_GSM8K.is_dir(), reason=f'no GSM8K at {os.fspath(REAL_GSM8K)}')
def test_gsm8k_as_published():
  task = tasks.gsm8k(path=str(REAL_GSM8K))
  assert (len(task.train), len(task.test)) == (7473, 1319)
  questions = {p.text for p in task.train}
  for prompt in task.test:
    solution = task.demonstrate(prompt)
    assert gsm8k_reward(solution, prompt.answer) == 1 and task.well_formed(solution)
    assert gsm8k_reward(solution.replace('####', 'The answer is'), prompt.answer) == 1
    assert prompt.text not in questions and '<<' not in solution
