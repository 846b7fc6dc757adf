"""The command line: its verbs, and `train`, `replay`, `plan`, `export`; others in `listings`."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

import rljax
from rljax import binding, config, devices, hosts, interruptions, listings, redaction
from rljax.arguments import UsageError, configure, import_first, parse, seeds_of
from rljax.listings import describe, folded

USAGE = """usage: rljax <verb> [--flag=value …]; rljax <verb> --help lists the flags

verbs:"""
DIFFERS = 3  # the exit status of a replay that is not its run
EXITS = f"""exit status:
  0    done
  1    the run stopped itself, another host stopped, or a mistake of the program (a traceback)
  2    something in the command, the config, the files or the disk is wrong; one line says what
  {DIFFERS}    a replay differs from its run
  {interruptions.STATUS}   SIGTERM or Ctrl-C: the iteration is ended and saved; start again to go on
  {interruptions.AT_ONCE}  a second Ctrl-C: left at once; start again, from the last checkpoint
  134  (SIGABRT) the first of several processes is gone, and jax ends the others; start all again"""


def main(argv: Sequence[str]) -> int:
  """Runs one verb.

  Args:
    argv: the arguments after the program's name.

  Returns:
    The exit status, as `EXITS` says.
  """
  if argv and argv[0] == '--version':
    print(f'rljax {rljax.__version__}')
    return 0
  if not argv or argv[0] in ('help', '--help', '-h'):
    print(USAGE)
    for name, verb in VERBS.items():
      print(f'  {name:10}{verb.__doc__.splitlines()[0]}')
    print(f'\n{EXITS}')
    return 0
  import_first(Path.cwd())
  try:
    status = _run(argv)
  except Exception:
    if hosts.count() == 1:
      raise
    # jax would wait for the others before it ends.
    print(redaction.redacted(traceback.format_exc()), file=sys.stderr)
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
  except KeyboardInterrupt:
    print('\nrljax: stopped', file=sys.stderr)
    return interruptions.AT_ONCE
  except BrokenPipeError:  # as of `rljax configs | head`: nobody reads on
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except (ValueError, OSError, devices.DeviceError, hosts.HostError) as error:
    if '--traceback' in argv:
      raise
    print(f'rljax: {redaction.redacted(" ".join(str(error).split()))}', file=sys.stderr)
    return 1 if isinstance(error, hosts.HostError) else 2


def train(argv: Sequence[str]) -> int:
  """Trains a policy as a config says, or continues its run.

  rljax train --config=quickstart --config.rl.iterations=200 --seed=1
  """
  args, changes = parse('train', argv, f'{train.__doc__.rstrip()}\n\n{EXITS}')
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
  resolved = configure(path, changes, seeds[0])
  if resolved.deterministic:
    devices.make_deterministic()  # before anything looks at the devices
  print(f'devices {devices.check_accelerator(allow_cpu=args.allow_cpu)}', flush=True)
  print('settings besides those of configs/default.py (config.json will have all):')
  special = describe(resolved, config.resolve(config.load('default')))
  print(*folded(special), sep='\n', flush=True)
  devices.keep_compiled_programs()

  from rljax import metrics, workdir
  from rljax.out_of_memory import OutOfMemoryError
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
    except OutOfMemoryError as error:
      print(f'rljax: {error}', file=sys.stderr)
      return 1  # another seed needs as much
    except KeyboardInterrupt as error:
      again = [a for a in argv if a.lstrip('-').split('=')[0] not in ('restart', 'norestart')]
      where = [] if args.workdir else [f'--workdir={first if len(seeds) == 1 else base}']
      command = shlex.join(['rljax', 'train', *again, *where])
      why = f'{error}; ' if str(error) else ''
      print(f'\nrljax: stopped; {why}this goes on from there: {command}', file=sys.stderr)
      known = isinstance(error, interruptions.Interrupted)
      return interruptions.STATUS if known else interruptions.AT_ONCE
  if len(summaries) > 1:
    metrics.print_seeds(summaries)
  return status


def plan(argv: Sequence[str]) -> int:
  """Says what a config takes on hardware that need not be there: memory, traffic, time.

  rljax plan --config=scale/qwen2_5_7b --topology=v5e:4x4
  """
  args, changes = parse('plan', argv, plan.__doc__)
  if not args.config:
    raise UsageError('plan needs --config=<name or path>; rljax configs lists the names')
  path = config.find(args.config)
  resolved = configure(path, changes)

  from rljax.plan import verb

  among = verb.among(args.among, args.search)
  verb.run(resolved, args.topology, stage=args.stage, among=among, out=args.out)
  return 0


def export(argv: Sequence[str]) -> int:
  """Writes the policy of a run as a Hugging Face directory, for transformers and vLLM.

  rljax export runs/quickstart/20261122-101500-s0 --to=my-model --dtype=bfloat16
  """
  args, (path,) = parse('export', argv, export.__doc__)
  if not args.to:
    raise UsageError('export needs --to=<directory>')

  from rljax.exports import export_run

  print(export_run(path, args.to, dtype=args.dtype))
  return 0


def replay(argv: Sequence[str]) -> int:
  """Repeats an iteration of a run and compares it bit by bit; status 3 if it differs.

  rljax replay runs/quickstart/20261122-101500-s0 --step=40
  """
  args, (path,) = parse('replay', argv, replay.__doc__)
  if (args.step is None) == (not args.batch):
    raise UsageError('replay needs --step=<iteration> or --batch=<folder of a saved batch>')
  from rljax.workdir import read_config

  if read_config(path)['config'].get('deterministic'):
    devices.make_deterministic()
  print(f'devices {devices.check_accelerator(allow_cpu=args.allow_cpu)}', flush=True)
  devices.keep_compiled_programs()

  from rljax.replay import replay as repeat
  from rljax.replay import table

  outcome = repeat(path, args.step, stage=args.stage, batch=args.batch)
  print(*table(outcome), sep='\n')
  return DIFFERS if outcome.differing else 0


VERBS: dict[str, Callable[[Sequence[str]], int]] = {
  'train': train,
  'show': listings.show,
  'samples': listings.samples,
  'replay': replay,
  'report': listings.report,
  'plan': plan,
  'export': export,
  'configs': listings.configs,
  'catalogue': listings.catalogue,
  'methods': listings.methods,
}


def _near_verbs(name: str) -> str:
  return binding.near(name, VERBS) or f'; there are {", ".join(VERBS)}'
