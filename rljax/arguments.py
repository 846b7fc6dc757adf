"""What may stand behind a verb of the command line, and the config that it means."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from rljax import config, overrides


class UsageError(ValueError):
  """The command line cannot be understood."""


# Verb -> (kind, name, default, meaning) of its flags; '' has those of all verbs.
FLAGS = {
  'train': [
    ('string', 'config', None, 'name of a config, or path of a .py file, which is run as code'),
    ('string', 'workdir', None, 'where the run lives; default: a new directory under runs/'),
    ('integer', 'seed', None, "instead of the config's"),
    ('list', 'seeds', [], 'several, one run after the other, in <workdir>-s<seed>'),
    ('boolean', 'restart', False, 'move the work directory aside and start anew'),
    ('list', 'accept_config_change', [], 'keys that may differ from the run that is continued'),
    ('boolean', 'allow_cpu', False, 'go on if jax does not see the accelerator'),
    ('string', 'coordinator', None, 'host:port of process 0, where jax does not find it'),
    ('integer', 'num_processes', None, 'of the run; with --coordinator'),
    ('integer', 'process_id', None, 'of this one, from 0 on; with --coordinator'),
  ],
  'configs': [
    ('string', 'copy', None, 'name of a config to copy'),
    ('string', 'to', None, 'file of the copy; default: configs/<name>.py'),
    ('string', 'show', None, 'config to print with all its defaults; takes --config.a.b=value too'),
  ],
  'catalogue': [
    ('string', 'find', '', 'only entries with this text in them'),
    ('boolean', 'markdown', False, "as the README's tables"),
  ],
  'methods': [
    ('string', 'stage', '', 'only those of this stage'),
    ('boolean', 'markdown', False, 'all of them as a table, those that are not there yet too'),
    ('boolean', 'summary', False, 'their keys by stage, as in the README'),
  ],
  'plan': [
    ('string', 'config', None, 'name of a config, or path of a .py file'),
    ('string', 'topology', 'local', "'v5e:4x4', 'v5p:2x4x4' … in chips, or the local devices"),
    ('string', 'stage', '', 'of the config; default: the first that samples, else the first'),
    ('boolean', 'search', False, 'try meshes and micro-batches: the fastest that fits'),
    ('string', 'among', '', "with --search: what is tried, 'tensor=2,4 expert=1 rows=1,2'"),
    ('string', 'out', '', 'file for the report besides'),
  ],
  'show': [
    ('boolean', 'follow', False, 'of a live run: draw it anew as it goes on, until it ends'),
  ],
  'samples': [
    ('integer', 'iteration', None, 'of the stage; default: the last one that has samples'),
    ('string', 'prompt', '', 'only prompts with this text in them'),
    ('float', 'below', None, 'only rewards below this'),
    ('float', 'above', None, 'only rewards above this'),
    ('integer', 'count', None, 'completions on a page; default: 20, on a terminal all, in a pager'),
    ('integer', 'page', 1, 'which one, from 1 on'),
  ],
  'replay': [
    ('integer', 'step', None, 'iteration of the stage, from 1 on'),
    ('string', 'stage', '', 'its name; default: the last one that has the iteration'),
    ('string', 'batch', '', 'instead: a saved batch, as in --batch=nonfinite/rl-000012'),
    ('boolean', 'allow_cpu', False, 'go on if jax does not see the accelerator'),
  ],
  'report': [
    ('string', 'to', None, 'file of the page; default: report.html in the work directory'),
  ],
  'export': [
    ('string', 'to', None, 'directory of the model'),
    ('string', 'dtype', 'float32', "of the tensors; or 'bfloat16', 'float16'"),
  ],
  '': [
    ('boolean', 'traceback', False, 'show where an error comes from'),
    ('boolean', 'help', False, 'print this'),
  ],
}


# Verb -> what its paths are.
PLACES = {
  'show': 'a work directory, or several',
  'samples': 'a work directory',
  'replay': 'a work directory',
  'report': 'a work directory',
  'export': 'a work directory',
}


def parse(verb: str, argv: Sequence[str], about: str) -> tuple[flags.FlagValues, list[str]]:
  """(values of the verb's flags, the arguments that change the config; of a verb in PLACES: paths).

  Args:
    verb: of the command line.
    argv: behind it.
    about: what --help says besides the flags.

  Raises:
    UsageError: an unknown flag, or a value that is none.
  """
  values = flags.FlagValues()
  for kind, name, default, meaning in [*FLAGS[verb], *FLAGS['']]:
    getattr(flags, f'DEFINE_{kind}')(name, default, meaning, flag_values=values)
  own, changes = [], []
  for argument in argv:
    is_change = argument.lstrip('-').startswith(('config.', 'noconfig.'))
    (changes if is_change else own).append(argument)
  try:
    left = values(['rljax', *own])[1:]
  except flags.Error as error:
    raise UsageError(str(error).replace('\n', ' ')) from error
  if values.help:
    print(f'{about.strip()}\n')
    for _, name, default, meaning in [*FLAGS[verb], *FLAGS['']]:
      print(f'  --{name:22} {meaning}' + (f' (default {default})' if default else ''))
    raise SystemExit(0)
  if verb not in PLACES:
    if left:
      raise UsageError(f'unknown argument {left[0]!r}; values follow their flag as --flag=value')
    return values, changes
  if changes:
    raise UsageError(f'unknown argument {changes[0]!r}: {verb} reads what a run has written')
  if len(left) > 1 and 'several' not in PLACES[verb]:
    raise UsageError(
      f'{verb} takes one work directory, and here are {len(left)}: call it for each; '
      f'rljax show {" ".join(left)} compares them'
    )
  if not left:
    raise UsageError(f'{verb} needs {PLACES[verb]}, as in: rljax {verb} runs/quickstart/…')
  return values, left


def seeds_of(args: flags.FlagValues) -> list[int | None]:
  """The seeds of the runs; [None] = one run with the config's."""
  if not args.seeds:
    return [args.seed]
  if args.seed is not None:
    raise UsageError('--seed is for one run and --seeds for several')
  if not all(seed.strip().isdecimal() for seed in args.seeds):
    raise UsageError(f'--seeds={",".join(args.seeds)}: seeds are whole numbers, as in --seeds=0,1')
  seeds = [int(seed) for seed in args.seeds]
  if len(set(seeds)) < len(seeds):
    raise UsageError(f'--seeds={",".join(args.seeds)} has a seed twice')
  return seeds


def configure(path: Path, changes: Sequence[str], seed: int | None = None) -> Any:
  """The resolved config of a file, with the changes; prints what they dropped."""
  import_first(path.resolve().parent, behind=Path.cwd())
  changed, notes = overrides.override(config.load(str(path)), changes)
  if seed is not None:
    changed.seed = seed
  print(*notes, sep='\n', end='\n' if notes else '', flush=True)
  return config.resolve(changed)


def import_first(folder: Path, behind: Path | None = None) -> None:
  """Puts a folder at the front of the import path, behind another one that is there."""
  where = str(folder.resolve())
  if behind is not None and where == str(behind.resolve()):
    return
  sys.path[:] = [p for p in sys.path if p not in ('', where)]
  sys.path.insert(0 if behind is None else 1, where)
