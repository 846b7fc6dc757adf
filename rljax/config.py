"""Configs: found by name, checked against `default` and the functions they name, overridden.

A config file is code: read a stranger's before you run it. Its `get_config()` returns a
`ConfigDict`, mostly by changing another: `config = rljax.load_config('default')`. A node with a key
`name` stands for a function (`rljax.binding`); what it leaves out is the default in its signature.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rljax import binding, files, redaction

# Numbers of a stage that may be schedules, besides every float hyper-parameter.
SCHEDULED = ('kl_coef', 'entropy_coef', 'value_coef', 'auxiliary_coef', 'jsd_beta', 'temperature')

OPTIONAL = ('advantage',)  # functions of `default` that a config may do without

# It has all the methods of one; so code below floor 4 need not know ml_collections.
Mapping.register(ConfigDict)

_loading: list[Path] = []


class ConfigError(ValueError):
  """A config or an override that cannot be what was meant; the message names it."""


def shipped() -> Path:
  """The directory of rljax's own configs: in an installed package, else in the checkout."""
  package = Path(__file__).resolve().parent
  return package / 'configs' if (package / 'configs').is_dir() else package.parent / 'configs'


def listing() -> dict[str, tuple[Path, str]]:
  """Name -> (file, first line of its docstring) of the configs in ./configs and of rljax's own."""
  found = {}
  for folder in (shipped(), Path('configs')):  # the later one hides the former
    for path in sorted(folder.rglob('[!_]*.py')):
      doc = ast.get_docstring(ast.parse(files.read_text(path))) or ''
      found[path.relative_to(folder).with_suffix('').as_posix()] = (path, doc.split('\n')[0])
  return found


def find(name: str) -> Path:
  """The file of a config.

  Args:
    name: a path that ends in .py; else a name, looked up in ./configs and then in rljax's own.
      Inside a config file its own directory comes first and the file itself is passed over, so
      that `configs/default.py` may build on rljax's `default`.

  Raises:
    ConfigError: there is no such file; names near ones.
  """
  if name.endswith('.py'):
    if not Path(name).is_file():
      raise ConfigError(f'there is no config file {name}')
    return Path(name)
  folders = [*(path.parent for path in _loading[-1:]), Path('configs'), shipped()]
  for folder in folders:
    path = folder / f'{name}.py'
    if path.is_file() and path.resolve() not in _loading:
      return path
  names = list(listing())
  hint = binding.near(name, names) or f'; there are {", ".join(sorted(names))}'
  raise ConfigError(f'there is no config {name!r} in ./configs or among those of rljax{hint}')


def load(name: str) -> ConfigDict:
  """The config `name` (see `find`) as its file says it: hyper-parameters that it leaves out are
  left out here too, until `resolve`.

  Raises:
    ConfigError: no such file, or the file does not run; the message names file and line.
  """
  path = find(name).resolve()
  spec = importlib.util.spec_from_file_location(f'config_{path.stem}', path)
  module = importlib.util.module_from_spec(spec)
  _loading.append(path)
  try:
    spec.loader.exec_module(module)
    config = module.get_config()
  except ConfigError:
    raise
  except Exception as error:
    raise ConfigError(f'{path}{_line(error, path)}: {type(error).__name__}: {error}') from error
  finally:
    _loading.pop()
  # Types are checked by `resolve`: a schedule may then stand where a number stood.
  return ConfigDict(config.to_dict(), type_safe=False)


def _line(error: BaseException, path: Path) -> str:
  """':<line>' of the place in `path` where `error` was raised."""
  if isinstance(error, SyntaxError):
    return f':{error.lineno}'
  lines, trace = [], error.__traceback__
  while trace:
    if trace.tb_frame.f_code.co_filename == str(path):
      lines.append(trace.tb_lineno)
    trace = trace.tb_next
  return f':{lines[-1]}' if lines else ''


def resolve(config: Mapping[str, Any]) -> ConfigDict:
  """The config with every hyper-parameter of every function that it names; locked.

  Only what a function requires and nothing gives (`vocab_size`, which the tokenizer knows) stays
  out. A model that is loaded from a `path` keeps only the fields that the config names: they
  override what the files say.

  Raises:
    ConfigError: an unknown or missing key, a wrong type, an unknown function or hyper-parameter.
  """
  redaction.check(resolved := check(config)[0])
  return ConfigDict(resolved, type_safe=False).lock()


class Node:
  """Stands as the type of a node that names a function."""


class Nodes:
  """Stands as the type of a dict of such nodes under names of the user's own."""


def check(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[type, bool]]]:
  """What `resolve` does, and what can be set.

  Returns:
    (resolved config, path -> (type, may be None) of everything that can be set in it).
  """
  given = plain(config)
  known = plain(load(str(shipped() / 'default.py')))
  stages = given.get('stages', ())
  for stage in [stages] if isinstance(stages, str) else stages:
    kind = given.get(stage, {}).get('kind', stage)
    if kind not in known:
      raise ConfigError(f'config.stages: {stage!r} needs config.{stage} with a kind that exists')
    known[stage] = known[kind]
  kinds: dict[str, tuple[type, bool]] = {}
  return _check_group(given, known, '', kinds), kinds


def _check_group(given, known, path, kinds):
  result = {}
  for key in given:
    if key not in known:
      raise ConfigError(f'config has no key {path}{key}{binding.near(key, known)}')
  for key, default in known.items():
    full = path + key
    if key not in given:
      raise ConfigError(f"config lacks {full}; build it on rljax.load_config('default')")
    value = given[key]
    if default is None or _is_node(default):
      # None: there may be a function, and there need not be one.
      optional = default is None or key in OPTIONAL
      kinds[full] = (Node, optional)
      result[key] = None if value is None and optional else _check_node(value, full, kinds)
    elif default == {}:
      result[key] = _check_nodes(value, full, kinds)
    elif isinstance(default, Mapping):
      if not isinstance(value, Mapping):
        raise ConfigError(f'config.{full}: {value!r} is no dict with {", ".join(default)}')
      result[key] = _check_group(value, default, f'{full}.', kinds)
    else:
      kinds[full] = (type(default), False)
      scheduled = key in SCHEDULED and 'kind' in known
      result[key] = _cast(value, *kinds[full], full, scheduled)
  return result


def _check_nodes(nodes, path, kinds):
  """Functions under names of the user's own; None takes one out."""
  kinds[path] = (Nodes, False)
  if not isinstance(nodes, Mapping):
    raise ConfigError(f'config.{path}: {nodes!r} is no dict of name -> function')
  for name in nodes:
    if not re.fullmatch(r'[a-zA-Z]\w*', name):  # it is part of metric names
      raise ConfigError(f'config.{path}: {name!r} is no name; letters, digits and _ make one')
    kinds[f'{path}.{name}'] = (Node, True)
  return {
    name: _check_node(node, f'{path}.{name}', kinds)
    for name, node in nodes.items()
    if node is not None
  }


def _check_node(node, path, kinds):
  if path == 'rewards.reward' and callable(node):
    return node  # of a notebook
  if isinstance(node, str):
    node = {'name': node}
  if not _is_node(node):
    raise ConfigError(f"config.{path}: {node!r} is no dict(name='<module>.<function>', …)")
  try:
    function = binding.resolve(node['name'])
    filled, unknown = binding.fill(node)
  except binding.BindingError as error:
    raise ConfigError(f'config.{path}: {error}') from error
  found = binding.signature(function)
  # A model may come from files; then `path` says which, and no default overrides them.
  if is_model(path) and 'path' in unknown:
    unknown.remove('path')
    kinds[f'{path}.path'] = (str, False)
    if node['path']:
      filled = {k: v for k, v in filled.items() if k in node}
    filled['path'] = node['path']
  accepted = sorted([*found.hyper, *found.required])
  for key in unknown:
    hint = binding.near(key, accepted) or f'; it accepts {", ".join(accepted) or "none"}'
    raise ConfigError(f'config.{path}: {node["name"]} has no hyper-parameter {key!r}{hint}')
  for key in accepted:
    kinds[f'{path}.{key}'] = kind = _kind(function, key, found.hyper.get(key))
    if key in filled:
      filled[key] = _cast(filled[key], *kind, f'{path}.{key}', True)
  return filled


def is_model(path: str) -> bool:
  """True if the node at `path` is a model, which has a `path` besides its hyper-parameters."""
  return path.rsplit('.', 1)[-1] in ('model', 'critic', 'reward_model', 'teacher', 'draft')


def _kind(function, key: str, default: Any) -> tuple[type, bool]:
  """(type, may be None) of a hyper-parameter, by its annotation, else by its default."""
  try:
    hint = typing.get_type_hints(function).get(key, type(default))
  except (NameError, TypeError):  # an annotation that exists for type checkers only
    hint = type(default)
  parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
  optional = type(None) in parts or default is None
  parts = {typing.get_origin(p) or p for p in parts} - {type(None)}
  if parts == {int, float}:
    return float, optional
  kind = parts.pop() if len(parts) == 1 else object
  return (kind if kind in (bool, int, float, str, tuple) else object), optional


def _cast(value, kind, optional, path, scheduled):
  """`value` as `kind`; whole numbers serve as floats and lists as tuples."""
  if kind is object or (optional and value is None):
    return value
  if kind is float and isinstance(value, Mapping):
    wanted = {'schedule', 'start', 'end', 'steps'}
    if not scheduled:
      raise ConfigError(f'config.{path}: this one takes a number, no schedule')
    if set(value) != wanted:
      raise ConfigError(f'config.{path}: a schedule has the keys {", ".join(sorted(wanted))}')
    return value
  if kind is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  if kind is tuple and isinstance(value, list):
    return tuple(value)
  if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
    raise ConfigError(
      f'config.{path}: {value!r} is of type {type(value).__name__}; {kind.__name__} is needed'
    )
  return value


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
  """A deep copy as nested dicts."""
  return config.to_dict() if isinstance(config, ConfigDict) else ConfigDict(config).to_dict()


def _is_node(value: Any) -> bool:
  return isinstance(value, Mapping) and 'name' in value
