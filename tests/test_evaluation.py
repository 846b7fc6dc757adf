"""Evaluation: the estimator of pass@k, the greedy sample, common random numbers, errors."""

import itertools
import types

import jax
import numpy as np
import pytest

from rljax import tokenization
from rljax.evaluation import evaluate, pass_at_k
from rljax.metrics.names import check_name
from rljax.models import decoder
from rljax.prompts import Prompt
from rljax.rewards import Scorer
from rljax.rollouts import Generator
from rljax.sampling import sample

TOKENIZER = tokenization.characters(alphabet='ab>')
PROMPTS = [Prompt(text=t, prompt_id=i, tokens=tuple(TOKENIZER.encode(t)))
           for i, t in enumerate(('a>', 'b>', 'ab>', 'ba>', 'bb>'))]  # fmt: skip


@pytest.mark.parametrize('n', [1, 4, 6])
def test_pass_at_k_is_the_share_of_subsets_with_a_hit(n):
  for right, k in itertools.product(range(n + 1), range(1, n + 1)):
    marks = [i < right for i in range(n)]
    hits = [any(subset) for subset in itertools.combinations(marks, k)]
    found = pass_at_k(n, np.array([right]), k)
    np.testing.assert_allclose(found, [np.mean(hits)], atol=1e-12)


@pytest.mark.parametrize('k', [0, 5, -1])
def test_pass_at_k_needs_enough_samples(k):
  with pytest.raises(ValueError, match=f'pass@{k} needs 1 ≤ k ≤ n, and there are n = 4'):
    pass_at_k(4, np.array([1]), k)


@pytest.fixture(scope='module')
def policy():
  policy = decoder(
    vocab_size=TOKENIZER.vocab_size, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32
  )
  program = jax.jit(lambda p, r, seed, s: sample(policy, p, r, seed=seed, settings=s))
  return program, policy.init(jax.random.key(0))


def generator(program, **changes):
  sizes = dict(prompts=2, samples=3, max_prompt=3, max_new_tokens=3, seed=7)
  return Generator(program, TOKENIZER, lambda requests: requests, **{**sizes, **changes})


def recorded(reward):
  """(score function, the completions that it saw)."""
  scorer, seen = Scorer(reward, workers=0), []

  def score(completions):
    seen.extend(completions)
    return scorer.score(completions)

  return score, seen


def starts_with_a(completion):
  return float(completion.startswith('a'))


def test_each_sample_once_and_counts_that_fit(policy):
  """Five prompts in calls of two; one greedy and four drawn samples in calls of three."""
  program, params = policy
  score, seen = recorded(starts_with_a)
  found = evaluate(params, PROMPTS, generator(program), score, samples=4, ks=(1, 2, 4, 8))
  places = [(c.draw_id, c.sample_index) for c in seen]
  assert sorted(places) == list(itertools.product(range(5), range(5)))
  assert all(c.prompt is PROMPTS[c.draw_id] for c in seen)
  right = np.zeros((5, 5))
  for c in seen:
    right[c.draw_id, c.sample_index] = c.text.startswith('a')
  np.testing.assert_array_equal(found.num_correct, right[:, 1:].sum(1))
  np.testing.assert_array_equal(found.greedy_correct, right[:, 0])
  assert found.metrics['avg@4'] == pytest.approx(right[:, 1:].mean())
  assert found.metrics['pass@1'] == pytest.approx(right[:, 1:].mean())
  assert found.metrics['pass@4'] == pytest.approx(right[:, 1:].any(1).mean())
  assert 'pass@8' not in found.metrics and found.metrics['errors'] == 0
  lengths = [len(c.tokens) for c in seen if c.sample_index]
  assert found.metrics['length_mean'] == pytest.approx(np.mean(lengths))
  assert 0 < found.metrics['avg@4'] < 1
  assert len({c.tokens for c in seen if c.draw_id == 0}) > 1


def test_sample_zero_is_greedy(policy):
  program, params = policy
  score, seen = recorded(starts_with_a)
  evaluate(params, PROMPTS, generator(program), score, samples=2)
  other_score, other = recorded(starts_with_a)
  evaluate(params, PROMPTS, generator(program, seed=99), other_score, samples=2)
  greedy = [[c.tokens for c in some if c.sample_index == 0] for some in (seen, other)]
  drawn = [[c.tokens for c in some if c.sample_index] for some in (seen, other)]
  assert greedy[0] == greedy[1] and drawn[0] != drawn[1]


def test_common_random_numbers(policy):
  """The same policy sees the same draws, whatever the shapes of the calls."""
  program, params = policy
  runs = []
  for sizes in ({}, {}, dict(prompts=3, samples=2), dict(prompts=1, samples=5)):
    score, seen = recorded(starts_with_a)
    found = evaluate(params, PROMPTS, generator(program, **sizes), score, samples=4, ks=(1, 2))
    runs.append((found.metrics, sorted((c.draw_id, c.sample_index, c.tokens) for c in seen)))
  assert all(run == runs[0] for run in runs)


def test_greedy_alone(policy):
  program, params = policy
  score, seen = recorded(starts_with_a)
  found = evaluate(params, PROMPTS, generator(program), score, samples=0)
  names = {'greedy', 'length_mean', 'truncated', 'errors', 'reward'}
  assert len(seen) == 5 and set(found.metrics) == names


def begins(completion):
  found = {'reward': float(completion.startswith('a')), 'lenient': float('a' in completion)}
  return found | ({'some': 1.0} if 'b' in completion else {})


def test_components_are_means_over_drawn_samples_that_have_them(policy):
  program, params = policy
  score, seen = recorded(begins)
  found = evaluate(params, PROMPTS, generator(program), score, samples=4).metrics
  drawn = ['a' in c.text for c in seen if c.sample_index]
  assert found['component/lenient'] == pytest.approx(np.mean(drawn)) and 0 < np.mean(drawn) < 1
  assert found['component/some'] == 1 and not all('b' in c.text for c in seen)
  for name in found:
    check_name(f'eval/a-task/{name}')


def breaks_on_a(completion):
  if completion.startswith('a'):
    raise RuntimeError('no')
  return 1.0


def test_errors_count_as_not_right(policy):
  program, params = policy
  score, seen = recorded(breaks_on_a)
  found = evaluate(params, PROMPTS, generator(program), score, samples=4)
  broken = sum(c.text.startswith('a') for c in seen)
  assert broken and found.metrics['errors'] == pytest.approx(broken / 25)
  drawn = [not c.text.startswith('a') for c in seen if c.sample_index]
  assert found.metrics['avg@4'] == pytest.approx(np.mean(drawn))


def test_well_formed_is_the_share_of_drawn_samples(policy):
  program, params = policy
  score, seen = recorded(starts_with_a)
  found = evaluate(
    params, PROMPTS, generator(program), score, samples=4, well_formed=lambda text: text != ''
  )
  expected = np.mean([c.text != '' for c in seen if c.sample_index])
  assert found.metrics['well_formed'] == pytest.approx(expected)


def test_no_held_out_prompts_is_said():
  from rljax.assembly import World

  world = types.SimpleNamespace(task=types.SimpleNamespace(name='mine', test=range(8)))
  with pytest.raises(ValueError, match=r'task mine has 8 held-out prompts.*evaluation.num_prompts'):
    World.held_out(world, 8, 4)


