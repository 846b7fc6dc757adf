"""kill -9 at random moments of a run, each followed by a start that goes on."""

import csv
import os
import random
import shutil
import signal
import time

import trial
from trial import PHASES

FIELDS = (
  'number', 'chain', 'aimed', 'hit', 'unfinished', 'row', 'resumed', 'recomputed', 'lost',
  'seconds', 'violations',
)  # fmt: skip
AIMS = ('rollout', 'scoring', 'update', 'log write', 'checkpoint write')
LENGTH = 5  # kills of one work directory
# Seconds that a phase takes, about: the kill comes somewhere within.
LASTS = {
  'rollout': 0.03, 'scoring': 0.02, 'update': 0.01, 'log write': 0.0, 'checkpoint write': 0.15,
}  # fmt: skip


def campaign(out, whole, count, seed, seconds):
  """Kills until there are `count`, in chains; what an earlier call has done is kept.

  Args:
    out: folder.
    whole: the work directory of the run that was never stopped.
    count: kills in all.
    seed: of the moments.
    seconds: after which no other chain is begun.
  """
  path, until = out / 'kills.csv', time.monotonic() + seconds
  rows = read(path)
  chain = max((int(row['chain']) for row in rows), default=-1)
  while len(rows) < count and time.monotonic() < until:
    chain += 1
    made = _chain(out, whole, chain, len(rows), random.Random(f'{seed}-{chain}'))
    rows += made
    with open(path, 'a', newline='') as file:
      writer = csv.DictWriter(file, FIELDS)
      if file.tell() == 0:
        writer.writeheader()
      writer.writerows(made)
    print(f'{len(rows)} kills, {sum(bool(r["violations"]) for r in rows)} violations', flush=True)
  return rows


def read(path):
  if not path.exists():
    return []
  with open(path, newline='') as file:
    return list(csv.DictReader(file))


def _chain(out, whole, chain, first, random):
  """The rows of the kills of one work directory, which is removed if all went well."""
  workdir, rows = out / f'chain-{chain}', []
  while True:
    aimed = AIMS[(first + len(rows)) % len(AIMS)] if len(rows) < LENGTH else None
    board, began = trial.Board(), time.monotonic()
    if aimed == 'log write' and random.random() < 0.5:
      board.torn = random.randint(1, 12)
    child = trial.begin(workdir, board)
    seconds = trial.first_rollout(child, board, began)
    if rows:
      _complete(rows[-1], board, seconds)
    if aimed:
      _strike(child, board, aimed, random)
    code = trial.wait(child)
    if code != -signal.SIGKILL:
      break
    unfinished = any(workdir.glob('checkpoints/state/*tmp*'))
    rows.append(
      dict(
        number=first + len(rows), chain=chain, aimed=aimed, hit=PHASES[board.phase],
        unfinished=int(unfinished), row=board.row, resumed='', recomputed='', lost='', seconds='',
        violations='; '.join(trial.compare(whole, workdir, ended=False)),
      )
    )  # fmt: skip
  wrong = [f'exit code {code}'] if code else trial.compare(whole, workdir)
  if rows and wrong:
    rows[-1]['violations'] = '; '.join(filter(None, [rows[-1]['violations'], *wrong]))
  if not any(row['violations'] for row in rows):
    shutil.rmtree(workdir, ignore_errors=True)
    for name in (f'{workdir}.log', f'{workdir}.npz'):
      if os.path.exists(name):
        os.unlink(name)
  return rows


def _complete(row, board, seconds):
  """What the start after a kill shows."""
  resumed = max(board.resumed, trial.NOTHING)
  row['resumed'], row['seconds'] = resumed, round(seconds, 2)
  again = range(resumed + 1, int(row['row']) + 1)
  row['recomputed'] = sum(place not in (0, trial.FIRST_OF_RL) for place in again)
  row['lost'] = int(row['recomputed']) > trial.EVERY
  if row['lost']:
    row['violations'] = '; '.join(
      filter(None, [row['violations'], f'{row["recomputed"]} iterations were recomputed'])
    )


def _strike(child, board, aimed, random):
  """Kills the process in the phase, or elsewhere if it never gets there; or it ends by itself."""
  phase = PHASES.index(aimed)
  entries, delay = random.randint(1, 8), random.uniform(0, LASTS[aimed])
  if aimed == 'checkpoint write':
    entries = random.randint(1, 3)
  while board.entries(phase) < (board.torn or entries):
    if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
      return
    time.sleep(0.0002)
  time.sleep(0.01 if board.torn else delay)
  os.killpg(child, signal.SIGKILL)
