"""Faults that are no kill: full disks, damaged checkpoints, signals, rewards, clocks, other runs.

Each function yields one dict for each trial: what was seen, the exit code, seconds to recover, and
what was not as it should be.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import trial

from rljax.metrics import read_metrics

AT_ONCE, INTERRUPTED, WRONG = 130, 75, 2  # as `rljax --help` says


def row(outcome, code, expected, seconds=None, wrong=()):
  """A trial; another exit code than the documented one is a violation."""
  wrong = [*wrong, *([f'exit code {code}, not {expected}'] if code != expected else [])]
  seconds = None if seconds is None else round(seconds, 1)
  return dict(outcome=outcome, code=code, seconds=seconds, violations=wrong)


def resumed(whole, workdir, **how):
  """(seconds until it rolls out again, what differs at the end, what it printed)."""
  code, seconds, _ = trial.run(workdir, **how)
  with open(f'{workdir}.log', encoding='utf-8') as file:
    said = file.read()
  return seconds, [f'exit code {code}'] if code else trial.compare(whole, workdir), said


def full_disk(out, whole, count):
  """tmpfs of growing sizes, so that other writes fail; then it grows, and the run goes on."""
  size = sum(p.stat().st_size for p in whole.rglob('*') if p.is_file()) // 1024
  for number in range(count):
    workdir = out / f'disk-{number}'
    workdir.mkdir()
    limit = 16 + size * number // count
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={limit}k', 'tmpfs', str(workdir)]
    subprocess.run(mount, check=True)
    try:
      code, _, board = trial.run(workdir)
      if code == 0:
        yield row('fits', code, 0)
        continue
      grow = ['mount', '-o', 'remount,size=1g', str(workdir)]
      subprocess.run(grow, check=True)
      seconds, wrong, _ = resumed(whole, workdir)
      yield row(f'{limit} KiB, at row {board.row}', code, WRONG, seconds, wrong)
    finally:
      subprocess.run(['umount', '-l', str(workdir)], check=False)


def damaged(out, whole, count):
  """One bit flipped in a file of the newest checkpoint, or the file cut."""
  source, board, chance = out / 'source', trial.Board(), random.Random(0)
  child = trial.begin(source, board)
  while board.row < trial.FIRST_OF_RL + 7:
    time.sleep(0.001)
  os.killpg(child, signal.SIGKILL)
  trial.wait(child)
  for number in range(count):
    workdir = shutil.copytree(source, out / f'damaged-{number}')
    states = [p for p in (workdir / 'checkpoints' / 'state').iterdir() if p.name.isdigit()]
    newest = max(states, key=lambda p: int(p.name))
    path = chance.choice(sorted(p for p in newest.rglob('*') if p.is_file() and p.stat().st_size))
    content = bytearray(path.read_bytes())
    if number % 2:
      content = content[: chance.randrange(len(content))]
    else:
      content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    seconds, wrong, said = resumed(whole, workdir)
    noticed = 'noticed, the one before is used' if 'WARNING: checkpoint' in said else 'harmless'
    yield row(noticed, 0, 0, seconds, wrong)


def signals(out, whole, count):
  """SIGTERM, Ctrl-C and Ctrl-C twice at random moments of the loop."""
  chance = random.Random(0)
  sent = {'SIGTERM': [15], 'Ctrl-C': [2], 'Ctrl-C twice': [2, 2]}
  for number in range(3 * count):
    name = list(sent)[number % 3]
    workdir, board = out / f'signal-{number}', trial.Board()
    child = trial.begin(workdir, board)
    trial.first_rollout(child, board, 0.0)
    time.sleep(chance.uniform(0, 3.0))
    for which in sent[name]:
      with contextlib.suppress(ProcessLookupError):
        os.kill(child, which)
      time.sleep(0.002)
    code = trial.wait(child)
    if code == 0:
      yield row(f'{name}: had ended', 0, 0)
      continue
    seconds, wrong, _ = resumed(whole, workdir)
    expected = AT_ONCE if name == 'Ctrl-C twice' and code == AT_ONCE else INTERRUPTED
    yield row(name, code, expected, seconds, wrong)


def rewards(out, whole, count):
  """A worker that is killed, hangs or leaks at some completions: counted, and the run ends well."""
  del whole, count
  counted = {'dying': 'reward/errors', 'hanging': 'reward/timeouts', 'leaking': 'reward/errors'}
  for name, metric in counted.items():
    flags = [f'--config.rewards.reward.name=watched.{name}', '--config.rewards.memory_mib=256']
    flags += ['--config.rewards.cpu_seconds=0.2']
    flags += ['--config.rl.iterations=2']
    code, _, _ = trial.run(out / name, flags=flags)
    found = sum(line.get(metric, 0) for line in read_metrics(out / name)) if not code else 0
    yield row(f'{name}: {found:.0f} in {metric}', code, 0, wrong=[] if found else ['not counted'])


def _jumping_clock():
  now, chance = time.time, random.Random(0)
  time.time = lambda: now() + chance.choice((-86400.0, 0.0, 86400.0, 1e6))


def clock(out, whole, count):
  """time.time jumps by days at each call, back and forth."""
  for number in range(count):
    workdir = out / f'clock-{number}'
    _, wrong, _ = resumed(whole, workdir, prepare=_jumping_clock)
    yield row('the same run', 0, 0, None, wrong)


def read_only(out, whole, count):
  """A work directory that cannot be written."""
  del whole, count
  workdir = out / 'read-only'
  workdir.mkdir()
  subprocess.run(['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', str(workdir)], check=True)
  try:
    code, _, _ = trial.run(workdir)
    yield row('refused', code, WRONG)
  finally:
    subprocess.run(['umount', '-l', str(workdir)], check=False)


def two_runs(out, whole, count):
  """A second start in the directory of a run that is at work."""
  for number in range(count):
    workdir, board = out / f'two-{number}', trial.Board()
    child = trial.begin(workdir, board)
    trial.first_rollout(child, board, 0.0)
    code, _, _ = trial.run(workdir)
    first = trial.wait(child)
    wrong = trial.compare(whole, workdir) if first == 0 else [f'the first ends with {first}']
    yield row('the second is refused, the first unharmed', code, WRONG, None, wrong)


NAMES = {
  'full_disk': 'disk full (size-limited tmpfs)',
  'damaged': 'checkpoint with a flipped bit or cut short',
  'signals': 'SIGTERM, Ctrl-C, Ctrl-C twice',
  'rewards': 'reward worker killed, hung, leaking',
  'clock': 'clock jumps',
  'read_only': 'read-only work directory',
  'two_runs': 'two runs in one work directory',
}
FAULTS = {f.__name__: f for f in (full_disk, damaged, signals, rewards, clock, read_only, two_runs)}
