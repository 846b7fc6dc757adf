"""A config's node of a model → the policy and its parameters, new or from files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rljax import binding, checkpoint, files, layouts, models, sharding
from rljax.sharding import RULES, Rules
from rljax.structs import Policy, PyTree
from rljax.tokenization import Tokenizer

MODEL = 'model.json'  # in a work directory: the model's node, resolved


class Model(NamedTuple):
  """A policy, its parameters, and the node (without a path) from which it can be built again."""

  policy: Policy
  params: PyTree
  node: dict[str, Any]


def build_model(
  node: Any,
  tokenizer: Tokenizer,
  mesh: jax.sharding.Mesh,
  key: jax.Array,
  *,
  value_head: int,
  rules: Rules = RULES,
  make: Callable[..., PyTree] = layouts.computed,
) -> Model:
  """The model of a node with its parameters in their sharding on the mesh.

  Args:
    node: `dict(name=…, path=…, …)`; path: '' (random parameters), an HF directory, hf://owner/name,
      or a work directory of rljax.
    tokenizer: gives the size of the vocabulary of a new model.
    mesh: of the devices.
    key: of random parameters.
    value_head: whether the trunk carries one: False, True, or its number of bins.
    rules: logical axis → mesh axes.
    make: `make(function, shardings, *arguments)`, how random parameters come to be.

  Raises:
    ValueError: the path is neither, or the tokenizer has more ids than the model's vocabulary.
  """
  node = dict(node)
  path = node.pop('path', '')
  if value_head:
    node['value_head'] = value_head
  if not path:
    node.setdefault('vocab_size', tokenizer.vocab_size)
    policy = sharding.on_mesh(binding.bind(node)({}), mesh)
    shardings = sharding.policy_shardings(policy, mesh, rules)
    return Model(policy, make(policy.init, shardings, key), node)
  overrides = {k: v for k, v in node.items() if k != 'name'}
  if not path.startswith('hf://') and (files.as_path(path) / MODEL).exists():
    _check_vocabulary(tokenizer, _described(path, node['name'])[0]['vocab_size'], path)
    return _from_workdir(path, node['name'], overrides, mesh, key, rules)
  policy, params, found = models.load(path, mesh=mesh, rules=rules, **overrides)
  _check_vocabulary(tokenizer, found.vocab_size, path)
  return Model(policy, params, {'name': 'models.decoder', **dataclasses.asdict(found)})


def add_adapters(
  node: Any,
  model: Model,
  mesh: jax.sharding.Mesh,
  key: jax.Array,
  rules: Rules = RULES,
  make: Callable[..., PyTree] = layouts.computed,
) -> tuple[models.Lora, PyTree]:
  """(the model with adapters, their parameters in their sharding); `make` as in `build_model`."""
  lora = binding.bind(node, ('policy',))({'policy': model.policy})
  shapes = jax.eval_shape(lora.start, key, model.params)
  shardings = sharding.param_shardings(lora.policy.axes['policy'], shapes, mesh, rules)
  return lora, make(lora.start, shardings, key, model.params)


def build_draft(
  node: Any,
  policy: dict[str, Any],
  tokenizer: Tokenizer,
  mesh: jax.sharding.Mesh,
  key: jax.Array,
  rules: Rules = RULES,
) -> Model:
  """The draft model that a config asks for.

  Args:
    node: of the draft model, with the path to its files.
    policy: node of the policy.
    tokenizer, mesh, key, rules: as in `build_model`.

  Raises:
    ValueError: it has no path, or another vocabulary than the policy.
  """
  if not node.get('path'):
    raise ValueError(
      "sampler.speculate 'draft' needs a draft model; --config.draft.path=<work directory or "
      'Hugging Face directory> says where it is'
    )
  draft = build_model(node, tokenizer, mesh, key, value_head=False, rules=rules)
  sizes = draft.node['vocab_size'], policy['vocab_size']
  if sizes[0] != sizes[1]:
    raise ValueError(
      f'the draft model has {sizes[0]} ids in its vocabulary, the policy {sizes[1]}; a guess is a '
      'token of both'
    )
  return draft


def _check_vocabulary(tokenizer: Tokenizer, vocab_size: int, path: str) -> None:
  if tokenizer.vocab_size > vocab_size:
    raise ValueError(
      f'the tokenizer has {tokenizer.vocab_size} ids, but the model at {path} only {vocab_size}'
    )


def _described(path: str, name: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
  """(node of the model, of its adapters) in a work directory, which may be somebody else's.

  Functions that it names are called, so they are rljax's own, or the one of this config.
  """
  file = files.as_path(path) / MODEL
  saved = files.read_json(file)
  nodes = [saved, saved.pop('lora', None)] if isinstance(saved, dict) else [saved]
  for node in (node for node in nodes if node is not None):
    named = node.get('name') if isinstance(node, dict) else None
    own = isinstance(named, str) and named.startswith('models.') and named.count('.') == 1
    if not own and (named is None or named != name):
      raise ValueError(
        f'{file} names {str(named)[:80]!r}, which is no model of rljax; if you trust it, name '
        'it in your config, too (model.name)'
      )
  return nodes[0], nodes[1]


def _from_workdir(
  path: str,
  name: str,
  overrides: dict[str, Any],
  mesh: jax.sharding.Mesh,
  key: jax.Array,
  rules: Rules,
) -> Model:
  """The trained policy of a work directory, as `model.json` there describes it.

  A value head that it lacks, or has in another size, is drawn anew; one not asked for is dropped.
  """
  saved, adapters = _described(path, name)
  shape = {**saved, 'value_head': False, **overrides}
  policy = sharding.on_mesh(binding.bind(shape)({}), mesh)
  trained = binding.bind(saved)({})
  params = sharding.init_params(policy, key, mesh, rules)
  if adapters is None:
    loaded = checkpoint.load_params(path, example=_outlines(trained, mesh, rules))
  else:
    lora = binding.bind(adapters, ('policy',))({'policy': trained})
    outlines = _outlines(lora.policy, mesh, rules)
    parts = {role: checkpoint.load_params(path, role, example=x) for role, x in outlines.items()}
    shardings = jax.tree.map(lambda x: x.sharding, outlines['base'])
    loaded = jax.jit(lora.merge, out_shardings=shardings)(parts)
  kept = {n: x for n, x in loaded.items() if n != 'value_head' or saved[n] == shape[n]}
  return Model(policy, {name: kept.get(name, x) for name, x in params.items()}, shape)


def _outlines(policy: Policy, mesh: jax.sharding.Mesh, rules: Rules) -> PyTree:
  """Shapes, dtypes and shardings of a policy's parameters."""
  return jax.tree.map(
    lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s),
    jax.eval_shape(policy.init, jax.random.key(0)),
    sharding.policy_shardings(policy, mesh, rules),
  )
