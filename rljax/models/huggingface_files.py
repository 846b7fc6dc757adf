"""The files of a Hugging Face directory. None of them can run code: tensors are safetensors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rljax import files
from rljax.models.huggingface_config import TEXT_PART
from rljax.models.huggingface_gemma import text_name
from rljax.models.tensor_files import TensorFile

INDEX_FILE = 'model.safetensors.index.json'
PLAIN_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.+-]*\.safetensors')
PICKLES = ('.bin', '.pt', '.pth', '.ckpt', '.pkl')


def read_object(file: Path) -> dict[str, Any]:
  """The object in a JSON file.

  Raises:
    ValueError: there is none in it.
  """
  try:
    found = files.read_json(file)
  except ValueError as error:
    raise ValueError(f'{file} is no JSON: {error}') from None
  if not isinstance(found, dict):
    raise ValueError(f'{file} is {type(found).__name__}, no JSON object')
  return found


def open_files(directory: Path) -> list[TensorFile]:
  """The files with a model's tensors.

  Raises:
    FileNotFoundError: there are none, or one is missing; weights of another kind are not read.
    ValueError: an index or a file that is none.
  """
  index = directory / INDEX_FILE
  if index.is_file():
    names = _parts(index)
  elif (directory / 'model.safetensors').is_file():
    names = ['model.safetensors']
  else:
    raise FileNotFoundError(
      f'{directory} has neither model.safetensors nor {INDEX_FILE}{_others(directory)}'
    )
  for name in names:
    if not (directory / name).is_file():
      raise FileNotFoundError(f'{directory} lacks {name}, which {INDEX_FILE} names')
  found = [TensorFile(directory / name) for name in names]
  if read_object(directory / 'config.json').get('model_type') in TEXT_PART:
    for file in found:
      file.rename(text_name)
  return found


def _parts(index: Path) -> list[str]:
  """The files that an index names, all of them in its directory."""
  named = read_object(index).get('weight_map')
  if not isinstance(named, dict) or not named:
    raise ValueError(f'{index} has no weight_map')
  for name in named.values():
    if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
      raise ValueError(
        f'{index}: weight_map names {str(name)[:200]!r}, which is no safetensors file beside it'
      )
  return sorted(set(named.values()))


def _others(directory: Path) -> str:
  """What a message says of weights that are not read."""
  found = [name for name in files.names(directory) if name.endswith(PICKLES)]
  there = f' ({found[0]} is there)' if found else ''
  return (
    f'. Other weights are not read{there}: a .bin or .pt file is a pickle, which can run code of '
    'whoever made it. Take a repository that has safetensors, or convert it where you trust it: '
    "transformers' AutoModelForCausalLM.from_pretrained(directory).save_pretrained(another)"
  )
