"""Second tries: behind the beginning of a solution, and with what was missed said again."""

import numpy as np
import pytest
from test_rollouts_external import DRAWS, TOKENIZER, G, Q, always, prompts
from test_rollouts_external import sampler as sampler  # a fixture

from rljax.metrics.names import check_name
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, Scores, constraints
from rljax.rollouts import hinted, refined, single_turn
from rljax.rollouts.measures import experience_metrics, prompt_means
from rljax.tasks.constrained_text import remind

SOLUTION = 'baa'


def score_by(rewards):
  def score(completions):
    return Scores(np.array([rewards(c) for c in completions], np.float32), {}, 0, 0, {})

  return score


def rescue(sampler, rewards, sources, **hyper):
  generator, params = sampler
  return hinted(params, prompts(), DRAWS, generator, score_by(rewards), sources, 5, **hyper)


def stage(completion):
  """0 without a hint, 1 … behind the first, second …"""
  return completion.sample_index // G


@pytest.mark.thorough
def test_ghpo_hard_prompts_are_sampled_again_behind_growing_hints(sampler):
  """Draw 10 is easy, 11 is solved behind two tokens of the solution, 12 never."""

  def rewards(completion):
    solved = {10: 0, 11: 2, 12: 9}[completion.draw_id]
    return float(stage(completion) >= solved and completion.sample_index % G == 1)

  found = rescue(sampler, rewards, {'task': always(SOLUTION)}, fractions=(0.3, 0.6, 0.9))
  rollout = found.rollout
  np.testing.assert_array_equal(rollout.group_ids, np.repeat(np.arange(Q), G))
  np.testing.assert_array_equal(rollout.draw_ids, np.repeat(DRAWS, G))
  solution = TOKENIZER.encode(SOLUTION)
  for group, given in enumerate((0, 2, 3)):
    for row in range(group * G, group * G + G):
      start = rollout.prompt_length[row]
      hint = rollout.tokens[row, start : start + given]
      np.testing.assert_array_equal(hint, solution[:given])
      assert not rollout.action_mask[row, : start + given].any()  # given, not learnt
      assert rollout.action_mask[row, start + given : rollout.num_tokens[row]].all()
      assert rollout.num_tokens[row] - start <= sampler[0].max_new_tokens
      completion = found.completions[row]
      assert completion.tokens[:given] == tuple(solution[:given])
      assert completion.prompt.text == prompts()[group].text
  np.testing.assert_array_equal(found.scores.rewards.reshape(Q, G).sum(axis=1), [1, 1, 0])
  metrics = {**experience_metrics(found), **found.metrics}
  for name in metrics:
    check_name(name)
  told = {name: metrics[f'rollout/{name}'] for name in ('rounds', 'hinted', 'rescued')}
  assert told == {'rounds': 4, 'hinted': 2, 'rescued': 1}
  assert metrics['rollout/external_missing'] == 0
  # The policy's own rates, which the curriculum hears of, are those without a hint.
  assert metrics['reward/mean'] == pytest.approx(1 / 12)
  np.testing.assert_allclose(prompt_means(found)[1], [0.25, 0, 0])
  generator, params = sampler
  alone = single_turn(params, prompts(), DRAWS, generator, score_by(rewards), 5)
  np.testing.assert_array_equal(rollout.tokens[:G], alone.rollout.tokens[:G])
  plain = experience_metrics(alone)['rollout/tokens']
  assert plain < metrics['rollout/tokens'] <= plain + 3 * 2 * G * 4
  assert 5 * G <= metrics['rollout/samples'] <= 9 * G and metrics['rollout/samples'] % G == 0


def test_ghpo_leaves_prompts_that_are_solved_or_have_no_solution(sampler):
  easy = rescue(sampler, lambda c: 1.0, {'task': always(SOLUTION)})
  assert easy.metrics['rollout/rounds'] == 1 and easy.metrics['rollout/hinted'] == 0
  unknown = rescue(sampler, lambda c: 0.0, {'a': always(None), 'b': always('abbab')})
  assert unknown.metrics['rollout/rounds'] == 1
  assert unknown.metrics['rollout/external_missing'] == Q
  second = rescue(sampler, lambda c: 0.0, {'a': always(None), 'b': always('b')}, fractions=(1.0,))
  assert second.metrics['rollout/hinted'] == Q


@pytest.mark.parametrize('fractions', [(), (0.5, 0.5), (0.5, 1.5), (0.0, 0.5)])
def test_hints_must_grow(sampler, fractions):
  with pytest.raises(ValueError, match='must rise within'):
    rescue(sampler, lambda c: 0.0, {'task': always('a')}, fractions=fractions)


# -- rgr_grpo -------------------------------------------------------------------------------------


def second_tries(sampler, rewards, guide, **hyper):
  generator, params = sampler
  return refined(
    params, prompts(), DRAWS, generator, score_by(rewards), 5, guide=guide, **hyper
  )


def test_rgr_grpo_better_second_tries_join_the_group(sampler):
  heard = []

  def guide(prompt, completion):
    heard.append((prompt.text, completion))
    return None if prompt.text == 'b>' else 'aab>'

  def rewards(completion):
    if completion.sample_index < G:
      return 1.0 if completion.draw_id == 10 else 0.25 * (completion.sample_index == 2)
    return 0.5 if completion.sample_index == G else 0.1

  found = second_tries(sampler, rewards, guide, num=2, max_prompt=4)
  assert [text for text, _ in heard] == ['a>', 'b>']  # that of draw 10 is right already
  own = single_turn(sampler[1], prompts(), DRAWS, sampler[0], score_by(rewards), 5)
  assert heard[0][1] == own.completions[G + 2].text
  external = found.extras['is_external']
  np.testing.assert_array_equal(np.flatnonzero(external), [2 * G - 1])
  completion, row = found.completions[2 * G - 1], 2 * G - 1
  assert completion.prompt.text == 'a>' and completion.sample_index == G
  assert found.scores.rewards[row] == 0.5
  used = tuple(found.rollout.tokens[row, : found.rollout.num_tokens[row]].tolist())
  assert used == (*TOKENIZER.encode('a>'), *completion.tokens)  # the prompt without guidance
  assert not found.rollout.policy_logprobs[row].any()
  metrics = found.metrics
  assert metrics['rollout/refined'] == 2 and metrics['rollout/external'] == 1
  assert metrics['reward/mean'] == pytest.approx(own.scores.rewards.mean())
  assert metrics['rollout/tokens'] > experience_metrics(own)['rollout/tokens']
  assert metrics['rollout/samples'] == len(own.completions) + 2
  for name in metrics:
    check_name(name)
  nothing = second_tries(sampler, rewards, lambda prompt, completion: None)
  assert nothing.is_own.all() and nothing.metrics['rollout/refined'] == 0
  with pytest.raises(ValueError, match='num=5 is not in 1 … 4'):
    second_tries(sampler, rewards, guide, num=5)


def test_rgr_grpo_says_again_what_was_missed_and_pays_for_each_criterion():
  asked = [
    {'kind': 'keywords', 'keywords': ['lamp']},
    {'kind': 'no_commas'},
    {'kind': 'no_digits'},
  ]
  prompt = Prompt('Write. A. B. C.\n', 0, metadata={'constraints': asked})
  again = remind(prompt, 'one, two, 3')
  assert again == (
    'Write. A. B. C. These words must appear: lamp. Use no comma. Use no digit.\n'
  )
  assert remind(prompt, 'one, lamp') == 'Write. A. B. C. Use no comma.\n'
  assert remind(prompt, 'a lamp') is None

  def reward(text, **hyper):
    node = {'name': 'rewards.constraints.rubric', **hyper}
    with Scorer(node, workers=0) as scorer:
      scores = scorer.score([Completion(prompt, (0,), text, False)])
    return scores.rewards[0], scores.components

  assert reward('one, two')[0] == pytest.approx(1 / 3)
  found, parts = reward('one, two', weights=(('keywords', 2.0),))
  assert found == pytest.approx(1 / 4) and parts['strict'][0] == 0
  assert reward('a lamp', weights=(('keywords', 2.0),))[0] == 1
  with pytest.raises(ValueError, match='keyword'):
    constraints.rubric('a', prompt.metadata, weights=(('keyword', 2.0),))


def test_a_hint_needs_no_program_of_its_own_for_each_stage(sampler):
  rescue(sampler, lambda c: 0.0, {'task': always(SOLUTION)}, fractions=(0.3,))
  compiled = sampler[0].program.whole._cache_size()
  rescue(sampler, lambda c: float(c.draw_id == 10), {'task': always(SOLUTION)})
  assert sampler[0].program.whole._cache_size() == compiled
