"""`full_kl` as a term of the objective: the passes it needs, its gradient by the formula."""

import jax
import jax.numpy as jnp
import numpy as np
from rollouts import random_rollout

from rljax import arrays, loss_pass, objective, update
from rljax.data.packing import make_layout, pack
from rljax.models import decoder

STAGE = dict(
  loss=dict(name='losses.clipped_surrogate'),
  weights=dict(name='weighting.token_sum'),
  advantage=dict(name='advantages.group_normalize'),
  kl=dict(name='regularizers.full_reverse_kl'),
  kl_coef=0.3,
)


def test_full_kl_needs_the_reference_and_no_early_pass():
  terms = objective.build(STAGE)
  assert terms.statistics == ('logprobs', 'entropy', 'full_kl')
  assert 'reference' in terms.frozen_roles and not terms.needs
  assert not objective.build({**STAGE, 'kl_coef': 0.0}).frozen_roles
  k3 = objective.build({**STAGE, 'kl': dict(name='regularizers.reverse_kl')})
  assert k3.frozen_roles == {'reference'} and k3.statistics == ('logprobs', 'entropy')


def test_the_gradient_is_that_of_the_formula():
  """Against jax's own gradient of Σ w Σ_v π (log π − log ref), all logits at once, in float64."""
  rollout, _ = random_rollout(3)
  rewards = np.ones(len(rollout.group_ids))  # equal: no advantage, the KL alone
  layout = make_layout(samples=24, group_size=4, max_length=20, rows=4, row_length=40)
  with jax.enable_x64(True):
    policy = decoder(
      vocab_size=13, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32,
      compute_dtype='float64', param_dtype='float64',
    )  # fmt: skip
    policies = {'policy': policy, 'reference': policy}
    params = {'policy': policy.init(jax.random.key(0))}
    frozen = {'reference': policy.init(jax.random.key(1))}
    batch, _ = pack(rollout, rewards, layout)
    wide = {np.dtype('float32'): np.float64}
    batch = jax.tree.map(lambda x: jnp.asarray(x, wide.get(x.dtype, x.dtype)), batch)
    terms = objective.build(STAGE)
    hyper = terms.hyper(0)
    batch, *_ = update.prepare(
      batch, params, frozen, hyper, objective=terms, policies=policies, chunk_size=512
    )
    rows = jax.tree.map(lambda x: x[0, 0], arrays.token_arrays(batch))
    samples = arrays.sample_arrays(batch)

    def loss(params):
      return loss_pass.micro_loss(
        params, rows, samples, hyper, objective=terms, policies=policies, chunk_size=7,
        frozen=frozen,
      )[0]  # fmt: skip

    def formula(params):
      log = [_log_softmax(policy, p, rows, samples) for p in (params, frozen['reference'])]
      kl = jnp.sum(jnp.exp(log[0]) * (log[0] - log[1]), axis=-1)
      return 0.3 * jnp.sum(jnp.where(rows['action_mask'], kl * rows['weights']['full'], 0))

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    expected, wanted = jax.jit(jax.value_and_grad(lambda p: formula(p['policy'])))(params)
    assert float(expected) > 0.1
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted)):
      assert float(jnp.linalg.norm((a - b).ravel())) <= 1e-10 * float(jnp.linalg.norm(b.ravel()))


def _log_softmax(policy, params, rows, samples):
  """[r, T, V]: log-probs of the distribution from which each token was drawn."""
  hidden, _ = policy.hidden(
    params, rows['tokens'], segment_ids=rows['segment_ids'], positions=rows['positions']
  )
  logits = policy.unembed(policy.head(params), hidden)
  before = jnp.concatenate([logits[:, :1], logits[:, :-1]], axis=1)
  sample = jnp.take_along_axis(rows['sample_ids'], jnp.maximum(rows['segment_ids'], 0), axis=1)
  temperature = jnp.where(rows['segment_ids'] >= 0, samples['temperature'][sample], 1)
  return jax.nn.log_softmax(before / temperature[..., None], axis=-1)
