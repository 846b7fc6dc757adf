"""The verbs of the command line: `rljax train`, `configs`, `catalogue`, `methods`, `plan`."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

import rljax
from rljax import binding, config, devices, files, hosts, overrides
from rljax.arguments import UsageError, parse, seeds_of

USAGE = """usage: rljax <verb> [--flag=value …]; rljax <verb> --help lists the flags

verbs:"""


class Interrupted(Exception):
  """The user stopped a run; the message says how to go on."""


def main(argv: Sequence[str]) -> int:
  """Runs one verb.

  Args:
    argv: the arguments after the program's name.

  Returns:
    The exit status: 0, 1 (the run stopped itself, or another host did), 2 (something in the
    command, the config or the files is wrong; one line says what) or 130 (Ctrl-C).
  """
  if argv and argv[0] == '--version':
    print(f'rljax {rljax.__version__}')
    return 0
  if not argv or argv[0] in ('help', '--help', '-h'):
    print(USAGE)
    for name, verb in VERBS.items():
      print(f'  {name:8} {verb.__doc__.splitlines()[0]}')
    return 0
  _import_first(Path.cwd())
  try:
    status = _run(argv)
  except Exception:
    if hosts.count() == 1:
      raise
    traceback.print_exc()  # jax would wait for the others before it ends
    status = 1
  if status and hosts.count() > 1:
    hosts.abandon(status)
  return status


def _run(argv: Sequence[str]) -> int:
  """The exit status of a verb; what went wrong is one line."""
  try:
    if argv[0] not in VERBS:
      raise UsageError(f'unknown verb {argv[0]!r}{_near_verbs(argv[0])}')
    return VERBS[argv[0]](argv[1:])
  except Interrupted as interrupted:
    print(f'\nrljax: stopped; {interrupted}', file=sys.stderr)
    return 130
  except KeyboardInterrupt:
    print('\nrljax: stopped', file=sys.stderr)
    return 130
  except (ValueError, OSError, devices.DeviceError, hosts.HostError) as error:
    if '--traceback' in argv:
      raise
    print(f'rljax: {" ".join(str(error).split())}', file=sys.stderr)
    return 1 if isinstance(error, hosts.HostError) else 2


def train(argv: Sequence[str]) -> int:
  """Trains a policy as a config says, or continues its run.

  rljax train --config=quickstart --config.rl.iterations=200 --seed=1
  """
  args, changes = parse('train', argv, train.__doc__)
  if not args.config:
    raise UsageError('train needs --config=<name or path>; rljax configs lists the names')
  hosts.start(
    args.coordinator, args.num_processes, args.process_id, on_tpu=devices.hardware() == 'tpu'
  )
  with hosts.together():
    return _train(args, changes, argv)


def _train(args: flags.FlagValues, changes: Sequence[str], argv: Sequence[str]) -> int:
  """The runs of the verb `train`."""
  seeds = seeds_of(args)
  path = config.find(args.config)
  print(f'config {path}', flush=True)
  resolved = _configure(path, changes, seeds[0])
  print(f'devices {devices.check_accelerator(allow_cpu=args.allow_cpu)}', flush=True)
  print(*_folded(config.describe(resolved)), sep='\n', flush=True)
  devices.keep_compiled_programs()

  from rljax import metrics, workdir
  from rljax.train import HealthError
  from rljax.train import train as run

  first = args.workdir or workdir.default_workdir(path.stem, resolved.seed)
  first = hosts.agree(first, 'the work directory')  # its name has a time in it
  base = first if args.workdir else first.removesuffix(f'-s{resolved.seed}')
  summaries, status = [], 0
  for seed in seeds:
    try:
      summary = run(
        resolved,
        workdir=first if len(seeds) == 1 else f'{base}-s{seed}',
        seed=resolved.seed if seed is None else seed,
        restart=args.restart,
        accept_config_change=tuple(args.accept_config_change),
        name=path.stem,
      )
      summaries.append(summary)
    except HealthError as error:
      print(f'rljax: the run stopped itself: {error}', file=sys.stderr)
      status = 1
    except KeyboardInterrupt:
      again = [a for a in argv if a.lstrip('-').split('=')[0] not in ('restart', 'norestart')]
      where = [] if args.workdir else [f'--workdir={first if len(seeds) == 1 else base}']
      command = shlex.join(['rljax', 'train', *again, *where])
      raise Interrupted(f'this continues from the last checkpoint: {command}') from None
  if len(summaries) > 1:
    metrics.print_seeds(summaries)
  return status


def configs(argv: Sequence[str]) -> int:
  """Lists the configs; --copy=NAME puts one beside you to be edited, --show=NAME prints one whole.

  rljax configs --copy=quickstart --to=configs/mine.py
  """
  args, changes = parse('configs', argv, configs.__doc__)
  if changes and not args.show:
    raise UsageError(f'unknown argument {changes[0]!r}')
  if args.show:
    print('\n'.join(_folded(config.describe(_configure(config.find(args.show), changes)))))
    return 0
  if not args.copy:
    found = config.listing()
    width = max(len(name) for name in found)
    for name, (path, line) in sorted(found.items()):
      print(f'{name:{width}}  {line}  ({path})')
    return 0
  source, target = config.find(args.copy), Path(args.to or f'configs/{args.copy}.py')
  if target.exists():
    raise UsageError(f'{target} exists; --to=PATH.py puts the copy elsewhere')
  files.write_text(target, files.read_text(source))
  print(f'{source} -> {target}; run it: rljax train --config={target}')
  return 0


def catalogue(argv: Sequence[str]) -> int:
  """Lists the functions of the library: what each is, where it comes from, which presets use it.

  rljax catalogue --find=gspo
  """
  args, changes = parse('catalogue', argv, catalogue.__doc__)
  if changes:
    raise UsageError(f'unknown argument {changes[0]!r}')

  from rljax import catalogue as functions

  if args.markdown:
    print(functions.table())
    return 0
  found = [e for e in functions.entries() if args.find.lower() in ' '.join(map(str, e)).lower()]
  for entry in found:
    print(f'{entry.name}  ({entry.fidelity})')
    lines = [entry.equation, f'source: {entry.source}']
    lines += [f'presets: {", ".join(entry.presets)}'] if entry.presets else []
    print(*_folded(lines), sep='\n')
  if not found:
    raise UsageError(f'no function, equation, source or preset has {args.find!r} in it')
  return 0


def methods(argv: Sequence[str]) -> int:
  """Lists the methods of the literature, with what they change and their configs.

  rljax methods --stage=advantages
  """
  args, changes = parse('methods', argv, methods.__doc__)
  if changes:
    raise UsageError(f'unknown argument {changes[0]!r}')

  from rljax import methods as literature

  found = literature.methods()
  if args.markdown or args.summary:
    print((literature.table if args.markdown else literature.summary)(found))
    return 0
  stages = sorted({method.stage for method in found} - {''})
  if args.stage and args.stage not in stages:
    raise UsageError(f'no method has the stage {args.stage!r}; there are {", ".join(stages)}')
  for method in found:
    if method.stage and args.stage in ('', method.stage):
      print(f'papers/{method.key}  ({method.stage}, {method.fidelity})')
      print(*_folded([method.what, method.paper, f'effect: {method.effect}']), sep='\n')
  return 0


def plan(argv: Sequence[str]) -> int:
  """Says what a config takes on a topology that need not be there: memory, FLOPs, traffic, time.

  rljax plan --config=scale/qwen2_5_7b --topology=v5e:4x4
  """
  args, changes = parse('plan', argv, plan.__doc__)
  if not args.config:
    raise UsageError('plan needs --config=<name or path>; rljax configs lists the names')
  path = config.find(args.config)
  resolved = _configure(path, changes)

  from rljax.plan import verb

  verb.run(resolved, args.topology, stage=args.stage, search=args.search, out=args.out)
  return 0


VERBS: dict[str, Callable[[Sequence[str]], int]] = {
  'train': train,
  'configs': configs,
  'catalogue': catalogue,
  'methods': methods,
  'plan': plan,
}


def _folded(lines: Sequence[str]) -> list[str]:
  """Lines as wide as the terminal, indented; what is folded is indented once more."""
  fold = textwrap.TextWrapper(
    width=shutil.get_terminal_size((100, 24)).columns,
    initial_indent='  ',
    subsequent_indent='      ',
    break_long_words=False,
    break_on_hyphens=False,
  )
  return [folded for line in lines for folded in fold.wrap(line)]


def _configure(path: Path, changes: Sequence[str], seed: int | None = None):
  """The resolved config of a file, with the changes; prints what they dropped."""
  _import_first(path.resolve().parent, behind=Path.cwd())
  changed, notes = overrides.override(config.load(str(path)), changes)
  if seed is not None:
    changed.seed = seed
  print(*notes, sep='\n', end='\n' if notes else '', flush=True)
  return config.resolve(changed)


def _near_verbs(name: str) -> str:
  return binding.near(name, VERBS) or f'; there are {", ".join(VERBS)}'


def _import_first(folder: Path, behind: Path | None = None) -> None:
  """Puts a folder at the front of the import path, behind another one that is there."""
  where = str(folder.resolve())
  if behind is not None and where == str(behind.resolve()):
    return
  sys.path[:] = [p for p in sys.path if p not in ('', where)]
  sys.path.insert(0 if behind is None else 1, where)
