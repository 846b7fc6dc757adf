"""The suite's tasks: what is right, what demonstrations get wrong, what steps are worth."""

import collections
import pathlib
import sys

import numpy as np
import pytest

from rljax import config, tokenization

EXPERIMENTS = pathlib.Path(__file__).resolve().parent.parent / 'experiments'
sys.path.append(str(EXPERIMENTS))

from suite import chain, graded, ops, two_skill  # noqa: E402


def shown(task, count):
  """The training prompts that have demonstrations."""
  return [p for p in task.train[:count] if p.metadata.get('domain') != 'never']


def check_task(task, tokenizer):
  """What holds of all: prompts and demonstrations have ids, and no problem is on both sides."""
  trained = {p.metadata['problem'] for p in task.train[:2000]}
  held_out = {p.metadata['problem'] for p in task.test}
  assert not trained & held_out and len({p.text for p in task.test}) == len(task.test)
  for prompt in shown(task, 50):
    said = task.demonstrate(prompt)
    assert said == task.demonstrate(prompt)
    assert tokenizer.decode(tokenizer.encode(prompt.text)) == prompt.text
    assert tokenizer.decode(tokenizer.encode(said)) == said


def check_config(name, task):
  """The config builds, its alphabet and its limits hold all prompts and demonstrations."""
  settings = config.resolve(config.load(str(EXPERIMENTS / f'suite/configs/{name}.py')))
  tokenizer = tokenization.characters(alphabet=settings.tokenizer.alphabet)
  check_task(task, tokenizer)
  for prompt in shown(task, 500):
    asked, said = len(prompt.text), len(task.demonstrate(prompt)) + 1
    assert asked <= settings.rl.max_prompt and said <= settings.rl.max_new_tokens
    assert asked + said <= settings.sft.max_length


# -- chain


def test_chain():
  check_config('chain', chain.chain())


def test_what_is_right_in_a_chain():
  way = chain.Way('y', 7, ('+3', '-4'))
  assert way.end == 6
  good = chain.reward('y+3=0-4=6', way)
  assert good == {'reward': 1, 'branch': 1, 'steps': 1, 'short': 1}
  dead = chain.reward('x+3=0-4=6', way)  # all steps right, and worth nothing
  assert dead == {'reward': 0, 'branch': 0, 'steps': 1, 'short': 0}
  for wrong in ('y+3=0', 'y+3=0-4=5', 'y+3=0-4=6+1=7', 'y+3=0-4=', '+3=0-4=6', ''):
    assert chain.reward(wrong, way)['reward'] == 0, wrong
  assert 'long' in chain.reward('', chain.Way('x', 0, ('+1',) * 6))


def test_steps_of_a_chain_are_scored_one_by_one():
  way = chain.Way('y', 7, ('+3', '-4', '+1'))
  for said in ('y+3=0-4=6+1=7', 'x+3=1-4=7+1=8', 'y+3=2-4=6', 'yyyy', 'y+3=0-4=6+1=7+1=8', ''):
    assert ''.join(text for text, _ in chain.step_scores(said, way)) == said
  # A wrong result is one wrong step; what goes on rightly from there is right.
  assert [x for _, x in chain.step_scores('y+3=1-4=7+1=8', way)] == [1, 0, 1, 1]
  assert [x for _, x in chain.step_scores('x+3=0-5=5', way)] == [0, 1, 0]
  assert [x for _, x in chain.step_scores('y+3=0-4=6+1=7+1=8', way)] == [1, 1, 1, 1, 0]


def test_the_noise_of_chains_is_the_one_asked_for():
  task = chain.chain(step_noise=0.15, branch_noise=0.3)
  prompts = task.train[:1500]
  found = [chain.reward(task.demonstrate(p), p.answer) for p in prompts]
  assert np.mean([x['branch'] for x in found]) == pytest.approx(0.7, abs=0.04)
  assert np.mean([x['steps'] for x in found]) == pytest.approx(0.85, abs=0.02)
  assert {len(p.answer.moves) for p in prompts} == set(range(2, 9))
  clean = chain.chain(step_noise=0, branch_noise=0)
  assert all(chain.reward(clean.demonstrate(p), p.answer)['reward'] for p in prompts[:100])


def test_labelled_steps_of_a_chain_are_labelled_rightly():
  task, seen = chain.chain(), []
  for prompt in task.train[:50]:
    found = task.steps(prompt, 3)
    assert found == task.steps(prompt, 3)
    scored = chain.step_scores(''.join(text for text, _ in found), prompt.answer)
    assert [bool(x) for _, x in scored] == [is_right for _, is_right in found]
    seen += [is_right for _, is_right in found]
  assert 0.5 < np.mean(seen) < 0.75


def test_a_chain_that_cannot_be():
  with pytest.raises(ValueError, match='max_move=10'):
    chain.chain(max_move=10)


# -- graded


def test_graded():
  check_config('graded', graded.graded())


def test_components_of_graded():
  right = '[013579]'
  assert graded.reward(right, right) == {
    'reward': 1, 'place': 0.1, 'format': 0.6, 'length': pytest.approx(0.3), 'kept': 1
  }  # fmt: skip
  near = graded.reward('[013597]', right)
  assert near == {
    'reward': pytest.approx(1 - 0.1 / 3), 'place': pytest.approx(0.1 * 4 / 6), 'format': 0.6,
    'length': pytest.approx(0.3), 'kept': 1,
  }  # fmt: skip
  assert graded.reward('013579', right)['format'] == graded.reward('', right)['reward'] == 0
  assert graded.reward('[01357]', right)['length'] == pytest.approx(0.25)
  paid = graded.reward('[111111]', right)  # format and length without the digits
  assert paid['reward'] > 0.9 and paid['kept'] == pytest.approx(1 / 6)
  for wrong in ('[013579', '[0135799]', '[013579]]', '[[013579]', '013579]'):
    assert graded.reward(wrong, right)['reward'] < 1 - 1e-3, wrong


def test_the_noise_of_graded_is_the_one_asked_for():
  task = graded.graded(digit_noise=0.4, format_noise=0.25, length_noise=0.25)
  found = [graded.reward(task.demonstrate(p), p.answer) for p in task.train[:1500]]
  assert np.mean([x['format'] == 0.6 for x in found]) == pytest.approx(0.75, abs=0.04)
  assert np.mean([x['length'] > 0.29 for x in found]) == pytest.approx(0.75, abs=0.04)
  # Some exchanged digits are equal.
  assert np.mean([x['reward'] == 1 for x in found]) == pytest.approx(0.75**2 * 0.62, abs=0.04)
  with pytest.raises(ValueError, match='noise'):
    graded.graded(digit_noise=1.5)


# -- two skills


def test_two_skill():
  check_config('two_skill', two_skill.two_skill())


def test_the_domains_of_two_skill():
  task = two_skill.two_skill()
  counts = collections.Counter(p.metadata['domain'] for p in task.test)
  assert counts == {'ops': 768, 'reverse': 256, 'never': 128}
  train = collections.Counter(p.metadata['domain'] for p in task.train[:9000])
  assert train['ops'] == 6000 and train['reverse'] == 2000
  assert train['shown'] == pytest.approx(100, abs=30)
  assert all(p.text[-1] == 'e' for p in task.test if p.metadata['domain'] == 'never')


def test_what_is_right_in_two_skill():
  task = two_skill.two_skill()
  for prompt in task.train[:40]:
    domain, text = prompt.metadata['domain'], prompt.text.removesuffix('=')
    found = two_skill.reward(prompt.answer, prompt.answer, prompt.metadata)
    assert found == {'reward': 1, 'never' if domain == 'shown' else domain: 1}
    assert two_skill.reward('000', prompt.answer, prompt.metadata)['reward'] == 0
    if domain == 'reverse':
      assert prompt.answer == text[::-1]
    else:
      assert prompt.answer == ops.apply(text[-1], text[:-1])
    pairs = task.candidates(prompt, 0)
    assert len(dict(pairs)) == len(pairs) >= 2
    assert all((worth == 1) == (said == prompt.answer) for said, worth in pairs)


def test_the_noise_of_two_skill_is_the_one_asked_for():
  task, right = two_skill.two_skill(shares=(0.3, 0.5, 0.7, 0.9), shown=0.5), {}
  for prompt in shown(task, 6000):
    domain = prompt.metadata['domain']
    key = prompt.text[-1] if domain == 'ops' else domain
    right.setdefault(key, []).append(task.demonstrate(prompt) == prompt.answer)
  for letter, share in zip('abcd', (0.7, 0.5, 0.3, 0.1)):
    assert np.mean(right[letter]) == pytest.approx(share, abs=0.05)
  assert all(right['reverse']) and all(right['shown'])
  unseen = next(p for p in task.train[:100] if p.metadata['domain'] == 'never')
  with pytest.raises(ValueError, match='has no demonstration'):
    task.demonstrate(unseen)
