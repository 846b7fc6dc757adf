"""The policy of a run as a Hugging Face directory."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
from ml_collections import ConfigDict

from rljax import binding, files, models, sharding
from rljax.assembly import tokenizer_node
from rljax.build_model import build_model
from rljax.workdir import read_config

# What transformers reads of a tokenizer, beside what `models.export` writes.
TOKENIZER_FILES = (
  'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json',
  'chat_template.jinja', 'vocab.json', 'merges.txt', 'tokenizer.model',
)  # fmt: skip


def export_run(
  workdir: files.PathLike, directory: files.PathLike, *, dtype: str = 'float32'
) -> files.PathLike:
  """Writes the latest policy of a run with its tokenizer; adapters are added in.

  Args:
    workdir: of the run, finished or stopped.
    directory: local or `gs://`; made where it is missing; files of the same names are written over.
    dtype: of the tensors: 'float32', 'bfloat16' or 'float16'.

  Returns:
    The directory. It has the files of the run's tokenizer where that is of Hugging Face, bytes or
    characters; of another one a warning says that it does not come along.

  Raises:
    FileNotFoundError: no run there.
    ValueError: the policy is no `models.decoder`, has switches that no supported model type has, or
      was not saved; an unknown dtype.
  """
  config = ConfigDict(read_config(workdir)['config'])
  node = tokenizer_node(config)
  tokenizer = binding.bind(node)({})
  if config.model.name != 'models.decoder':
    raise ValueError(
      f'{workdir} has a policy of {config.model.name}; Hugging Face directories are written of '
      'models.decoder only'
    )
  start = {'name': 'models.decoder', 'path': str(workdir)}
  model = build_model(
    start, tokenizer, sharding.make_mesh(), jax.random.key(0), value_head=False
  )
  known = {field.name for field in dataclasses.fields(models.DecoderConfig)}
  shape = models.DecoderConfig(**{k: v for k, v in model.node.items() if k in known})
  ids = {'bos_id': tokenizer.bos_id, 'eos_ids': tokenizer.eos_ids, 'pad_id': tokenizer.pad_id}
  models.export(directory, model.params, shape, dtype=dtype, **ids)
  if node['name'].endswith('huggingface'):
    source, target = files.as_path(node['path']), files.as_path(directory)
    source = source.parent if source.name.endswith('.json') else source
    for name in TOKENIZER_FILES:
      if (source / name).exists():
        files.write_bytes(target / name, files.read_bytes(source / name))
  elif hasattr(tokenizer, 'as_tokenizers'):
    _write_tokenizer(files.as_path(directory), *tokenizer.as_tokenizers())
  else:
    warnings.warn(
      f'{directory} has no tokenizer: {node["name"]} has no form that transformers reads; its ids '
      'are those of the run',
      stacklevel=2,
    )
  return directory


def _write_tokenizer(folder: Any, tokenizer: Any, special: dict[str, str]) -> None:
  settings = {'tokenizer_class': 'PreTrainedTokenizerFast', **special}
  settings['clean_up_tokenization_spaces'] = False
  files.write_text(folder / 'tokenizer.json', tokenizer.to_str(pretty=True))
  files.write_json(folder / 'tokenizer_config.json', settings)
