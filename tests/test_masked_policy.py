"""A policy that says only what its mask holds likely (RL4LMs, NLPO): models, stage, run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import small_machine, tiny_config

from rljax import assembly, config, models, sampling
from rljax.stages import make_stage
from rljax.structs import SamplerSettings

PLAIN = models.decoder(
  vocab_size=11, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32, value_head=True
)
MASKED = models.masked(PLAIN, top_p=0.6)


def params_of(spread=1.0):
  """Policy and mask, with distributions that are far from flat."""
  def one(seed):
    params = PLAIN.init(jax.random.key(seed))
    return {**params, 'embedding': spread * params['embedding']}
  return {'policy': one(0), 'mask': one(1)}


def logits_of(policy, params, tokens):
  ids = jnp.zeros(tokens.shape, jnp.int32)
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
  hidden, _ = policy.hidden(params, tokens, segment_ids=ids, positions=positions)
  return policy.unembed(policy.head(params), hidden), hidden


def nucleus(logits, top_p=0.6):
  """bool [..., V]: the best tokens until they reach top_p."""
  probs = np.asarray(jax.nn.softmax(logits))
  above = (probs[..., None, :] > probs[..., :, None]) * probs[..., None, :]
  return above.sum(-1) < top_p


TOKENS = jnp.asarray(np.random.default_rng(0).integers(2, 11, (3, 7)), jnp.int32)


@pytest.mark.thorough
def test_rl4lms_masks_what_the_mask_holds_unlikely():
  params = params_of()
  own, hidden = logits_of(PLAIN, params['policy'], TOKENS)
  inside = nucleus(logits_of(PLAIN, params['mask'], TOKENS)[0])
  found, both = logits_of(MASKED, params, TOKENS)
  assert 0.1 < inside.mean() < 0.9
  np.testing.assert_allclose(np.asarray(found)[inside], np.asarray(own)[inside], rtol=1e-5)
  left = np.where(inside, 0, jax.nn.softmax(found))
  assert left.max() < 1e-10
  np.testing.assert_allclose(
    MASKED.value(params, both), PLAIN.value(params['policy'], hidden), rtol=1e-5
  )
  grads = jax.grad(lambda p: jnp.sum(jax.nn.log_softmax(logits_of(MASKED, p, TOKENS)[0])[..., 3]))
  found = grads(params)
  assert not any(np.any(x) for x in jax.tree.leaves(found['mask']))
  assert np.any(found['policy']['embedding'])
  with pytest.raises(ValueError, match='top_p=0'):
    models.masked(PLAIN, top_p=0)


@pytest.mark.thorough
def test_rl4lms_samples_from_what_it_trains():
  params, settings = params_of(), SamplerSettings(length=10, slots=2, window=2)
  requests = sampling.make_requests(
    [[2, 3, 4], [5, 6]], draw_ids=[0, 1], samples_per_prompt=3, max_prompt=3, max_new_tokens=7,
    temperature=1.0, stop_ids=[1], length=10,
  )  # fmt: skip
  rollout = jax.jit(
    lambda p, r: sampling.sample(MASKED, p, r, seed=jnp.uint32(0), settings=settings)
  )(params, requests)
  logits, _ = logits_of(MASKED, params, rollout.tokens)
  said = jnp.take_along_axis(
    jax.nn.log_softmax(logits)[:, :-1], rollout.tokens[:, 1:, None], axis=2
  )[..., 0]
  drawn = np.asarray(rollout.action_mask)[:, 1:]
  np.testing.assert_allclose(
    np.asarray(said)[drawn], np.asarray(rollout.policy_logprobs)[:, 1:][drawn], atol=1e-4
  )
  inside = nucleus(logits_of(PLAIN, params['mask'], rollout.tokens)[0])[:, :-1]
  hit = np.take_along_axis(inside, np.asarray(rollout.tokens)[:, 1:, None], axis=2)[..., 0]
  assert drawn.sum() > 10 and hit[drawn].all()


def tiny(**changes):
  rl = dict(kind='masked_rl', mask_top_p=0.7, mask_every=4, minibatches=2, entropy_coef=0.1)
  return tiny_config(stages=('rl',), rl={**rl, **changes})


@pytest.mark.slow
def test_rl4lms_renews_its_mask_now_and_then(tmp_path):
  with small_machine(tmp_path):
    world = assembly.assemble(config.resolve(tiny()))
    stage = make_stage('rl', world)
    params = jax.tree.map(lambda x: x.copy(), world.params)
    state, lags = stage.init(params, jax.random.key(0)), []
    for iteration in range(4):
      collected = stage.collect(state, iteration)
      state, seen = stage.update(state, {}, collected.batch, stage.hyper(iteration))
      apart = jax.tree.map(
        lambda a, b: jnp.max(jnp.abs(a - b)), state.params['policy'], state.params['mask']
      )
      lags.append(max(map(float, jax.tree.leaves(apart))) > 0)
      assert seen['update/skipped'] == 0 and seen['rollout/mismatch_max'] < 1e-3
    found = stage.evaluate(state.params, {})
    world.close()
  assert lags == [True, False, True, False]  # two optimizer steps an iteration, renewed at 4 and 8
  assert 0 <= found['greedy'] <= 1


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(mask_every=0), 'rl.mask_every is 0'),
    (dict(sampler=dict(speculate='draft')), "'draft', and a masked policy has no draft model"),
  ],
)
def test_what_cannot_be_masked(tmp_path, changes, message):
  settings = config.resolve(tiny(**changes))
  settings.rl.sampler.speculate, how = '', settings.rl.sampler.speculate
  with small_machine(tmp_path):
    world = assembly.assemble(settings)
    world.config.rl.sampler.speculate = how
    with pytest.raises(ValueError, match=message):
      make_stage('rl', world)
    world.close()
