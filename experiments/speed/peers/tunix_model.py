"""The policy of a work in Tunix, and a tokenizer whose words are the ids themselves."""

import warnings

import jax
import numpy as np
import tunix
from flax import nnx
from tunix.generate import sampler as generate
from tunix.models.qwen3 import model as qwen3

warnings.filterwarnings('ignore', category=DeprecationWarning)  # `with mesh`, which it asks for
NEVER = 10**6  # an id outside the vocabulary: nothing ends before its limit


class Tokenizer:
  """Texts are decimal ids with blanks between."""

  def encode(self, text, **_):
    return [int(word) for word in str(text).split()]

  def decode(self, ids, **_):
    return ' '.join(str(int(i)) for i in ids)

  def bos_id(self):
    return 0  # it puts none before a prompt then

  def eos_id(self):
    return NEVER

  def pad_id(self):
    return 0


def make_model(work):
  """Random weights on a mesh of one device."""
  shape = work['shape']
  config = qwen3.ModelConfig(
    num_layers=shape['num_layers'],
    vocab_size=shape['vocab_size'],
    embed_dim=shape['d_model'],
    hidden_dim=shape['d_ff'],
    num_heads=shape['num_heads'],
    head_dim=shape['head_dim'],
    num_kv_heads=shape['num_kv_heads'],
    rope_theta=int(shape['rope_theta']),
    norm_eps=1e-6,
    use_tied_embedding=shape['tie_embeddings'],
  )
  mesh = jax.make_mesh((1, 1), ('fsdp', 'tp'), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  with mesh:
    return qwen3.Qwen3(config, rngs=nnx.Rngs(0)), mesh


def make_sampler(work, model):
  """With a cache of the very length that is needed: its default of 1024 is slower here."""
  shape = work['shape']
  cache = generate.CacheConfig(
    cache_size=work['prompt'] + work['completion'],
    num_layers=shape['num_layers'],
    num_kv_heads=shape['num_kv_heads'],
    head_dim=shape['head_dim'],
  )
  return generate.Sampler(model, Tokenizer(), cache)


def texts(work):
  return [' '.join(map(str, ids)) for ids in work['prompts']]


def count(model):
  return sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))


def wait_for(model):
  jax.block_until_ready(jax.tree.leaves(nnx.state(model)))


def is_finite(model):
  leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
  return all(bool(np.isfinite(np.asarray(x)).all()) for x in leaves)


def versions():
  return {'tunix': tunix.__version__, 'jax': jax.__version__}
