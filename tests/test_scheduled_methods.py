"""Methods that are a schedule of stages or a sum of metrics: their configs."""

import jax.numpy as jnp
import numpy as np
import pytest

from rljax import config
from rljax.binding import bind
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer


def scored(name, answer, *texts):
  node = config.load(str(config.find(name))).rewards.reward.to_dict()
  prompt = Prompt(text='?', prompt_id=0, answer=answer)
  with Scorer(node, workers=0) as scorer:
    return scorer.score([Completion(prompt, (), text, False, 0, i) for i, text in enumerate(texts)])


# -- vision_r1 ------------------------------------------------------------------------------------


def test_vision_r1_holds_the_tokens_of_its_stages():
  settings = config.resolve(config.load(str(config.find('papers/vision_r1'))))
  baseline = config.resolve(config.load(str(config.find('arithmetic'))))
  stages = [settings[name] for name in settings.stages[1:]]
  assert [stage.kind for stage in stages] == ['rl'] * 3
  limits = [stage.max_new_tokens for stage in stages]
  samples = [stage.samples for stage in stages]
  assert limits == sorted(set(limits)) and samples == sorted(set(samples), reverse=True)
  budgets = [limit * number for limit, number in zip(limits, samples)]
  assert max(budgets) / min(budgets) < 1.05
  assert sum(stage.iterations for stage in stages) == baseline.rl.iterations
  last, plain = stages[-1].to_dict(), baseline.rl.to_dict()
  assert {k for k in plain if last[k] != plain[k]} == {'iterations'}


def test_vision_r1_pays_only_for_form_and_answer_together():
  found = scored('papers/vision_r1', 7, '1+2=3,3+4=7', '1+2=3,3+4=8', 'so 7', '7', '3+4=7', '')
  assert found.rewards.tolist() == [1, 0, 0, 0, 1, 0]
  assert found.components['answer'].tolist() == [1, 0, 1, 1, 1, 0]
  assert found.components['format'].tolist() == [1, 1, 0, 0, 1, 0]


# -- flowse_grpo ----------------------------------------------------------------------------------


def test_flowse_grpo_pays_metrics_that_compete_and_watches_another():
  found = scored('papers/flowse_grpo', 'abcd', 'abcd', 'aaaa', 'dcba', 'abd', '')
  part = found.components
  np.testing.assert_allclose(part['in_order'], [1, 1, 0, 1, 0])
  np.testing.assert_allclose(part['kept'], [1, 0.25, 1, 0.75, 0])
  assert part['right'].tolist() == [1, 0, 0, 0, 0]
  np.testing.assert_allclose(found.rewards, part['in_order'] + part['kept'])


def test_flowse_grpo_normalises_each_metric_and_leaves_the_watcher_out():
  settings = config.load(str(config.find('papers/flowse_grpo'))).rl
  assert settings.reward_components == ('in_order', 'kept')
  bound, rng = bind(settings.advantage), np.random.default_rng(0)
  parts = {'in_order': rng.random(8), 'kept': 1000 * rng.random(8)}
  arrays = {
    'rewards': jnp.zeros(8),
    'group_ids': jnp.repeat(jnp.arange(2), 4),
    'reward_components': {name: jnp.asarray(x, jnp.float32) for name, x in parts.items()},
  }
  expected = np.zeros(8)
  for part in parts.values():
    own = part.reshape(2, 4)
    own = (own - own.mean(1, keepdims=True)) / own.std(1, ddof=1, keepdims=True)
    expected += own.reshape(-1) / 2
  np.testing.assert_allclose(bound(arrays, bound.hyper(0)), expected, rtol=1e-3, atol=1e-4)
  watched = {**arrays['reward_components'], 'right': jnp.arange(8.0)}
  found = bound({**arrays, 'reward_components': watched}, bound.hyper(0))
  assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
