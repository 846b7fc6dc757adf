"""From prompts to scored samples: the generator, the default strategy, its metrics and rows."""

import math

import jax
import numpy as np
import pytest

from rljax import tokenization
from rljax.models import decoder
from rljax.prompts import Prompt
from rljax.rewards import Scorer, Scores
from rljax.rollouts import Experience, Generator, single_turn
from rljax.rollouts.generate import fetch
from rljax.rollouts.measures import experience_metrics, prompt_means, table_rows
from rljax.sampling import sample

TOKENIZER = tokenization.characters(alphabet='ab>')


def prompts(*texts):
  return [
    Prompt(text=t, prompt_id=10 + i, tokens=tuple(TOKENIZER.encode(t)))
    for i, t in enumerate(texts)
  ]


@pytest.fixture(scope='module')
def drawn():
  """(generator, params, experience of two prompts where three would fit)."""
  policy = decoder(
    vocab_size=TOKENIZER.vocab_size, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32
  )
  program = jax.jit(lambda p, r, seed, s: sample(policy, p, r, seed=seed, settings=s))
  generator = Generator(
    program, TOKENIZER, lambda r: r, prompts=3, samples=4, max_prompt=3, max_new_tokens=4, seed=3
  )
  params = policy.init(jax.random.key(0))
  scorer = Scorer(lambda completion: completion.count('a') / 4, workers=0)
  return generator, params, single_turn(
    params, prompts('a>', 'ab>'), [7, 8], generator, scorer.score, policy_step=5
  )  # fmt: skip


def test_completions_say_what_the_rollout_holds(drawn):
  _, _, experience = drawn
  rollout = experience.rollout
  assert len(experience.completions) == 8 and len(rollout.group_ids) == 12
  np.testing.assert_array_equal(rollout.group_ids, [0] * 4 + [1] * 4 + [-1] * 4)
  for row, completion in enumerate(experience.completions):
    prompt = completion.prompt.tokens
    assert completion.prompt.text == ('a>', 'ab>')[row // 4]
    assert (completion.draw_id, completion.sample_index) == (7 + row // 4, row % 4)
    used = tuple(rollout.tokens[row, : rollout.num_tokens[row]].tolist())
    assert used == (*prompt, *completion.tokens)
    assert rollout.action_mask[row].sum() == len(completion.tokens)
    ends = completion.tokens[-1] in TOKENIZER.eos_ids
    assert completion.truncated != ends and (ends or len(completion.tokens) == 4)
    assert completion.text == TOKENIZER.decode(completion.tokens)
    assert experience.scores.rewards[row] == completion.text.count('a') / 4
  assert np.all(rollout.policy_step[rollout.action_mask] == 5)


def test_values_of_used_rows_go_to_their_places(drawn):
  values = drawn[2].to_rows(np.arange(1, 9))
  np.testing.assert_array_equal(values, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0])


def test_the_draw_number_makes_the_draw(drawn):
  generator, params, experience = drawn

  def tokens(draws, **changes):
    requests = generator.requests(prompts('a>', 'ab>'), draws, **changes)
    return fetch(generator(params, requests)).tokens[:8]

  np.testing.assert_array_equal(tokens([7, 8]), experience.rollout.tokens[:8])
  assert not np.array_equal(tokens([9, 8])[:4], tokens([7, 8])[:4])
  np.testing.assert_array_equal(tokens([9, 8])[4:], tokens([7, 8])[4:])
  later = tokens([7, 8], first_sample_index=2)
  np.testing.assert_array_equal(later[:2], tokens([7, 8])[2:4])
  assert generator.program._cache_size() == 1


def test_a_long_prompt_is_named(drawn):
  with pytest.raises(ValueError, match='prompt 10 has 4 tokens, more than max_prompt=3'):
    drawn[0].requests(prompts('aba>'), [0])


def experience_with(drawn, rewards, **components):
  scores = Scores(np.array(rewards, np.float32), components, 1, 2, {})
  return Experience(drawn[2].rollout, drawn[2].completions, scores)


def test_metrics(drawn):
  rewards = [0, 1, 1, 0, 0.5, 0.5, math.nan, 0.5]
  part = np.array([1, 0, 0, 0, 0, math.nan, math.nan, 0], np.float32)
  experience = experience_with(drawn, rewards, part=part, never=np.full(8, math.nan, np.float32))
  found = experience_metrics(experience)
  assert found['reward/mean'] == pytest.approx(3.5 / 7)
  assert found['reward/std'] == pytest.approx(np.std([0, 1, 1, 0, 0.5, 0.5, 0.5]))
  assert (found['reward/errors'], found['reward/timeouts']) == (1, 2)
  assert found['group/zero_variance'] == 0.5 and found['group/size'] == 3.5
  assert found['reward/part'] == pytest.approx(1 / 6) and 'reward/never' not in found
  lengths = [len(c.tokens) for c in experience.completions]
  assert found['rollout/tokens'] == sum(lengths)
  truncated = np.mean([c.truncated for c in experience.completions])
  assert found['rollout/truncated'] == pytest.approx(truncated)
  assert found['rollout/eos_rate'] == pytest.approx(1 - truncated)
  prompt_ids, means = prompt_means(experience)
  assert prompt_ids == [10, 11]
  np.testing.assert_allclose(means, [0.5, 0.5])


def test_metrics_where_nothing_was_scored(drawn):
  found = experience_metrics(experience_with(drawn, [math.nan] * 8))
  assert math.isnan(found['reward/mean']) and found['group/zero_variance'] == 1


def test_rows_of_the_samples_table(drawn):
  experience = experience_with(drawn, np.arange(8), part=np.arange(8, dtype=np.float32))
  rows = table_rows(experience, most=5)
  assert [row['reward'] for row in rows] == [0, 1, 2, 3, 4]
  assert rows[4]['components'] == {'part': 4.0} and rows[4]['prompt'] == 'ab>'
  assert rows[4]['prompt_id'] == 11 and rows[4]['draw_id'] == 8
