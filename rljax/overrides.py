"""`--config.a.b=value`: one change of a config from the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from rljax.binding import near
from rljax.config import ConfigError, Node, Nodes, check, is_model, plain

Kinds = Mapping[str, tuple[type, bool]]


def override(config: Mapping[str, Any], argv: Sequence[str]) -> tuple[ConfigDict, list[str]]:
  """Applies arguments of the form `--config.a.b=value` (`--config.a`, `--noconfig.a`: booleans).

  `--config.rl.loss.name=losses.cispo` comes first wherever it stands: the node starts anew from
  that function's signature, and what belonged to the former function is dropped. The node itself
  takes such a name too, a dict literal, or None.

  Returns:
    (the config, one line for each node that changed its function).

  Raises:
    ConfigError: an unknown key or function, a value of a wrong type, or another argument.
  """
  result, notes = plain(config), []
  _, kinds = check(result)
  found = [(*_split(argument), argument) for argument in argv]
  fields = []
  for path, text, argument in found:
    node = path.removesuffix('.name')
    if kinds.get(node, (None,))[0] is not Node and not _is_new(node, kinds):
      fields.append((path, text, argument))
      continue
    value = {'name': text} if path.endswith('.name') else _literal(path, text)
    notes += _replace(result, node, value)
  if notes:
    _, kinds = check(result)
  for path, value in _parse(fields, kinds, result).items():
    _set(result, path, value)
  return ConfigDict(result, type_safe=False), notes


def _is_new(path: str, kinds: Kinds) -> bool:
  """Whether a function is put under a new name where names are the user's own."""
  parent, _, name = path.rpartition('.')
  return bool(name) and kinds.get(parent, (None,))[0] is Nodes


def _split(argument: str) -> tuple[str, str | None]:
  """(path, text or None) of one argument."""
  found = re.match(r'--?(?:no)?config\.([\w.]+)(?:=(.*))?$', argument, re.DOTALL)
  if not found:
    raise ConfigError(f'unknown argument {argument!r}; overrides look like --config.a.b=value')
  return found[1], found[2]


def _literal(path: str, text: str | None) -> Any:
  """A node: None, a dict, or short for the latter the name of a function."""
  if text and re.fullmatch(r'\w+(\.\w+)+', text):
    return {'name': text}
  try:
    return ast.literal_eval(text or '')
  except (SyntaxError, ValueError):
    raise ConfigError(
      f"--config.{path}={text}: neither a dotted name such as 'losses.nll' nor a dict nor None"
    ) from None


def _replace(config: dict[str, Any], path: str, value: Any) -> list[str]:
  """Puts a node in the place of another one; a line for the user if the function changes."""
  parent, _, last = path.rpartition('.')
  former = (_at(config, parent) if parent else config).get(last) or {}
  if value is None and not former:
    return []
  name = value.get('name') if isinstance(value, Mapping) else None
  if isinstance(value, Mapping) and name in (None, former.get('name')):
    _set(config, path, {**former, **value})
    return []
  # A model's `path` says where it is, not how its function works.
  kept = {k: v for k, v in former.items() if k == 'path' and is_model(path)}
  dropped = ', '.join(f'{k}={v!r}' for k, v in former.items() if k not in ('name', *kept))
  _set(config, path, value and {**kept, **value})
  return [f'config.{path}: {former.get("name")} -> {name}; dropped: {dropped or "nothing"}']


def _parse(
  fields: Sequence[tuple[str, str | None, str]], kinds: Kinds, config: Mapping[str, Any]
) -> dict[str, Any]:
  """path -> value, read by the flags of ml_collections as the types in `kinds`."""
  blank = ConfigDict()
  for path, text, _ in fields:
    if kinds.get(path, (None,))[0] is Nodes:
      raise ConfigError(
        f'--config.{path}: this is a group of keys; set them one by one, under names of your '
        f'own: --config.{path}.mine=<function>'
      )
    if any(k.startswith(f'{path}.') for k in kinds):
      raise ConfigError(f'--config.{path}: this is a group of keys; set them one by one')
    if path not in kinds:
      hint = _other_function(path, kinds, config) or near(path, kinds)
      raise ConfigError(f'--config.{path}: config has no such key{hint}')
    kind, optional = kinds[path]
    literal = (optional and text == 'None') or (kind is float and (text or '').startswith('{'))
    *parents, last = path.split('.')
    node = blank
    for part in parents:
      if part not in node:
        node[part] = ConfigDict()
      node = node[part]
    node[last] = config_dict.placeholder(object if literal else kind)
  argv = [argument for *_, argument in fields]
  values = flags.FlagValues()
  try:
    config_flags.DEFINE_config_dict('config', blank, flag_values=values, sys_argv=argv)
    left = values(['rljax', *argv])[1:]
  except flags.Error as error:
    raise ConfigError(str(error).replace('\n', ' ')) from error
  if left:
    raise ConfigError(f'unknown argument {left[0]!r}')
  found = dict(values['config'].override_values)
  for path, value in found.items():
    if kinds[path][0] is tuple and len(value) == 1 and isinstance(value[0], str):
      found[path] = tuple(value[0].split(','))  # --config.stages=sft,rl
  return found


def _other_function(path: str, kinds: Kinds, config: Mapping[str, Any]) -> str:
  """How a key is set that is like none of the function that is there, or ''."""
  node, _, key = path.rpartition('.')
  if kinds.get(node, (None,))[0] is not Node or not (found := _at(config, node)):
    return ''
  if near(key, {'name', *(k.rpartition('.')[2] for k in kinds)}):  # misspelt, or in the wrong place
    return ''
  known = sorted(k.removeprefix(f'{node}.') for k in kinds if k.startswith(f'{node}.'))
  return (
    f'; {node} is {found["name"]}, which takes {", ".join(known) or "none"}; another function is '
    f'named beside its keys: --config.{node}.name=<function>'
  )


def _at(tree: Mapping[str, Any], path: str) -> Any:
  for part in path.split('.'):
    tree = tree[part]
  return tree


def _set(tree: dict[str, Any], path: str, value: Any) -> None:
  *parents, last = path.split('.')
  for part in parents:
    tree = tree[part]
  tree[last] = value
