"""Strategies that sample more than they hand on: dynamic sampling, the greedy baseline."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from tiny_runs import small_machine, tiny_config

from rljax import assembly, config, tokenization
from rljax.data.packing import make_layout, pack
from rljax.metrics.names import check_name
from rljax.models import decoder
from rljax.prompts import Prompt
from rljax.rewards import Scores
from rljax.rollouts import (
  Generator,
  SamplerProgram,
  dynamic_sampling,
  greedy_baseline,
  single_turn,
)
from rljax.rollouts.filtered import ShortfallError
from rljax.rollouts.measures import experience_metrics, is_hopeless, prompt_means, table_rows
from rljax.sharding import make_mesh
from rljax.stages import make_stage

TOKENIZER = tokenization.characters(alphabet='ab>')
Q, G = 3, 2
LAYOUT = make_layout(samples=Q * G, group_size=G, max_length=7)


@pytest.fixture(scope='module')
def sampler():
  """(generator of three prompts with two samples each, params)."""
  policy = decoder(
    vocab_size=TOKENIZER.vocab_size, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32
  )
  program = SamplerProgram(policy, make_mesh(devices=jax.devices()[:1]))
  generator = Generator(
    program, TOKENIZER, lambda r: r, prompts=Q, samples=G, max_prompt=3, max_new_tokens=4, seed=3
  )
  return generator, policy.init(jax.random.key(0))


class Supply:
  """Endless prompts; draw d is of prompt 100 + d."""

  def __init__(self, first, last=10**6):
    self.at, self.last, self.asked = first, last, []

  def __call__(self, count):
    self.asked.append(count)
    draws = np.arange(self.at, min(self.at + count, self.last))
    self.at = int(draws[-1]) + 1 if len(draws) else self.at
    return self.prompts(draws), draws

  @staticmethod
  def prompts(draws):
    texts = ['ab>', 'a>', 'b>']
    tokens = [tuple(TOKENIZER.encode(text)) for text in texts]
    return [
      Prompt(text=texts[d % 3], prompt_id=100 + int(d), tokens=tokens[d % 3]) for d in draws
    ]


def scorer(rewards):
  """Scores by draw: `rewards(draw) -> rewards of its samples`."""

  def score(completions):
    found = np.array([rewards(c.draw_id)[c.sample_index] for c in completions], np.float32)
    part = np.array([c.draw_id for c in completions], np.float32)
    return Scores(found, {'draw': part}, 1, 2, {'odd': 3})

  return score


def run(sampler, rewards, *, supply=None, **hyper):
  """Dynamic sampling of draws 10, 11, 12 and those that follow."""
  generator, params = sampler
  supply = Supply(13) if supply is None else supply
  first = np.arange(10, 10 + Q)
  return dynamic_sampling(
    params, Supply.prompts(first), first, generator, scorer(rewards), supply, 5, **hyper
  )


def varied_if(passes):
  return lambda draw: (0.0, 1.0) if passes(draw) else (float(draw % 2),) * 2


def test_groups_that_vary_are_handed_on_in_the_order_of_their_draws(sampler):
  supply = Supply(13)
  found = run(sampler, varied_if(lambda d: d % 3 == 0), supply=supply)  # 12, 15, 18 of 10 … 18
  rollout = found.rollout
  np.testing.assert_array_equal(rollout.group_ids, [0, 0, 1, 1, 2, 2])
  np.testing.assert_array_equal(rollout.draw_ids, [12, 12, 15, 15, 18, 18])
  np.testing.assert_array_equal(rollout.prompt_ids, 100 + rollout.draw_ids.astype(int))
  assert supply.asked == [3, 3]
  # Each is what a call of its own would have drawn.
  generator, params = sampler
  alone = single_turn(
    params, Supply.prompts([12, 15, 18]), [12, 15, 18], generator, scorer(lambda d: (0, 1)), 5
  )
  for field in dataclasses.fields(rollout):
    a, b = getattr(rollout, field.name), getattr(alone.rollout, field.name)
    assert (a is None) == (b is None)
    if a is not None:
      assert a.dtype == b.dtype
      np.testing.assert_allclose(a, b, atol=1e-6, err_msg=field.name)
  assert [c.text for c in found.completions] == [c.text for c in alone.completions]
  assert [c.prompt.prompt_id for c in found.completions] == [112, 112, 115, 115, 118, 118]
  np.testing.assert_array_equal(found.scores.rewards, [0, 1, 0, 1, 0, 1])
  np.testing.assert_array_equal(found.scores.components['draw'], rollout.draw_ids)
  assert (found.scores.errors, found.scores.timeouts) == (3, 6)
  assert found.scores.messages == {'odd': 9}
  assert generator.program.whole._cache_size() == 1


def test_nothing_more_is_drawn_where_all_groups_pass(sampler):
  supply = Supply(13)
  found = run(sampler, lambda d: (0.2, 0.7), supply=supply)
  assert supply.asked == [] and found.further_means == []
  assert found.metrics['rollout/rounds'] == 1 and found.metrics['rollout/dropped_groups'] == 0
  np.testing.assert_array_equal(found.rollout.draw_ids, [10, 10, 11, 11, 12, 12])


def test_what_was_sampled_is_counted(sampler):
  # 11 passes of the first three; six are wanted for the two that are missing, three fit; of those
  # 13, 14 and 15 pass, one more than needed.
  supply = Supply(13)
  found = run(sampler, varied_if(lambda d: d >= 13 or d == 11), supply=supply)
  assert supply.asked == [3]
  np.testing.assert_array_equal(found.rollout.draw_ids[::2], [11, 13, 14])
  counts = {
    'rounds': 2,
    'generated_groups': 6,
    'dropped_groups': 2,
    'surplus_groups': 1,
    'missing_groups': 0,
  }
  assert {n: found.metrics[f'rollout/{n}'] for n in counts} == counts
  assert found.metrics['reward/mean'] == pytest.approx(0.5 * 4 / 6)  # 10 and 12 have 0
  assert found.metrics['group/zero_variance'] == pytest.approx(2 / 6)
  generator, params = sampler
  draws = [np.arange(10, 13), np.arange(13, 16)]
  tokens = [
    single_turn(params, Supply.prompts(d), d, generator, scorer(lambda d: (0, 1)), 5) for d in draws
  ]
  assert found.metrics['rollout/tokens'] == sum(
    len(c.tokens) for part in tokens for c in part.completions
  )
  for name in found.metrics:
    check_name(name)
  # The curriculum hears of every group once.
  ids, means = prompt_means(found)
  assert dict(zip(ids, means)) == {111: 0.5, 113: 0.5, 114: 0.5, 110: 0, 112: 0, 115: 0.5}
  assert len(ids) == 6


def test_a_further_round_asks_for_what_is_likely_to_do(sampler):
  supply = Supply(13)
  run(sampler, varied_if(lambda d: d in (10, 11, 13)), supply=supply)  # 2 of 3, so 1 / (2/3) = 2
  assert supply.asked == [2]


@pytest.mark.parametrize('passing', [0, 1])
def test_a_shortfall_leaves_rows_empty(sampler, passing):
  supply = Supply(13)
  found = run(sampler, varied_if(lambda d: d < 10 + passing), supply=supply, max_rounds=4)
  assert found.metrics['rollout/rounds'] == 4 and len(supply.asked) == 3
  assert found.metrics['rollout/missing_groups'] == 3 - passing
  rollout, used = found.rollout, np.arange(Q * G) < G * passing
  np.testing.assert_array_equal(rollout.group_ids, np.where(used, 0, -1))
  for name in ('tokens', 'mask', 'action_mask', 'policy_logprobs', 'num_tokens', 'truncated'):
    assert not np.any(getattr(rollout, name)[~used]), name
  assert np.all(rollout.prompt_ids[~used] == -1) and np.all(rollout.temperature == 1)
  assert len(found.completions) == len(found.scores.rewards) == G * passing
  batch, _ = pack(rollout, found.to_rows(found.scores.rewards), LAYOUT)
  assert np.sum(batch.sample_ids >= 0) == G * passing
  assert np.sum(batch.group_ids >= 0) == G * passing
  assert len(table_rows(found)) == G * passing
  # An empty iteration says what was the matter.
  merged = {**experience_metrics(found), **found.metrics}
  assert ('same reward' in (is_hopeless([merged]) or '')) == (passing == 0)
  ids, means = prompt_means(found)
  drawn = found.metrics['rollout/generated_groups']
  assert sorted(ids) == list(range(110, 110 + drawn)) and np.all(np.isfinite(means))


def test_a_shortfall_may_be_filled_or_an_error(sampler):
  found = run(sampler, varied_if(lambda d: d == 11), max_rounds=2, on_shortfall='fill')
  np.testing.assert_array_equal(found.rollout.draw_ids, [10, 10, 11, 11, 12, 12])
  assert found.metrics['rollout/missing_groups'] == 2
  assert [i for i, _ in found.further_means] == [113, 114, 115]
  with pytest.raises(ShortfallError, match=r"1 of 3 .* keep='varied' after 2 rounds \(6 groups\)"):
    run(sampler, varied_if(lambda d: d == 11), max_rounds=2, on_shortfall='error')


def test_a_supply_that_ends_ends_the_rounds(sampler):
  supply = Supply(13, last=14)
  found = run(sampler, varied_if(lambda d: d == 13), supply=supply)
  np.testing.assert_array_equal(found.rollout.draw_ids[found.rollout.group_ids >= 0], [13, 13])
  assert found.metrics['rollout/rounds'] == 2 and found.metrics['rollout/generated_groups'] == 4


def test_a_band_of_mean_rewards(sampler):
  means = {10: 0.25, 11: 0.3, 12: 0.75, 13: 0.74, 14: 0.5}
  found = run(
    sampler, lambda d: (means.get(d, 0.6),) * 2, keep='band', low=0.25, high=0.75
  )
  np.testing.assert_array_equal(found.rollout.draw_ids[::2], [11, 13, 14])


def test_rewards_that_are_not_finite_make_no_group_pass(sampler):
  nan, inf = math.nan, math.inf
  rewards = {10: (nan, 1.0), 11: (nan, nan), 12: (inf, 0.0), 13: (1e6, 1e6 + 0.5), 14: (0, 1e-3)}
  found = run(sampler, lambda d: rewards.get(d, (0.0, 1.0)))
  np.testing.assert_array_equal(found.rollout.draw_ids[::2], [14, 15, 16])
  found = run(sampler, lambda d: rewards.get(d, (0.0, 1.0)), keep='band', low=0.6, high=2.0)
  np.testing.assert_array_equal(found.rollout.draw_ids[: G], [10, 10])  # by its one finite reward
  assert np.sum(found.rollout.group_ids >= 0) == G
  assert math.isnan(dict(found.further_means)[111])


def test_unknown_options_are_errors(sampler):
  for name, value in (('keep', 'all'), ('on_shortfall', 'wait')):
    with pytest.raises(ValueError, match=f'dynamic_sampling: {name} {value!r}'):
      run(sampler, lambda d: (0, 1), **{name: value})


# -- the greedy baseline ---------------------------------------------------------------------------


def test_the_baseline_is_the_reward_of_the_greedy_completion(sampler):
  generator, params = sampler
  draws = [10, 11]  # two prompts where three would fit

  def score(completions):
    return Scores(
      np.array([len(c.tokens) + 0.1 * c.text.count('a') for c in completions], np.float32),
      {}, 0, 0, {},
    )  # fmt: skip

  found = greedy_baseline(params, Supply.prompts(draws), draws, generator, score, 5)
  alone = single_turn(params, Supply.prompts(draws), draws, generator, score, 5)
  np.testing.assert_array_equal(found.rollout.group_ids, alone.rollout.group_ids)
  for name in ('tokens', 'draw_ids', 'sample_index', 'action_mask', 'policy_step'):
    a, b = getattr(found.rollout, name), getattr(alone.rollout, name)
    np.testing.assert_array_equal(a[:4], b[:4])
    assert not np.any(a[4:])
  assert [c.tokens for c in found.completions] == [c.tokens for c in alone.completions]
  np.testing.assert_array_equal(found.scores.rewards, alone.scores.rewards)
  cold = dataclasses.replace(generator, temperature=0.0)
  greedy = single_turn(params, Supply.prompts(draws), draws, cold, score, 5)
  np.testing.assert_array_equal(greedy.scores.rewards[::2], greedy.scores.rewards[1::2])
  baseline = found.extras['baseline_rewards']
  assert baseline.dtype == np.float32
  np.testing.assert_array_equal(baseline, [*greedy.scores.rewards, 0, 0])
  assert found.metrics['reward/baseline'] == pytest.approx(greedy.scores.rewards.mean())
  sampled = [*alone.completions, *greedy.completions[::2]]
  assert found.metrics['rollout/tokens'] == sum(len(c.tokens) for c in sampled)
  rewards = found.to_rows(found.scores.rewards)
  batch, _ = pack(found.rollout, rewards, LAYOUT, extras=found.extras)
  np.testing.assert_array_equal(batch.extras['baseline_rewards'], baseline)


def test_a_baseline_without_reward_is_not_a_number(sampler):
  generator, params = sampler
  draws = [10, 11, 12]

  def score(completions):
    rewards = [math.nan if (c.draw_id, c.sample_index) == (11, G) else 1.0 for c in completions]
    return Scores(np.array(rewards, np.float32), {}, 0, 0, {})

  found = greedy_baseline(params, Supply.prompts(draws), draws, generator, score)
  np.testing.assert_array_equal(
    found.extras['baseline_rewards'], [1, 1, math.nan, math.nan, 1, 1]
  )
  assert found.metrics['reward/baseline'] == 1


# -- in a stage ------------------------------------------------------------------------------------


def share_of_a(completion):
  return completion.count('a') / 4


@pytest.mark.parametrize(
  'strategy', ['dynamic_sampling', pytest.param('greedy_baseline', marks=pytest.mark.thorough)]
)
def test_a_stage_collects_by_the_strategy(strategy, tmp_path_factory):
  changes = {
    'rl': {'rollout': {'name': f'rollouts.{strategy}'}},
    'rewards': {'reward': 'test_rollouts_filtered.share_of_a'},
  }
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    world = assembly.assemble(config.resolve(tiny_config(stages=('rl',), **changes)))
    stage = make_stage('rl', world)
    state = stage.init({'policy': world.params['policy']}, jax.random.key(0))
    collected = stage.collect(state, 0)
    for name in collected.metrics:
      check_name(name)
    batch = collected.batch
    if strategy == 'dynamic_sampling':
      assert stage.draws == collected.metrics['rollout/generated_groups']
      rewards, groups = np.asarray(batch.rewards), np.asarray(batch.group_ids)
      there = [g for g in np.unique(groups) if g >= 0]
      assert there and all(np.ptp(rewards[groups == g]) > 0 for g in there)
    else:
      assert stage.draws == 4
      assert np.asarray(batch.extras['baseline_rewards']).shape == (16,)
