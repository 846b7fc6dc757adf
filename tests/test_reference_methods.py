"""Methods that learn from references: demonstrations weighed, or answers that are made likely."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import config
from rljax.binding import bind
from rljax.data.demonstrations import as_rollout


def stage_of(name, stage):
  return config.load(str(config.find(name)))[stage]


# -- pear -----------------------------------------------------------------------------------------


def weights_of_pear(gaps, *, ref=-2.0, told=0.0, **hyper):
  """The weights of one completion of four tokens behind a prompt of two."""
  gaps = jnp.array([0.0, 0.0, *gaps])[None]
  arrays = {
    'logprobs': gaps + (told or ref),
    'ref_logprobs': jnp.full(gaps.shape, ref),
    'policy_logprobs': jnp.full(gaps.shape, told),
    'action_mask': jnp.arange(6)[None] >= 2,
    'positions': jnp.arange(6, dtype=jnp.int32)[None],
    'prompt_length': jnp.array([2]),
    'segment_ids': jnp.zeros((1, 6), jnp.int32),
    'sample_ids': jnp.zeros((1, 1), jnp.int32),
  }
  bound = bind({**stage_of('papers/pear', 'more').loss, **hyper})
  slope = jax.grad(lambda x: jnp.sum(bound({**arrays, 'logprobs': x})[0][arrays['action_mask']]))
  return -slope(arrays['logprobs'])[0, 2:]


def test_pear_weighs_a_demonstration_by_its_ratio_to_who_wrote_it():
  gaps = [0.3, -0.1, 0.4, 0.2]
  np.testing.assert_allclose(weights_of_pear(gaps), [np.exp(0.8)] * 4, rtol=1e-5)
  found = weights_of_pear(gaps, level='block', block_size=3)
  np.testing.assert_allclose(found, np.exp([0.6, 0.6, 0.6, 0.2]), rtol=1e-5)
  np.testing.assert_allclose(weights_of_pear(gaps, level='token'), np.exp(gaps), rtol=1e-5)
  found = weights_of_pear(gaps, told=-1.0, ref=-9.0)
  np.testing.assert_allclose(found, [np.exp(0.8)] * 4, rtol=1e-5)
  np.testing.assert_allclose(weights_of_pear([-3.0] * 4), [0.1] * 4, rtol=1e-5)
  np.testing.assert_allclose(weights_of_pear([0.0] * 4), [1] * 4, rtol=1e-6)
  with pytest.raises(ValueError, match="level='word'"):
    weights_of_pear(gaps, level='word')


def test_log_probs_of_who_wrote_a_demonstration_stand_on_its_tokens():
  given = dict(length=6, prompt_ids=[5, 6])
  found = as_rollout([[1], [1, 2]], [[3, 4], [5, 6]], logprobs=[[-1.0, -2.0], None], **given)
  np.testing.assert_array_equal(found.policy_logprobs, [[0, -1, -2, 0, 0, 0], [0] * 6])
  with pytest.raises(ValueError, match='prompt 6 has 1 log-probs for 2 tokens'):
    as_rollout([[1], [1, 2]], [[3, 4], [5, 6]], logprobs=[None, [-1.0]], **given)


