"""Low-rank adapters: one base for policy and reference, merged and apart the same."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import Stopped, Stopper, run, small_machine, tiny_config

from rljax import assembly, checkpoint, config, files, metrics, models, sampling, sharding
from rljax.structs import SamplerSettings

SIZES = dict(vocab_size=24, num_layers=2, d_model=16, num_heads=2, num_kv_heads=1, d_ff=24)
BASE = models.decoder(**SIZES, value_head=True)
LORA = models.lora(BASE, rank=3, alpha=6.0)
RNG = np.random.default_rng(0)
TOKENS = jnp.asarray(RNG.integers(0, 24, (2, 9)), jnp.int32)
PLACES = dict(
  segment_ids=jnp.zeros((2, 9), jnp.int32),
  positions=jnp.broadcast_to(jnp.arange(9, dtype=jnp.int32), (2, 9)),
)


def stirred(tree, scale=0.1, seed=0):
  """`tree` with noise on every leaf: adapters that change something."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: x + scale * rng.standard_normal(x.shape).astype(x.dtype), tree)


def params_of(lora=LORA):
  params = lora.policy.init(jax.random.key(1))
  return {**params, 'policy': stirred(params['policy'])}


def logits_of(policy, params):
  hidden, _ = policy.hidden(params, TOKENS, **PLACES)
  return policy.unembed(policy.head(params), hidden), policy.value(params, hidden)


def assert_near(found, expected, bound=1e-5):
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    assert np.linalg.norm(a - b) <= bound * np.linalg.norm(b)


def test_at_first_nothing_changes():
  params = LORA.policy.init(jax.random.key(1))
  assert set(params['policy']) == {'value_head', *(f'layers/{n}' for n in PRODUCTS)}
  shapes = {n: (x['down'].shape, x['up'].shape) for n, x in params['policy'].items() if '/' in n}
  assert shapes['layers/wq'] == ((2, 16, 3), (2, 3, 2, 8))
  assert shapes['layers/wo'] == ((2, 2, 8, 3), (2, 3, 16))
  assert shapes['layers/w_down'] == ((2, 24, 3), (2, 3, 16))
  for a, b in zip(logits_of(LORA.policy, params), logits_of(BASE, params['base'])):
    np.testing.assert_array_equal(a, b)
  jax.tree.map(np.testing.assert_array_equal, LORA.merge(params), params['base'])


PRODUCTS = ('wq', 'wk', 'wv', 'wo', 'w_gate', 'w_up', 'w_down')


def test_the_change_is_the_product():
  params = params_of()
  a, b = (np.asarray(params['policy']['layers/wo'][n], np.float64) for n in ('down', 'up'))
  expected = np.asarray(params['base']['layers']['wo'], np.float64)
  for layer in range(2):
    change = a[layer].reshape(16, 3) @ b[layer].reshape(3, 16)
    expected[layer] += 6.0 / 3 * change.reshape(2, 8, 16)
  merged = LORA.merge(params)
  np.testing.assert_allclose(merged['layers']['wo'], expected, rtol=1e-5, atol=1e-6)
  assert merged['embedding'] is params['base']['embedding']
  assert merged['value_head'] is params['policy']['value_head']


EXPERTS = dict(num_experts=3, experts_per_token=2, d_expert=8)


@pytest.mark.parametrize(
  'changes, pattern',
  [
    ({}, r'layers/(wq|wk|wv|wo|w_gate|w_up|w_down)'),
    (dict(tie_embeddings=False, qkv_bias=True), r'embedding|head|layers/w[qv]'),
    pytest.param(
      dict(EXPERTS, dense_layers=(0,)), r'layers/(w.|w_down|expert_.*)', marks=pytest.mark.thorough
    ),
  ],
  ids=['products', 'embedding', 'experts'],
)
def test_merged_and_apart_are_the_same(changes, pattern):
  base = models.decoder(**SIZES, value_head=True, **changes)
  lora = models.lora(base, rank=2, pattern=pattern)
  params = params_of(lora)

  @jax.jit
  def both(own):
    now = {'policy': own, 'base': params['base']}
    apart, merged = logits_of(lora.policy, now), logits_of(base, lora.merge(now))
    return apart, merged

  apart, merged = both(params['policy'])
  assert_near(apart, merged)
  assert np.linalg.norm(apart[0] - logits_of(base, params['base'])[0]) > 0.1
  if changes:
    return
  weight = jnp.asarray(RNG.standard_normal(apart[0].shape), jnp.float32)

  def loss(which):
    return lambda own: jnp.sum(jax.nn.log_softmax(both(own)[which][0]) * weight)

  assert_near(*(jax.jit(jax.grad(loss(i)))(params['policy']) for i in (0, 1)), 1e-4)


def test_training_makes_no_array_of_a_weight():
  """The gradient's program holds the base's matrices as arguments and makes none of their size."""
  sizes = dict(SIZES, num_layers=4, d_model=32, d_ff=96, compute_dtype='bfloat16')
  base = models.decoder(**sizes)

  def temporary(lora):
    params = jax.eval_shape(lora.policy.init, jax.random.key(0))
    params['base'] = jax.eval_shape(base.cast, params['base'])

    def loss(own, base):
      hidden, _ = lora.policy.hidden({'policy': own, 'base': base}, TOKENS, **PLACES)
      return jnp.sum(hidden.astype(jnp.float32))

    text = jax.jit(jax.grad(loss)).lower(params['policy'], params['base']).as_text()
    made = re.findall(r'= stablehlo\.(\w+) .*(?:->|:) tensor<4x32x96x', text)
    return set(made) - {'while'}

  assert not temporary(models.lora(base, rank=2))
  assert 'dot_general' in temporary(models.lora(base._replace(products=()), rank=2))


def test_what_cannot_be_adapted():
  for changes, message in (
    (dict(rank=0), 'rank=0'),
    (dict(pattern='wq'), "'wq' fits no parameter; there are embedding, .*layers/wq"),
    (dict(pattern='layers/.*'), 'layers/attention_norm of shape .* is no matrix'),
  ):
    with pytest.raises(ValueError, match=message):
      models.lora(BASE, **changes)


def test_sharded_as_the_base_is():
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  policy = models.lora(models.decoder(**dict(SIZES, num_kv_heads=2)), rank=3).policy
  specs = jax.tree.map(lambda s: s.spec, sharding.policy_shardings(policy, mesh))['policy']
  assert tuple(specs['layers/wq']['down']) == (None, 'fsdp', None)
  assert tuple(specs['layers/wq']['up']) == (None, None, 'tensor', None)
  assert tuple(specs['layers/w_down']['down']) == (None, 'tensor', None)
  assert tuple(specs['layers/w_down']['up']) == (None, None, 'fsdp')


def test_the_sampler_draws_from_what_is_trained():
  params, settings = params_of(), SamplerSettings(length=10, slots=2, window=2)
  requests = sampling.make_requests(
    [[2, 3, 4], [5, 6]], draw_ids=[0, 1], samples_per_prompt=2, max_prompt=3, max_new_tokens=7,
    temperature=1.0, stop_ids=[1], length=10,
  )  # fmt: skip
  rollout = jax.jit(
    lambda p: sampling.sample(LORA.policy, p, requests, seed=jnp.uint32(0), settings=settings)
  )(params)
  ids = jnp.zeros(rollout.tokens.shape, jnp.int32)
  positions = jnp.broadcast_to(jnp.arange(10, dtype=jnp.int32), ids.shape)
  drawn = np.asarray(rollout.action_mask)[:, 1:]
  told = np.asarray(rollout.policy_logprobs)[:, 1:][drawn]
  apart = []
  for now in (params, LORA.policy.init(jax.random.key(1))):
    hidden, _ = LORA.policy.hidden(now, rollout.tokens, segment_ids=ids, positions=positions)
    logits = LORA.policy.unembed(LORA.policy.head(now), hidden)
    said = jax.nn.log_softmax(logits)[:, :-1]
    said = jnp.take_along_axis(said, rollout.tokens[:, 1:, None], axis=2)[..., 0]
    apart.append(np.abs(np.asarray(said)[drawn] - told).max())
  assert apart[0] < 1e-4 and apart[1] > 0.01 and drawn.sum() > 8


# -- runs

ADAPTED = dict(
  lora=dict(name='models.lora', rank=2, alpha=8.0),
  stages=('rl',),
  evaluation=dict(num_prompts=4),
  writers=('jsonl', 'tiny_runs.Stopper'),
  rl=dict(kl_coef=0.1, entropy_coef=0.1, iterations=4, optimizer=dict(learning_rate=0.05)),
)


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
  """A run that was stopped at iteration 3 and continued; its work directory."""
  folder = tmp_path_factory.mktemp('lora')
  with small_machine(folder / 'programs'), pytest.MonkeyPatch.context() as patch:
    patch.setattr(Stopper, 'row', 3)
    with pytest.raises(Stopped):
      run(folder / 'w', **ADAPTED)
    patch.setattr(Stopper, 'row', None)
    run(folder / 'w', **ADAPTED)
    yield folder / 'w'


def world_of(**changes):
  return assembly.assemble(config.resolve(tiny_config(**changes)))


@pytest.mark.thorough
def test_a_run_leaves_the_base_alone(ran):
  rows = [row for row in metrics.read_metrics(ran) if row['iteration']]
  assert [row['iteration'] for row in rows] == [1, 2, 3, 4]
  assert all(row['update/skipped'] == 0 for row in rows)
  assert rows[0]['policy/kl_ref'] < 1e-9 < 1e-6 < rows[-1]['policy/kl_ref']
  assert max(row['rollout/mismatch_max'] for row in rows) < 1e-4
  world = world_of(**ADAPTED)
  saved = checkpoint.load_params(ran, 'base')
  jax.tree.map(np.testing.assert_array_equal, saved, jax.device_get(world.base['base']))
  own = checkpoint.load_params(ran)
  assert own.keys() == {f'layers/{n}' for n in PRODUCTS}
  assert all(np.any(x['up']) for x in own.values())
  # What an update keeps and a checkpoint holds is of the adapters; the base is there once.
  with checkpoint.Checkpointer(ran / checkpoint.FOLDER, read_only=True) as saver:
    assert saver.roles() == {'reference': 1, 'base': 2}
  assert files.names(ran / checkpoint.FOLDER / 'roles' / 'base') == ['2']
  assert sum(x.size for x in jax.tree.leaves(own)) < sum(x.size for x in jax.tree.leaves(saved)) / 2
  world.close()


def test_a_run_may_begin_where_one_with_adapters_ended(ran):
  """Its weights are those with the adapters added."""
  world = world_of(**ADAPTED)
  parts = {'policy': checkpoint.load_params(ran), 'base': checkpoint.load_params(ran, 'base')}
  expected = world.lora.merge(parts)
  for more in ({}, ADAPTED):
    again = world_of(**{**more, 'model': dict(name='models.decoder', path=str(ran))})
    found = again.base['base'] if more else again.params['policy']
    assert_near(found, expected, 1e-6)
    again.close()
  with pytest.raises(AssertionError):
    assert_near(expected, parts['base'], 1e-3)
  world.close()



def test_an_export_loads_in_transformers(tmp_path):
  reason = "needs torch and transformers: pip install '.[parity]'"
  transformers = pytest.importorskip('transformers', reason=reason)
  torch = pytest.importorskip('torch', reason=reason)
  config = models.DecoderConfig(**SIZES)
  lora = models.lora(models.from_config(config), rank=3)
  params = params_of(lora)
  hidden, _ = lora.policy.hidden(params, TOKENS, **PLACES)
  expected = lora.policy.unembed(lora.policy.head(params), hidden)
  models.export(tmp_path, lora.merge(params), config)
  peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
  with torch.no_grad():
    found = peer(torch.tensor(np.array(TOKENS))).logits.numpy()
  assert np.std(expected) > 0.3
  np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
