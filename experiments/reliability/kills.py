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
ALONE = 1  # the exit code of a process that the other one has left
WITHOUT_FIRST = -signal.SIGABRT  # jax's own end for it, where that was the first one
# Seconds that a phase takes, about: the kill comes somewhere within.
LASTS = {
  'rollout': 0.03, 'scoring': 0.02, 'update': 0.01, 'log write': 0.0, 'checkpoint write': 0.15,
}  # fmt: skip


def name_of(subject):
  """The file of the kills of a run."""
  return 'kills.csv' if subject is trial.SMALL else f'kills_{subject.name}.csv'


def campaign(subject, out, whole, count, seed, seconds):
  """Kills until there are `count`, in chains; what an earlier call has done is kept.

  Args:
    subject: what is killed.
    out: folder.
    whole: the work directory of the run that was never stopped.
    count: kills in all.
    seed: of the moments.
    seconds: after which no other chain is begun.
  """
  path, until = out / name_of(subject), time.monotonic() + seconds
  rows = read(path)
  chain = max((int(row['chain']) for row in rows), default=-1)
  while len(rows) < count and time.monotonic() < until:
    chain += 1
    made = _chain(subject, out, whole, chain, len(rows), random.Random(f'{seed}-{chain}'))
    rows += made
    with open(path, 'a', newline='') as file:
      writer = csv.DictWriter(file, FIELDS)
      if file.tell() == 0:
        writer.writeheader()
      writer.writerows(made)
    wrong = sum(bool(row['violations']) for row in rows)
    print(f'{subject.name}: {len(rows)} kills, {wrong} violations', flush=True)
  return rows


def read(path):
  if not path.exists():
    return []
  with open(path, newline='') as file:
    return list(csv.DictReader(file))


def _chain(subject, out, whole, chain, first, random):
  """The rows of the kills of one work directory, which is removed if all went well."""
  workdir, rows = out / f'{subject.name}-{chain}', []
  while True:
    aimed = AIMS[(first + len(rows)) % len(AIMS)] if len(rows) < LENGTH else None
    board, began = trial.Board(), time.monotonic()
    if aimed == 'log write' and random.random() < 0.5:
      board.torn = random.randint(1, 12)
    children = trial.start(subject, workdir, board)
    seconds = trial.first_rollout(children[0], board, began)
    if rows:
      _complete(rows[-1], board, seconds)
    if aimed:
      _strike(children, board, aimed, random)
    codes = trial.wait_for_all(children)
    if -signal.SIGKILL not in codes:
      break
    expected = (-signal.SIGKILL, ALONE)
    expected += (WITHOUT_FIRST,) if codes[0] == -signal.SIGKILL else ()
    wrong = [f'the other process ended with {code}' for code in codes if code not in expected]
    unfinished = any(workdir.glob('checkpoints/state/*tmp*'))
    rows.append(
      dict(
        number=first + len(rows), chain=chain, aimed=aimed, hit=PHASES[board.phase],
        unfinished=int(unfinished), row=board.row, resumed='', recomputed='', lost='', seconds='',
        violations='; '.join([*wrong, *trial.compare(whole, workdir, ended=False)]),
      )
    )  # fmt: skip
  wrong = [f'exit codes {codes}'] if any(codes) else trial.compare(whole, workdir)
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


def _strike(children, board, aimed, random):
  """Kills in the phase, or elsewhere if it never comes there; or the run ends by itself.

  Of several processes one is killed, or all.
  """
  phase = PHASES.index(aimed)
  entries, delay = random.randint(1, 8), random.uniform(0, LASTS[aimed])
  if aimed == 'checkpoint write':
    entries = random.randint(1, 3)
  struck = random.choice([*([child] for child in children), children])
  if board.torn and children[0] not in struck:  # who has torn a line must not write on
    struck = children
  while board.entries(phase) < (board.torn or entries):
    if trial.is_over(children[0]):
      return
    time.sleep(0.0002)
  time.sleep(0.01 if board.torn else delay)
  for child in struck:
    os.killpg(child, signal.SIGKILL)
