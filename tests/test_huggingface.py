"""Hugging Face directories: parity with transformers, round trips, messages."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import models, sharding
from rljax.models import hub, huggingface_gemma, tensor_files

SIZES = dict(
  vocab_size=96, hidden_size=64, intermediate_size=112, num_hidden_layers=3,
  num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
)  # fmt: skip
LLAMA3_ROPE = dict(
  rope_type='llama3', rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
  original_max_position_embeddings=64,
)  # fmt: skip
PEERS = {
  'llama3': ('llama', dict(rope_parameters=LLAMA3_ROPE, rms_norm_eps=1e-5)),
  'llama-head-dim': ('llama', dict(head_dim=32, tie_word_embeddings=True)),
  'qwen2-tied': ('qwen2', dict(tie_word_embeddings=True, rope_parameters=dict(
    rope_type='default', rope_theta=1e6))),
  'qwen2-untied': ('qwen2', dict(tie_word_embeddings=False)),
  'qwen3': ('qwen3', dict(head_dim=24, rope_parameters=dict(rope_type='default', rope_theta=1e6))),
  'qwen3-moe': ('qwen3_moe', dict(
    head_dim=24, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40,
    norm_topk_prob=True)),
  'qwen3-moe-mixed': ('qwen3_moe', dict(
    num_hidden_layers=5, head_dim=24, num_experts=6, num_experts_per_tok=3, mlp_only_layers=[1],
    moe_intermediate_size=40, decoder_sparse_step=2)),
  # Prompts are longer than the windows; a period of layers stands once more, or in part.
  'mistral-windowed': ('mistral', dict(sliding_window=8)),
  'mistral': ('mistral', dict(sliding_window=None, head_dim=24)),
  'gemma2': ('gemma2', dict(
    num_hidden_layers=5, head_dim=24, sliding_window=8, query_pre_attn_scalar=40,
    attn_logit_softcapping=3.0, final_logit_softcapping=5.0)),
  'gemma3': ('gemma3_text', dict(
    num_hidden_layers=4, head_dim=24, sliding_window=8, query_pre_attn_scalar=40,
    layer_types=['sliding_attention', 'sliding_attention', 'full_attention', 'sliding_attention'],
    rope_parameters=dict(
      full_attention=dict(rope_type='linear', factor=4.0, rope_theta=5000.0),
      sliding_attention=dict(rope_type='default', rope_theta=100.0)))),
}  # fmt: skip


@pytest.fixture(scope='module')
def torch():
  reason = "needs torch and transformers: pip install '.[parity]'"
  pytest.importorskip('transformers', reason=reason)
  torch = pytest.importorskip('torch', reason=reason)
  torch.set_num_threads(1)
  return torch


def peer_model(torch, name, directory):
  """A random model of transformers, saved; biases and norm scales random too."""
  import transformers

  kind, fields = PEERS[name]
  # Without an end token, which would be suppressed where a length is asked for.
  config = transformers.AutoConfig.for_model(kind, **{**SIZES, **fields}, eos_token_id=None)
  return random_peer(torch, transformers.AutoModelForCausalLM, config, directory)


def random_peer(torch, family, config, directory):
  torch.manual_seed(3)
  model = family.from_config(config, attn_implementation='eager').eval()
  with torch.no_grad():
    for key, parameter in model.named_parameters():
      if key.endswith('bias') or 'norm' in key:
        parameter.add_(0.3 * torch.randn_like(parameter))
      else:
        parameter.mul_(4.0)
  model.save_pretrained(directory, max_shard_size='60KB')
  return model


def all_logits(policy, params, tokens):
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None, :], tokens.shape)
  out, _ = policy.hidden(
    params, tokens, segment_ids=jnp.zeros(tokens.shape, jnp.int32), positions=positions
  )
  return policy.unembed(policy.head(params), out)


def greedy(policy, params, prompt, count):
  """`count` tokens by prefill and decode."""
  rows, length = prompt.shape

  def step(carry, position):
    hidden, cache = carry
    token = jnp.argmax(policy.unembed(policy.head(params), hidden), axis=-1).astype(jnp.int32)
    return policy.decode(params, cache, token, jnp.full((rows,), position)), token

  cache = policy.init_cache(rows, length, count)
  hidden, cache = policy.prefill(params, cache, prompt, jnp.zeros((rows,), jnp.int32))
  positions = jnp.arange(length, length + count, dtype=jnp.int32)
  return jax.lax.scan(step, (hidden[:, -1], cache), positions)[1].T


@pytest.mark.parametrize('name', PEERS)
def test_parity_with_transformers(torch, tmp_path, name):
  import transformers

  peer = peer_model(torch, name, tmp_path / 'peer')
  assert (tmp_path / 'peer' / 'model.safetensors.index.json').exists()  # several files
  policy, params, config = models.load(tmp_path / 'peer')
  tokens = np.random.default_rng(0).integers(0, SIZES['vocab_size'], (2, 200))
  with torch.no_grad():
    expected = peer(torch.tensor(tokens)).logits.numpy()
    prompt = torch.tensor(tokens[:, :12])
    told = peer.generate(
      prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=64, do_sample=False,
      pad_token_id=0,
    )[:, 12:].numpy()  # fmt: skip
  logits = jax.jit(lambda p, t: all_logits(policy, p, t))(params, jnp.asarray(tokens, jnp.int32))
  assert np.std(expected) > 0.3  # a model that says something
  np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)

  prompt = jnp.asarray(tokens[:, :12], jnp.int32)
  generated = jax.jit(lambda p, t: greedy(policy, p, t, 64))(params, prompt)
  assert told.shape == (2, 64)
  np.testing.assert_array_equal(generated, told)

  models.export(tmp_path / 'back', params, config, eos_ids=(5,), pad_id=0, max_file_bytes=60_000)
  back = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / 'back', attn_implementation='eager'
  ).eval()
  assert back.generation_config.eos_token_id == [5]
  with torch.no_grad():
    np.testing.assert_array_equal(back(torch.tensor(tokens)).logits.numpy(), expected)


def test_rope_theta_and_scaling_of_the_file_count(torch, tmp_path):
  """The scaled frequencies are those of transformers, and another theta is another model."""
  peer = peer_model(torch, 'llama3', tmp_path)
  _, _, config = models.load(tmp_path)
  assert config.rope_theta == 500000.0
  assert config.rope_scaling == (8.0, 1.0, 4.0, 64.0)
  from rljax.models.layers import rope_frequencies

  found = rope_frequencies(config.kinds[0], config.head_dim)
  np.testing.assert_allclose(found, peer.model.rotary_emb.inv_freq.numpy(), rtol=1e-5)


def test_the_text_part_of_a_model_of_images(torch, tmp_path):
  """Its config.json nests the text's and leaves out defaults; its tensors have other names."""
  import transformers

  text = {**SIZES, **PEERS['gemma3'][1]}
  sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
  config = transformers.Gemma3Config(
    text_config=transformers.Gemma3TextConfig(**text),
    vision_config=transformers.SiglipVisionConfig(**sizes, image_size=28, patch_size=14),
    mm_tokens_per_image=1,
  )
  peer = random_peer(torch, transformers.AutoModelForImageTextToText, config, tmp_path)
  policy, params, found = models.load(tmp_path)
  assert found == models.read_config(tmp_path) and found.global_every == 3
  tokens = np.random.default_rng(0).integers(0, SIZES['vocab_size'], (2, 20))
  with torch.no_grad():
    expected = peer(torch.tensor(tokens)).logits.numpy()
  logits = jax.jit(lambda p, t: all_logits(policy, p, t))(params, jnp.asarray(tokens, jnp.int32))
  np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


# -- without torch

SMALL = dict(vocab_size=40, num_layers=3, d_model=32, num_heads=4, num_kv_heads=2, d_ff=48)
KINDS = {
  'llama': dict(rope_scaling=(8, 1, 4, 64), rope_theta=5e5, tie_embeddings=False),
  'qwen2': dict(qkv_bias=True, value_head=5),
  'qwen3': dict(qk_norm=True, head_dim=12, value_head=True),
  'qwen3_moe': dict(
    qk_norm=True, num_experts=3, experts_per_token=2, d_expert=20, norm_topk=False,
    dense_layers=(1,),
  ),
  'mistral': dict(window=6, tie_embeddings=False),
  'gemma2': dict(
    window=6, global_every=2, query_pre_attn_scalar=20, attention_softcap=3.0, logit_softcap=4.0,
    **huggingface_gemma.SWITCHES,
  ),
  'gemma3_text': dict(
    window=6, global_every=3, qk_norm=True, local_rope_theta=100.0, rope_theta=5e3,
    rope_scaling=(4,), **huggingface_gemma.SWITCHES,
  ),
}


def random_params(config):
  """Parameters none of which has a value that a mistake could produce too."""
  tree = models.from_config(config).init(jax.random.key(0))
  leaves, structure = jax.tree.flatten(tree)
  random = np.random.default_rng(0)
  fresh = [jnp.asarray(random.standard_normal(x.shape), jnp.float32) for x in leaves]
  return jax.tree.unflatten(structure, fresh)


def assert_equal_trees(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('kind', KINDS)
def test_export_then_load_gives_the_same_bits(tmp_path, kind):
  config = models.DecoderConfig(**SMALL, **KINDS[kind])
  params = random_params(config)
  models.export(tmp_path, params, config, max_file_bytes=20_000, bos_id=1, eos_ids=[2, 3])
  assert json.loads((tmp_path / 'config.json').read_text())['model_type'] == kind
  index = json.loads((tmp_path / 'model.safetensors.index.json').read_text())
  assert len(set(index['weight_map'].values())) > 2
  assert json.loads((tmp_path / 'generation_config.json').read_text()) == {
    'bos_token_id': 1, 'eos_token_id': [2, 3]
  }  # fmt: skip
  _, again, found = models.load(tmp_path, value_head=config.value_head)
  assert found == config
  assert_equal_trees(again, params)
  # Written over by one file: nothing of the index is left.
  models.export(tmp_path, params, config)
  assert not list(tmp_path.glob('model-*')) and not (tmp_path / index_name()).exists()
  assert_equal_trees(models.load(tmp_path, value_head=config.value_head)[1], params)


def index_name():
  return 'model.safetensors.index.json'


def test_load_places_each_leaf_in_its_sharding(tmp_path):
  config = models.DecoderConfig(**SMALL, qkv_bias=True)
  params = random_params(config)
  models.export(tmp_path, params, config)
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  policy, placed, _ = models.load(tmp_path, mesh=mesh)
  assert jax.tree.map(lambda x: x.sharding, placed) == sharding.policy_shardings(policy, mesh)
  assert placed['layers']['wq'].addressable_shards[0].data.shape == (3, 8, 2, 8)
  assert_equal_trees(placed, params)
  models.export(tmp_path / 'again', placed, config)  # from shards
  assert_equal_trees(models.load(tmp_path / 'again')[1], params)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_half_precision_files_become_float32_parameters(tmp_path, dtype):
  config = models.DecoderConfig(**SMALL)
  params = random_params(config)
  models.export(tmp_path, params, config, dtype=dtype)
  _, again, _ = models.load(tmp_path, compute_dtype='bfloat16')
  rounded = jax.tree.map(lambda x: np.asarray(x.astype(dtype).astype(jnp.float32)), params)
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(again))
  assert_equal_trees(again, rounded)


def test_our_files_are_safetensors(tmp_path):
  from safetensors import numpy as official

  config = models.DecoderConfig(**SMALL)
  params = random_params(config)
  models.export(tmp_path, params, config)
  tensors = official.load_file(tmp_path / 'model.safetensors')
  name = 'model.layers.1.self_attn.q_proj.weight'
  expected = np.asarray(params['layers']['wq'][1]).reshape(32, 32).T
  np.testing.assert_array_equal(tensors[name], expected)
  official.save_file({'x': np.arange(6.0).reshape(2, 3)}, tmp_path / 'theirs.safetensors')
  np.testing.assert_array_equal(
    tensor_files.TensorFile(tmp_path / 'theirs.safetensors')['x'], np.arange(6.0).reshape(2, 3)
  )


def test_a_new_value_head_is_zero(tmp_path):
  config = models.DecoderConfig(**SMALL)
  models.export(tmp_path, random_params(config), config)
  policy, params, _ = models.load(tmp_path, value_head=True)
  np.testing.assert_array_equal(params['value_head'], np.zeros(32))
  assert policy.value(params, jnp.ones((2, 3, 32))).shape == (2, 3)


# -- one clear line for each mistake


@pytest.fixture
def saved(tmp_path):
  config = models.DecoderConfig(**SMALL, qkv_bias=True)
  return models.export(tmp_path / 'model', random_params(config), config)


def rewrite(directory: pathlib.Path, change):
  """Applies `change` to the tensors of a directory."""
  file = tensor_files.TensorFile(directory / 'model.safetensors')
  tensors = {name: np.array(file[name]) for name in file.entries}
  change(tensors)
  shapes = {name: x.shape for name, x in tensors.items()}
  target = directory / 'model.safetensors'
  tensor_files.write(target, shapes, np.dtype(np.float32), tensors.values())


def edit_config(directory: pathlib.Path, **fields):
  file = directory / 'config.json'
  file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def refused(directory, *words, error=ValueError):
  with pytest.raises(error) as caught:
    models.load(directory)
  message = str(caught.value)
  assert '\n' not in message
  for word in words:
    assert word in message


def test_messages_of_tensors(saved):
  name = 'model.layers.1.mlp.up_proj.weight'
  good = np.array(tensor_files.TensorFile(saved / 'model.safetensors')[name])
  rewrite(saved, lambda t: t.pop(name))
  refused(saved, name, 'is in no file')
  rewrite(saved, lambda t: t.update({name: good[:-1]}))
  refused(saved, name, 'model.safetensors', '[47, 32]', '[48, 32]')
  rewrite(saved, lambda t: t.update({name: good, 'model.layers.3.strange': good}))
  refused(saved, 'model.layers.3.strange', 'no place')
  # What transformers leaves behind or ignores is no surplus.
  rewrite(saved, lambda t: (t.pop('model.layers.3.strange'), t.update({
    'lm_head.weight': good, 'model.layers.0.self_attn.rotary_emb.inv_freq': good})))  # fmt: skip
  models.load(saved)
  (saved / 'model.safetensors').write_bytes((saved / 'model.safetensors').read_bytes()[:-8])
  refused(saved, 'model.safetensors', 'cut off')
  (saved / 'model.safetensors').write_bytes(b'no such thing')
  refused(saved, 'model.safetensors', 'no safetensors file')


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    (dict(model_type='mamba'), ("'mamba'", 'llama, qwen2, qwen3')),
    (dict(rope_scaling=dict(rope_type='yarn', factor=4.0)), ("'yarn'", 'llama3')),
    (dict(rope_scaling=dict(rope_type='llama3', factor=4.0)), ('low_freq_factor',)),
    (dict(hidden_act='gelu'), ('hidden_act', "'gelu'")),
    (dict(use_sliding_window=True), ('use_sliding_window',)),
    (dict(num_hidden_layers=2), ('model.layers.2', 'no place')),
    (dict(num_attention_heads=3), ('num_heads', 'num_kv_heads')),
  ],
)
def test_messages_of_config(saved, fields, words):
  edit_config(saved, **fields)
  refused(saved, *words)


GEMMA3_FIELDS = dict(hidden_size=64, intermediate_size=80, num_hidden_layers=26)


def test_what_a_gemma_leaves_out(tmp_path):
  """The files of the releases name little: the rest is as in the first of them."""
  edit = {'model_type': 'gemma3', 'text_config': {**GEMMA3_FIELDS, 'sliding_window': 512}}
  (tmp_path / 'config.json').write_text(json.dumps(edit))
  config = models.read_config(tmp_path)
  assert (config.num_heads, config.num_kv_heads, config.head_dim) == (8, 4, 256)
  assert (config.vocab_size, config.tie_embeddings, config.query_pre_attn_scalar) == (
    262208, True, 256
  )  # fmt: skip
  windows = [kind.window for kind in config.kinds]
  assert windows == ([512] * 5 + [None]) * 4 + [512] * 2
  assert {k.rope_theta for k in config.kinds if k.window} == {1e4}
  assert {k.rope_theta for k in config.kinds if not k.window} == {1e6}
  (tmp_path / 'config.json').write_text(json.dumps({**GEMMA3_FIELDS, 'model_type': 'gemma2'}))
  config = models.read_config(tmp_path)
  assert (config.attention_softcap, config.logit_softcap, config.rope_theta) == (50.0, 30.0, 1e4)
  assert [kind.window for kind in config.kinds[:4]] == [4096, None, 4096, None]


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    (dict(layer_types=['full_attention', *['sliding_attention'] * 25]), 'layer_types'),
    (dict(use_bidirectional_attention=True), 'use_bidirectional_attention=True'),
    (dict(attn_logit_softcapping=50.0), 'attn_logit_softcapping=50.0'),
    (dict(hidden_activation='gelu'), "hidden_activation='gelu'"),
    (dict(rope_parameters=dict(
      sliding_attention=dict(rope_type='linear', factor=2.0), full_attention=dict(
        rope_type='default'))), "'linear' of sliding_attention"),
  ],
)  # fmt: skip
def test_messages_of_a_gemma(tmp_path, fields, words):
  content = {**GEMMA3_FIELDS, 'model_type': 'gemma3_text', **fields}
  (tmp_path / 'config.json').write_text(json.dumps(content))
  refused(tmp_path, words)


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    (dict(qkv_bias=True, qk_norm=True), 'attention_bias=True of qwen3'),
    (dict(attention_softcap=5.0), 'attention_softcap=5.0.*as llama it would be None'),
    (dict(window=4, global_every=2), 'global_every=2.*as mistral it would be None'),
    (dict(window=4, qk_norm=True), 'qk_norm=True.*as mistral'),
    (dict(norm_plus_one=True), "activation='silu'.*as gemma2 it would be 'gelu_tanh'"),
  ],
)
def test_a_model_that_no_file_can_describe(tmp_path, fields, words):
  with pytest.raises(ValueError, match=words):
    models.export(tmp_path, {}, models.DecoderConfig(**SMALL, **fields))


def test_messages_of_files(saved, tmp_path):
  refused(tmp_path / 'nowhere', 'nowhere', 'hf://', error=FileNotFoundError)
  refused(tmp_path, 'config.json', error=FileNotFoundError)
  with pytest.raises(ValueError, match="unknown field 'computedtype'"):
    models.load(saved, computedtype='bfloat16')
  with pytest.raises(ValueError, match="'int8' is none of"):
    models.export(saved, {}, models.DecoderConfig(**SMALL), dtype='int8')
  (saved / 'model.safetensors').unlink()
  refused(saved, 'model.safetensors', error=FileNotFoundError)
  (saved / 'config.json').write_text('{')
  refused(saved, 'config.json', 'no JSON')


def test_addresses_of_the_hub(monkeypatch, saved):
  import huggingface_hub
  from huggingface_hub import errors

  class Response:
    headers, status_code, request = {}, 403, None

  def answer(result):
    def snapshot_download(name, **kwargs):
      assert (name, kwargs['revision']) == ('owner/name', 'main')
      if isinstance(result, BaseException):
        raise result
      return str(result)

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)

  answer(saved)
  assert models.load('hf://owner/name@main')[2].vocab_size == 40
  cases = [
    (errors.GatedRepoError('x', response=Response()), PermissionError, 'accept the license'),
    (errors.RepositoryNotFoundError('x', response=Response()), FileNotFoundError, 'HF_TOKEN'),
    (errors.HfHubHTTPError('x', response=Response()), PermissionError, '403'),
    (errors.LocalEntryNotFoundError('x'), ConnectionError, 'cannot be reached'),
  ]
  for raised, kind, words in cases:
    answer(raised)
    with pytest.raises(kind, match=words) as caught:
      models.load('hf://owner/name@main')
    assert '\n' not in str(caught.value)
  with pytest.raises(ValueError, match='hf://owner/name'):
    hub.snapshot('hf://name')
