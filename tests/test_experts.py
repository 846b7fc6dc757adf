"""Experts: a slow reference, no scatter, any batch and mesh, replay of what the sampler chose."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import experts as reference

from rljax import models, sharding
from rljax.models import experts
from rljax.models.experts import mix_experts
from rljax.plan import costs
from rljax.plan.hlo import Program
from rljax.sampling import make_requests, sample
from rljax.sharding import make_mesh
from rljax.structs import SamplerSettings

E, K, D, F = 6, 2, 5, 4
SIZE = dict(
  vocab_size=32, num_layers=3, d_model=16, num_heads=4, num_kv_heads=4, d_ff=24, qk_norm=True,
  num_experts=8, experts_per_token=2, d_expert=8, dense_layers=(0,),
)  # fmt: skip


def layer_of(**fields):
  """(config, weights of one layer, x [2, 4, D]) in float64."""
  config = models.DecoderConfig(
    vocab_size=8, d_model=D, num_heads=1, num_kv_heads=1, head_dim=2, num_experts=E,
    experts_per_token=K, d_expert=F, **fields,
  )  # fmt: skip
  random = np.random.default_rng(0)
  shapes = dict(router=(D, E), expert_gate=(E, D, F), expert_up=(E, D, F), expert_down=(E, F, D))
  w = {name: random.standard_normal(shape) for name, shape in shapes.items()}
  return config, w, random.standard_normal((2, 4, D))


def expected(config, w, x, **options):
  flat = x.reshape(-1, D)
  y, chosen = reference.mix_experts(
    flat, *w.values(), num_chosen=K, norm_topk=config.norm_topk, **options
  )
  return y.reshape(x.shape), chosen.reshape(2, 4, K)


@pytest.mark.parametrize('norm_topk', [True, False])
@pytest.mark.parametrize('replayed', [False, True])
@pytest.mark.parametrize('few', [0, 8])
def test_values_and_gradients_are_those_of_loops(norm_topk, replayed, few, monkeypatch):
  """The choice is a constant of the gradient; two tokens have one that no router would make."""
  monkeypatch.setattr(experts, 'FEW_TOKENS', few)
  config, w, x = layer_of(norm_topk=norm_topk)
  choice = None
  if replayed:
    choice = np.full((2, 4, K), -1)
    choice[0, 1], choice[1, 3] = (5, 0), (2, 3)
  options = {} if choice is None else dict(choice=choice.reshape(-1, K))
  want, chosen = expected(config, w, x, **options)
  slope = np.random.default_rng(1).standard_normal(x.shape)

  def loss(w, x):
    y, seen = mix_experts(config, w, x, choice=choice)
    return jnp.sum(y * slope), (y, seen)

  with jax.enable_x64(True):
    call = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (y, seen)), (d_w, d_x) = jax.device_get(call(w, x))
  np.testing.assert_allclose(y, want, rtol=1e-10, atol=1e-12)
  np.testing.assert_array_equal(seen['routing'], chosen)
  counts = [[int((row == e).sum()) for e in range(E)] for row in chosen.reshape(2, -1)]
  np.testing.assert_array_equal(seen['router_load'], counts)
  own = expected(config, w, x)[1]
  strange = [[len(set(a) - set(b)) / K for a, b in zip(*rows)] for rows in zip(chosen, own)]
  np.testing.assert_allclose(seen['router_replaced'], strange)
  if replayed:
    assert np.sum(strange) > 0

  def moved(name, index, step):
    arrays = {**w, 'x': x}
    arrays[name] = arrays[name].copy()
    arrays[name][index] += step
    there = arrays.pop('x')
    return np.sum(expected(config, arrays, there, choice=chosen.reshape(-1, K))[0] * slope)

  for name, gradient in {**d_w, 'x': d_x}.items():
    for index in list(np.ndindex(gradient.shape))[:: 7 if gradient.size > 40 else 3]:
      difference = (moved(name, index, 1e-5) - moved(name, index, -1e-5)) / 2e-5
      assert abs(gradient[index] - difference) < 1e-7 * max(1, abs(difference)), (name, index)


def test_the_router_is_float32_in_bfloat16():
  """Two experts that differ by less than bfloat16 tells apart."""
  config, w, x = layer_of()
  config = config.replace(compute_dtype='bfloat16', experts_per_token=1)
  w['router'] = np.tile(w['router'][:, :1], (1, E))
  w['router'][:, 3] += 1e-4 * np.sign(x[0, 0])
  x = jnp.asarray(np.tile(x[:1, :1], (1, 4, 1)), jnp.bfloat16)
  policy = models.from_config(config)
  params = jax.eval_shape(lambda key: policy.cast(policy.init(key)), jax.random.key(0))
  assert params['layers']['router'].dtype == jnp.float32
  assert params['layers']['expert_up'].dtype == jnp.bfloat16
  w = {name: jnp.asarray(array, jnp.float32) for name, array in w.items()}
  y, seen = mix_experts(config, w, x)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(seen['routing'], 3)


# -- the decoder


def rows_of(policy, seed=0):
  """Packed rows [8, 12] of two samples and padding."""
  tokens = np.random.default_rng(seed).integers(0, 32, (8, 12)).astype(np.int32)
  segments = np.repeat(np.array([[0] * 5 + [1] * 4 + [-1] * 3], np.int32), 8, axis=0)
  positions = np.repeat(np.array([[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 0, 0]], np.int32), 8, axis=0)
  return tokens, segments, positions


def loss_of(policy):
  """(params, rows) -> (loss, (logits, aux))."""

  def loss(params, tokens, segments, positions):
    hidden, aux = policy.hidden(params, tokens, segment_ids=segments, positions=positions)
    logits = policy.unembed(policy.head(params), hidden)
    logits = jnp.where((segments >= 0)[..., None], logits, 0)
    return jnp.sum(jax.nn.logsumexp(logits, axis=-1)), (logits, aux)

  return loss


def gradient(policy):
  """(params, rows) -> ((loss, (logits, aux)), gradient), compiled."""
  return jax.jit(jax.value_and_grad(loss_of(policy), has_aux=True))


def policy64(**fields):
  return models.decoder(**{**SIZE, **fields}, compute_dtype='float64', param_dtype='float64')


@pytest.fixture(scope='module')
def single():
  with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
    patch.setattr(experts, 'FEW_TOKENS', 0)
    policy = policy64()
    params = jax.jit(policy.init)(jax.random.key(0))
    call = gradient(policy).lower(params, *rows_of(policy)).compile()
    return jax.device_get((params, call(params, *rows_of(policy)))), of_tokens(call)


def of_tokens(compiled):
  """FLOPs of a device on what is no product of experts."""
  return costs.work(Program(compiled.as_text()), lambda source: 'ragged_dot' not in source).flops


@pytest.mark.parametrize(
  'axes',
  [
    pytest.param(dict(fsdp=4, expert=2), marks=pytest.mark.thorough),
    pytest.param(dict(data=2, fsdp=1, expert=4), marks=pytest.mark.slow),
    dict(fsdp=1, expert=2, tensor=2, sequence=2),
  ],
  ids=str,
)
def test_eight_devices_compute_what_one_computes(single, axes, monkeypatch):
  monkeypatch.setattr(experts, 'FEW_TOKENS', 0)
  (params, ((_, (logits, aux)), grads)), work = single
  mesh = make_mesh(**axes)
  with jax.enable_x64(True):
    policy = sharding.on_mesh(policy64(), mesh)
    placed = jax.device_put(params, sharding.policy_shardings(policy, mesh))
    rows = jax.device_put(rows_of(policy), sharding.row_sharding(mesh))
    lowered = gradient(policy).lower(placed, *rows)
    call = lowered.compile()
    (_, (found, found_aux)), found_grads = call(placed, *rows)
    pairs = zip(jax.tree.leaves((found, found_grads)), jax.tree.leaves((logits, grads)))
    for a, b in pairs:
      assert np.linalg.norm(a - b) <= 1e-10 * np.linalg.norm(b)
    np.testing.assert_array_equal(found_aux['routing'], aux['routing'])
    np.testing.assert_array_equal(found_aux['router_load'], aux['router_load'])
  # Attention and all else that is of a token alone is divided over all devices.
  assert of_tokens(call) == pytest.approx(work / 8, rel=0.02)
  summed = re.findall(
    r'stablehlo\.(all_reduce|reduce_scatter)".*?\}\) : \(tensor<(\w+)>', lowered.as_text(), re.S
  )
  if axes['fsdp'] > 1:  # gradients of the experts' weights are parted as they are summed
    assert ('reduce_scatter', '4x16x8xf64') in summed and ('reduce_scatter', '4x8x16xf64') in summed
    assert ('all_reduce', '4x16x8xf64') not in summed


def test_each_device_holds_its_experts():
  mesh = make_mesh(fsdp=2, expert=4)
  params = sharding.init_params(models.decoder(**SIZE), jax.random.key(0), mesh)
  shard = params['layers']['expert_gate'].addressable_shards[0]
  assert shard.data.shape == (2, 2, 8, 8)  # layers, experts / 4, d_model / 2, width
  with pytest.raises(ValueError, match=r"expert_down: the axis 'expert' has 6 entries.*expert=4"):
    sharding.policy_shardings(models.decoder(**{**SIZE, 'num_experts': 6}), mesh)


def test_packed_is_unpacked_and_padding_asks_no_expert(single):
  (params, ((_, (logits, aux)), _)), _ = single
  tokens, segments, positions = rows_of(None)
  assert np.all(aux['routing'][segments < 0] == -1) and np.all(aux['routing'][segments >= 0] >= 0)
  np.testing.assert_array_equal(aux['router_load'].sum(axis=-1), 9 * SIZE['experts_per_token'])
  with jax.enable_x64(True):
    policy = policy64()
    for first, length in ((0, 5), (5, 4)):
      at = slice(first, first + length)
      one = (tokens[:, at], segments[:, at] * 0, positions[:, at])
      (_, (alone, _)) = jax.jit(loss_of(policy))(params, *one)
      np.testing.assert_allclose(alone, logits[:, at], rtol=0, atol=1e-12)


def test_no_float_is_scattered():
  policy = models.decoder(**SIZE, embed_gradient='matmul')
  params = jax.eval_shape(policy.init, jax.random.key(0))
  text = gradient(policy).lower(params, *rows_of(policy)).as_text()
  assert 'scatter' not in text


def test_what_is_refused():
  with pytest.raises(ValueError, match='experts_per_token=9 is not between 1 and num_experts=8'):
    models.decoder(**{**SIZE, 'experts_per_token': 9})
  with pytest.raises(ValueError, match=r'dense_layers names \[3\]; layers are 0 to 2'):
    models.decoder(**{**SIZE, 'dense_layers': (3,)})
  policy = models.decoder(**SIZE)
  params = jax.eval_shape(policy.init, jax.random.key(0))
  tokens, segments, positions = rows_of(policy)
  call = functools.partial(
    policy.hidden, params, tokens, segment_ids=segments, positions=positions
  )
  with pytest.raises(ValueError, match=r'routing of \(3, 2\).*the model has \(2, 2\)'):
    call(routing=jnp.zeros((8, 12, 3, 2), jnp.int32))


# -- replay


ONE = {**SIZE, 'experts_per_token': 1, 'qkv_bias': True}


def sampled(policy, params, mesh=None, **options):
  """8 samples of 2 prompts, on 4 slots; the last stop at different places."""
  requests = make_requests(
    [[3, 4, 5, 6, 7], [9, 8]], draw_ids=[0, 1], samples_per_prompt=4, max_prompt=5,
    max_new_tokens=9, length=14, temperature=1.0, stop_ids=[1, 2, 3],
  )  # fmt: skip
  settings = SamplerSettings(
    length=14, max_new_tokens=9, slots=4, capture=('routing',), window=4, **options
  )
  run = jax.jit(lambda p: sample(policy, p, requests, seed=0, settings=settings, mesh=mesh))
  return jax.device_get(run(params))


def logprobs_of(policy, params, rollout, routing=None):
  segments = jnp.where(rollout.mask, 0, -1)
  positions = jnp.broadcast_to(jnp.arange(14), segments.shape)
  hidden, aux = jax.jit(policy.hidden)(
    params, rollout.tokens, segment_ids=segments, positions=positions, routing=routing
  )
  logprobs = jax.nn.log_softmax(policy.unembed(policy.head(params), hidden)[:, :-1], axis=-1)
  said = jnp.take_along_axis(logprobs, rollout.tokens[:, 1:, None], axis=-1)[..., 0]
  said = jnp.where(rollout.action_mask, jnp.pad(said, ((0, 0), (1, 0))), 0)
  return np.asarray(said), aux


@pytest.fixture(scope='module')
def drawn():
  """(policy, params, rollout): with one expert a token, the router says which and nothing else."""
  policy = models.decoder(**{**ONE, 'unroll_decode': False})
  params = jax.jit(policy.init)(jax.random.key(2))
  params['layers']['router'] *= 8
  return policy, params, sampled(policy, params)


def test_the_record_is_the_choice_of_training(drawn):
  policy, params, rollout = drawn
  said, aux = logprobs_of(policy, params, rollout)
  np.testing.assert_allclose(said, np.where(rollout.action_mask, rollout.policy_logprobs, 0),
                             atol=1e-5)  # fmt: skip
  known = np.arange(14) < rollout.num_tokens[:, None] - 1
  assert rollout.routing.shape == (8, 14, 2, 1)
  np.testing.assert_array_equal(rollout.routing[known], aux['routing'][known])
  assert np.all(rollout.routing[~known] == -1)
  assert len(set(rollout.num_tokens)) > 2


@pytest.mark.parametrize(
  'options',
  [
    pytest.param(dict(speculate='lookup', num_draft=2), marks=pytest.mark.thorough),
    pytest.param(dict(prompts_at_once=1), marks=pytest.mark.slow),
    pytest.param(dict(mesh=True), marks=pytest.mark.thorough),
  ],
  ids=str,
)
def test_the_record_does_not_depend_on_how_it_was_drawn(drawn, options):
  policy, params, rollout = drawn
  if 'mesh' in options:
    options = dict(mesh=make_mesh(fsdp=2, expert=4))
    policy = sharding.on_mesh(policy, options['mesh'])
    params = jax.device_put(params, sharding.policy_shardings(policy, options['mesh']))
  other = sampled(policy, params, **options)
  np.testing.assert_array_equal(other.num_tokens, rollout.num_tokens)
  np.testing.assert_array_equal(other.tokens, rollout.tokens)
  np.testing.assert_array_equal(other.routing, rollout.routing)


@pytest.mark.slow
def test_an_int8_cache_holds_it_too(drawn):
  policy, params, _ = drawn
  rollout = sampled(policy, params, cache_dtype='int8')
  known = np.arange(14) < rollout.num_tokens[:, None] - 1
  np.testing.assert_array_equal(rollout.routing[..., 0, 0] >= 0, known)
  _, aux = logprobs_of(policy, params, rollout)
  assert np.mean(rollout.routing[known] == aux['routing'][known]) > 0.9


def test_the_trainer_follows_the_record(drawn):
  """Another router, the sampler's choice: its log-probs; without the record, others."""
  policy, params, rollout = drawn
  noise = jax.random.normal(jax.random.key(5), params['layers']['router'].shape)
  layers = {**params['layers'], 'router': params['layers']['router'] + 0.5 * noise}
  moved = {**params, 'layers': layers}
  wanted = np.where(rollout.action_mask, rollout.policy_logprobs, 0)
  followed, aux = logprobs_of(policy, moved, rollout, rollout.routing)
  np.testing.assert_allclose(followed, wanted, atol=1e-5)
  assert np.mean(aux['router_replaced']) > 0.05
  alone, _ = logprobs_of(policy, moved, rollout)
  assert np.max(np.abs(alone - wanted)) > 1e-2


def test_a_policy_without_experts_has_no_record():
  policy = models.decoder(**{**SIZE, 'num_experts': 0, 'dense_layers': ()})
  with pytest.raises(ValueError, match='no experts whose choice'):
    sampled(policy, jax.eval_shape(policy.init, jax.random.key(0)))
