"""Hugging Face directories ↔ parameters, one leaf at a time."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import files
from rljax.models import huggingface_config, tensor_files
from rljax.models.config import DecoderConfig
from rljax.models.hub import local_directory
from rljax.models.huggingface_files import INDEX_FILE, open_files, read_object
from rljax.models.huggingface_layout import VALUE_FILE, VALUE_NAME, Leaf, layout
from rljax.models.tensor_files import TensorFile
from rljax.models.transformer import from_config
from rljax.sharding import RULES, Rules, on_mesh, partition_spec
from rljax.structs import Policy

PyTree = Any

PART = re.compile(r'model-.*-of-.*\.safetensors')


# -- load


def load(
  path: str | Path,
  *,
  mesh: jax.sharding.Mesh | None = None,
  rules: Rules | None = None,
  **overrides: Any,
) -> tuple[Policy, PyTree, DecoderConfig]:
  """A model from a Hugging Face directory, each leaf straight into its sharding.

  Tensors may be bfloat16, float16 or float32; parameters have `param_dtype`. The host holds about
  one stacked leaf at a time. A value head (override `value_head=True`) that the directory does not
  have is 0. Of a Gemma 3 of images and text the text's part is read.

  Args:
    path: a directory with config.json and safetensors, local or `gs://`, or hf://owner/name; what
      is not local is downloaded.
    mesh: None = the default device.
    rules: logical axis → mesh axes; None = `sharding.RULES`.
    **overrides: fields of `DecoderConfig` that are no property of the file: compute_dtype, remat …

  Returns:
    (policy, `on_mesh` where there is one; params; config).

  Raises:
    FileNotFoundError: no directory, no config.json, no safetensors.
    ValueError: a model that the decoder does not compute; a missing, surplus or misshapen tensor.

  Examples:
    >>> config = models.DecoderConfig(vocab_size=8, num_layers=1, d_model=8, num_heads=2)
    >>> params = models.from_config(config).init(jax.random.key(0))
    >>> policy, again, found = models.load(models.export('exported', params, config))
    >>> same = jax.tree.map(lambda a, b: bool((a == b).all()), params, again)
    >>> print(found == config, all(jax.tree.leaves(same)))
    True True
  """
  directory = local_directory(path)
  config = read_config(directory)
  known = {field.name for field in dataclasses.fields(DecoderConfig)}
  for name in overrides:
    if name not in known:
      raise ValueError(f'load: unknown field {name!r}; there are {", ".join(sorted(known))}')
  config = config.replace(**overrides)
  leaves = layout(config)
  source = _find(directory, leaves, config)
  params: dict[str, Any] = {}
  for leaf in leaves:
    node = functools.reduce(lambda tree, key: tree.setdefault(key, {}), leaf.path[:-1], params)
    node[leaf.path[-1]] = _place(leaf, source, config, mesh, RULES if rules is None else rules)
  policy = from_config(config)
  return policy if mesh is None else on_mesh(policy, mesh), params, config


def read_config(directory: str | Path) -> DecoderConfig:
  """The `DecoderConfig` of a Hugging Face directory; nothing else is read.

  Raises:
    FileNotFoundError: no directory or no config.json.
    ValueError: not a model that the decoder computes.

  Examples:
    >>> config = models.DecoderConfig(vocab_size=8, num_layers=1, d_model=8, num_heads=2)
    >>> params = models.from_config(config).init(jax.random.key(0))
    >>> _ = models.export('exported', params, config)
    >>> print(models.read_config('exported').d_model)
    8
  """
  directory = Path(directory)
  file = directory / 'config.json'
  if not directory.is_dir():
    raise FileNotFoundError(f'{directory} is no directory; a download is written hf://owner/name')
  if not file.is_file():
    raise FileNotFoundError(f'{directory} has no config.json: it is no Hugging Face model')
  found = read_object(file)
  if 'auto_map' in found:
    warnings.warn(
      f'{file}: auto_map asks for code of the model directory, which rljax never runs; the model '
      'is computed as its model_type says',
      stacklevel=2,
    )
  return huggingface_config.read(found, str(file))


def _find(directory: Path, leaves: Sequence[Leaf], config: DecoderConfig) -> dict[str, TensorFile]:
  """Tensor name → file, checked against what the config calls for."""
  found = {name: file for file in open_files(directory) for name in file.entries}
  if config.value_head and (directory / VALUE_FILE).is_file():
    found[VALUE_NAME] = TensorFile(directory / VALUE_FILE)
  wanted = {name: leaf for leaf in leaves for name in leaf.names}
  for name, leaf in wanted.items():
    if name not in found:
      if name == VALUE_NAME:
        continue
      raise ValueError(f'{directory}: the tensor {name!r} is in no file')
    if found[name].shape(name) != leaf.file_shape:
      raise ValueError(
        f'{found[name].path}: {name!r} has shape {list(found[name].shape(name))}, '
        f'config.json calls for {list(leaf.file_shape)}'
      )
  for name, file in found.items():
    # Old files carry the rotary frequencies; tied models may carry the head once more.
    known = name in wanted or name.endswith('rotary_emb.inv_freq')
    if not known and not (name == 'lm_head.weight' and config.tie_embeddings):
      raise ValueError(f'{file.path}: the tensor {name!r} has no place in the model of config.json')
  return found


def _place(
  leaf: Leaf, source: dict[str, TensorFile], config: DecoderConfig, mesh: Any, rules: Rules
) -> jax.Array:
  """One parameter on its devices."""
  dtype = jnp.dtype(config.param_dtype)
  cut = functools.lru_cache(maxsize=None)(functools.partial(_cut, leaf, source, dtype))
  if mesh is None:
    return jnp.asarray(cut(((None, None),) * len(leaf.shape)))
  spec = partition_spec('/'.join(leaf.path), leaf.axes, leaf.shape, mesh, rules)
  sharding = jax.sharding.NamedSharding(mesh, spec)
  # Devices that hold the same part share one reading of it.
  return jax.make_array_from_callback(
    leaf.shape, sharding, lambda index: cut(tuple((s.start, s.stop) for s in index))
  )


def _cut(leaf, source, dtype, bounds: tuple[tuple[int | None, int | None], ...]) -> np.ndarray:
  """The part of a parameter between `bounds`, read from the files."""
  index = tuple(slice(*b) for b in bounds)
  shape = tuple(len(range(*s.indices(n))) for s, n in zip(index, leaf.shape))
  if leaf.names[0] not in source:
    return np.zeros(shape, dtype)
  if not leaf.stacked:
    return leaf.from_file(source[leaf.names[0]][leaf.names[0]])[index].astype(dtype)
  out = np.empty(shape, dtype)
  stacked, inner = index[: leaf.stacked], index[leaf.stacked :]
  names = np.array(leaf.names).reshape(leaf.shape[: leaf.stacked])[stacked]
  for place in np.ndindex(names.shape):
    name = str(names[place])
    out[place] = leaf.from_file(source[name][name])[inner]
  return out


# -- export


def export(
  directory: files.PathLike,
  params: PyTree,
  config: DecoderConfig,
  *,
  dtype: str = 'float32',
  max_positions: int = 32768,
  bos_id: int | None = None,
  eos_ids: Sequence[int] = (),
  pad_id: int | None = None,
  max_file_bytes: int = 5 * 10**9,
) -> files.PathLike:
  """Writes a Hugging Face directory that transformers, vLLM and `load` read.

  config.json, generation_config.json, safetensors (with an index when there are several files),
  and value_head.safetensors where there is a value head. The host holds one leaf at a time.

  Args:
    directory: local or `gs://`; made where it is missing; files of the same names are written over.
    params: of the decoder, sharded or not.
    config: of the decoder.
    dtype: of the tensors: 'float32', 'bfloat16' or 'float16'.
    max_positions: tokens, the context length that transformers is told.
    bos_id, eos_ids, pad_id: token ids of the tokenizer, where known.
    max_file_bytes: bytes in one file, at most (one tensor at least).

  Returns:
    The directory.

  Raises:
    ValueError: switches that no supported model type has; an unknown dtype.

  Examples:
    >>> config = models.DecoderConfig(vocab_size=8, num_layers=1, d_model=8, num_heads=2)
    >>> params = models.from_config(config).init(jax.random.key(0))
    >>> _ = models.export('exported', params, config, eos_ids=[0])
    >>> print(files.names('exported'))
    ['config.json', 'generation_config.json', 'model.safetensors']
  """
  kinds = {str(d): d for d in tensor_files.NAMES}
  if dtype not in kinds:
    raise ValueError(f'export: dtype {dtype!r} is none of {", ".join(kinds)}')
  ids = {'bos_token_id': bos_id, 'eos_token_id': list(eos_ids) or None, 'pad_token_id': pad_id}
  ids = {name: value for name, value in ids.items() if value is not None}
  described = huggingface_config.write(
    config, dtype=dtype, max_positions=max_positions, token_ids=ids
  )
  directory = files.as_path(directory)
  leaves = layout(config)
  model = {n: leaf.file_shape for leaf in leaves for n in leaf.names if n != VALUE_NAME}
  readers = _readers(params, leaves)
  _write_model(directory, model, readers, kinds[dtype], max_file_bytes)
  if config.value_head:
    value = {n: leaf.file_shape for leaf in leaves for n in leaf.names if n == VALUE_NAME}
    tensor_files.write(
      directory / VALUE_FILE, value, np.dtype(np.float32), [readers[VALUE_NAME]()]
    )
  for name, content in (('generation_config.json', ids), ('config.json', described)):
    files.write_json(directory / name, content)
  return directory


def _readers(params: PyTree, leaves: Sequence[Leaf]) -> dict[str, Callable[[], np.ndarray]]:
  """Tensor name → a function that fetches it in the file's form.

  The host holds one leaf at a time, of the experts' those of one layer.
  """

  @functools.lru_cache(maxsize=1)
  def fetch(path: tuple[str, ...], first: tuple[int, ...]) -> np.ndarray:
    return np.asarray(functools.reduce(lambda tree, key: tree[key], path, params)[first])

  def one(leaf: Leaf, place: tuple[int, ...]) -> np.ndarray:
    first = place[: leaf.stacked - 1]
    return leaf.to_file(fetch(leaf.path, first)[place[len(first) :]])

  return {
    name: functools.partial(one, leaf, place) for leaf in leaves for place, name in leaf.places()
  }


def _write_model(directory, model, readers, dtype, limit) -> None:
  parts = list(tensor_files.split(model, dtype, limit))
  names = [f'model-{i:05d}-of-{len(parts):05d}.safetensors' for i in range(1, len(parts) + 1)]
  if len(parts) == 1:
    names = ['model.safetensors']
  for old in files.names(directory):
    if old == INDEX_FILE or PART.fullmatch(old) or (old == 'model.safetensors' and len(parts) > 1):
      files.remove(directory / old)
  if len(parts) > 1:
    size = sum(dtype.itemsize * math.prod(shape) for shape in model.values())
    index = {'metadata': {'total_size': size}, 'weight_map': {}}
    index['weight_map'] = {name: file for file, part in zip(names, parts) for name in part}
    files.write_json(directory / INDEX_FILE, index)
  for file, part in zip(names, parts):
    tensor_files.write(directory / file, part, dtype, (readers[name]() for name in part))
