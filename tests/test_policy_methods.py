"""Methods whose mechanism is a loss or a divergence: each config does what its paper says."""

import jax
import jax.numpy as jnp
import numpy as np

from rljax import config
from rljax.binding import bind
from rljax.logprobs import token_statistics


def stage_of(name, key='rl'):
  return config.load(str(config.find(name)))[key]


def statistics(logits, tokens, names, **options):
  """Of one sample; logits [T, V] of each slot are for the token after it."""
  segments = jnp.zeros((1, len(tokens)), jnp.int32)
  return token_statistics(
    lambda head, hidden: hidden,
    {},
    jnp.asarray(logits, jnp.float32)[None],
    jnp.asarray(tokens, jnp.int32)[None],
    segments,
    temperature=1.0,
    statistics=names,
    **options,
  )


# -- rover ----------------------------------------------------------------------------------------


def test_rover_regresses_on_the_mean_value_of_the_next_state():
  rng = np.random.default_rng(0)
  tokens, reward = [0, 3, 1, 2, 4], 0.7
  new, old = 2 * rng.normal(size=(2, 5, 6))
  names = ('logprobs', 'self_certainty')
  now, before = (statistics(logits, tokens, names) for logits in (new, old))
  bound = bind(stage_of('papers/rover').loss)
  arrays = {
    **now,
    **{f'old_{name}': x for name, x in before.items()},
    'advantages': jnp.full((1, 5), reward),
    'action_mask': jnp.arange(5)[None] > 0,
    'segment_ids': jnp.zeros((1, 5), jnp.int32),
  }
  found = bound(arrays, bound.hyper(0))[0][0]
  gap = np.asarray(jax.nn.log_softmax(new) - jax.nn.log_softmax(old))  # of all actions
  for t in range(1, 5):
    after = gap[t].mean() if t < 4 else 0  # what follows token t is drawn from row t
    expected = (gap[t - 1, tokens[t]] - reward - after) ** 2
    np.testing.assert_allclose(found[t], expected, rtol=1e-4)


def test_rover_centres_rewards_and_does_not_scale_them():
  bound = bind(stage_of('papers/rover').advantage)
  arrays = {'rewards': jnp.array([1.0, 0, 0, 0]), 'group_ids': jnp.zeros(4, jnp.int32)}
  np.testing.assert_allclose(bound(arrays, bound.hyper(0)), [0.75, -0.25, -0.25, -0.25])
