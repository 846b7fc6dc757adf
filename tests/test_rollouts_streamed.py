"""Rollouts that are scored as their samples end."""

import dataclasses

import jax
import numpy as np
import pytest
from test_rollouts_filtered import G, Supply, sampler, scorer  # noqa: F401

from rljax.metrics.names import check_name
from rljax.rollouts import SamplerProgram, single_turn, streamed
from rljax.rollouts.measures import experience_metrics
from rljax.sharding import make_mesh

PROMPTS, DRAWS = Supply.prompts(np.arange(3)), [0, 1, 2]
SCORE = scorer(lambda draw: [draw, -draw])


@pytest.mark.parametrize('shards', [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_everything_that_ends_is_what_one_program_draws(sampler, shards):  # noqa: F811
  generate, params = sampler
  generate = dataclasses.replace(generate, sampler=dict(slots=2, window=1), capture=('entropy',))
  if shards > 1:
    mesh = make_mesh(data=shards, fsdp=1, devices=jax.devices()[:shards])
    program = SamplerProgram(generate.program.policy, mesh)
    generate = dataclasses.replace(generate, program=program)
  found = streamed(params, PROMPTS, DRAWS, generate, SCORE, 7, num_windows=2)
  wanted = single_turn(params, PROMPTS, DRAWS, generate, SCORE, 7)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found.rollout, wanted.rollout
  )
  assert found.completions == wanted.completions
  np.testing.assert_array_equal(found.scores.rewards, wanted.scores.rewards)
  np.testing.assert_array_equal(found.scores.components['draw'], [0, 0, 1, 1, 2, 2])
  assert found.scores.errors == 3 and found.scores.messages == {'odd': 9}  # of three calls
  assert found.metrics == {'rollout/unfinished_groups': 0}
  experience_metrics(found)


def test_a_rollout_that_need_not_wait_leaves_slow_groups_out(sampler):  # noqa: F811
  generate, params = sampler
  generate = dataclasses.replace(generate, sampler=dict(slots=2, window=1))
  seen = []

  def score(completions):
    seen.append([c.draw_id for c in completions])
    return SCORE(completions)

  found = streamed(params, PROMPTS, DRAWS, generate, score, num_windows=1, enough=0.3)
  assert seen == [[0, 0]]  # two slots: the first group ends before the last one begins
  assert found.rollout.group_ids.tolist() == [0] * G + [-1] * (2 * G)
  assert len(found.completions) == G and found.scores.rewards.tolist() == [0, 0]
  assert found.metrics == {'rollout/unfinished_groups': 2}
  for name in found.metrics:
    check_name(name)


def test_messages(sampler):  # noqa: F811
  generate, params = sampler
  with pytest.raises(ValueError, match=r'enough=0 is not in \(0, 1\]'):
    streamed(params, PROMPTS, DRAWS, generate, SCORE, enough=0)
