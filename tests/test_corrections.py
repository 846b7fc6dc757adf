"""Mismatch metrics against their definitions."""

import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches

from rljax.corrections import mismatch_metrics


def test_definitions():
  batch = batches.packed(0)
  mask = batch['action_mask']
  old, mu = batch['old_logprobs'], batch['policy_logprobs']
  w = np.exp(old - mu)[mask]
  dirty = jnp.where(mask, old, np.nan), jnp.where(mask, mu, np.inf)
  found = mismatch_metrics(*dirty, jnp.asarray(mask))  # ratio the other way round: w → 1/w
  assert found['mismatch/kl'] == pytest.approx(np.mean(np.log(w)), rel=1e-4)
  found = mismatch_metrics(dirty[1], dirty[0], jnp.asarray(mask))
  expected = {
    'kl': np.mean(-np.log(w)),
    'k3': np.mean(w - 1 - np.log(w)),
    'ess': 1 / np.mean((w / w.mean()) ** 2),
    'chi2_token': np.mean(w**2) - 1,
    'ppl_ratio': np.exp(np.mean(-np.log(w))),
    'abs_mean': np.mean(np.abs(np.log(w))),
    'abs_max': np.max(np.abs(np.log(w))),
  }
  assert {f'mismatch/{name}' for name in expected} == set(found)
  for name, value in expected.items():
    assert found[f'mismatch/{name}'] == pytest.approx(value, rel=1e-4), name


def test_equal_policies_and_empty_masks():
  l = jnp.log(jnp.linspace(0.1, 0.9, 12)).reshape(3, 4)
  for mask in (jnp.ones((3, 4), bool), jnp.zeros((3, 4), bool)):
    found = mismatch_metrics(l, l, mask)
    for name, value in found.items():
      assert value == (1 if name in ('mismatch/ess', 'mismatch/ppl_ratio') else 0), name


def test_tiny_mismatch_is_not_lost_in_rounding():
  gap = jnp.where(jnp.arange(8) % 2 == 0, 1e-4, -1e-4)[None]
  found = mismatch_metrics(jnp.zeros((1, 8)), gap, jnp.ones((1, 8), bool))
  assert found['mismatch/k3'] == pytest.approx(5e-9, rel=0.05)
  assert found['mismatch/chi2_token'] == pytest.approx(2e-8, rel=0.05)
