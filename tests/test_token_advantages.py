"""Advantages per token and what shapes them: one line of CASES holds a function to its word."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches
from reference import token_advantages as reference

from rljax import advantages
from rljax.binding import signature


@functools.lru_cache
def compiled_gae(**hyper):
  return jax.jit(functools.partial(advantages.gae, **hyper))


def run_gae(batch, **hyper):
  names = signature(advantages.gae).arrays
  return compiled_gae(**hyper)(*(jnp.asarray(batch[n]) for n in names))


@pytest.mark.parametrize(
  'hyper',
  [{'whiten': False}, {'gamma': 0.9, 'gae_lambda': 0.7, 'bootstrap_truncated': True}],
  ids=['plain', 'everything on'],
)
def test_gae_is_the_recursion(hyper):
  for seed in (0, 1):
    batch = batches.packed(seed)
    batch['rewards'][next(batches.samples(batch))[0]] = np.nan
    expected = reference.gae(batch, list(batches.samples(batch)), **hyper)
    with jax.enable_x64(True):
      found = run_gae(batch, **hyper)
      jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), found, expected)


def test_gae_golden_values():
  # γ = 1, λ = 0.95, a masked token in place 2; the masked token carries 0.6 to its left.
  found, returns = compiled_gae(whiten=False)(
    jnp.ones(1),
    jnp.zeros((1, 4)),
    jnp.array([[0.1, 0.2, 0.9, 0.4]]),
    jnp.array([[True, True, False, True]]),
    jnp.zeros((1, 4), jnp.int32),
    jnp.zeros((1, 1), jnp.int32),
    jnp.zeros(1, bool),
  )
  np.testing.assert_allclose(found, [[0.8315, 0.77, 0, 0.6]], atol=1e-6)
  np.testing.assert_allclose(returns, [[0.9315, 0.97, 0, 1.0]], atol=1e-6)


def test_gae_ignores_what_is_masked():
  batch = batches.packed(2)
  batch = {n: x.astype(np.float32) if x.dtype == float else x for n, x in batch.items()}
  expected = run_gae(batch)
  for filler in (np.nan, 1e30):
    dirty = dict(batch)
    dirty['values'] = np.where(batch['action_mask'], batch['values'], filler)
    # A reward on a masked token counts, but not on a prompt or on padding.
    dirty['token_rewards'] = batch['token_rewards'].copy()
    dirty['token_rewards'][batch['segment_ids'] < 0] = filler
    for _, places in batches.samples(batch):
      dirty['token_rewards'][places[0]] = filler
    dirty['rewards'] = np.where(batch['sample_slots'] >= 0, batch['rewards'], filler)
    dirty = {n: x.astype(batch[n].dtype) for n, x in dirty.items()}
    jax.tree.map(np.testing.assert_array_equal, run_gae(dirty), expected)


def test_whiten():
  rng = np.random.default_rng(0)
  x, mask = rng.normal(size=(3, 8)), rng.random((3, 8)) < 0.6
  found = advantages.whiten(jnp.where(mask, x, np.nan), jnp.asarray(mask))
  assert found[mask].mean() == pytest.approx(0, abs=1e-6)
  assert found[mask].std(ddof=1) == pytest.approx(1, abs=1e-6)
  assert not np.any(found[~mask])
  assert not np.any(advantages.whiten(jnp.full((3, 8), 0.1), jnp.asarray(mask)))
