"""A judge whose endpoint is late, answers garbage or limits the rate, for a while or for good."""

import contextlib
import os
import subprocess
import sys

import trial
from endpoint import MANNERS
from faults import row

from rljax.metrics import read_metrics

REFERENCES = ('well', 'refusing')  # what passes is as if nothing had been, what stays is an error


def endpoints(out, whole, count):
  """Each manner; the run must be, bit by bit, the one whose endpoint does well, or refuses."""
  del whole
  others = [manner for manner in MANNERS if manner not in REFERENCES]
  for number in range(-(-count // len(others))):
    for manner in REFERENCES:
      code = _run(out, number, manner)
      assert code == 0, f'the run itself does not work: {out}/{manner}-{number}.log'
    for manner in others:
      code = _run(out, number, manner)
      stays = MANNERS[manner][1] is not None
      reference = out / f'{REFERENCES[stays]}-{number}'
      workdir = out / f'{manner}-{number}'
      wrong = trial.compare(reference, workdir) if code == 0 else []
      found = sum(r.get('reward/errors', 0) for r in read_metrics(workdir)) if code == 0 else 0
      wrong += [f'{found:.0f} in reward/errors'] if bool(found) != stays else []
      told = 'counted in reward/errors' if stays else 'asked again, nothing is lost'
      yield row(f'{manner}: {told}', code, 0, wrong=wrong)


def _run(out, number, manner):
  """The exit code of a run whose judge has these manners."""
  with _serving(manner) as port:
    os.environ['ENDPOINT'] = f'http://127.0.0.1:{port}/v1'
    how = dict(config=trial.HERE / 'judged.py', flags=(f'--seed={number}',))
    return trial.run(out / f'{manner}-{number}', **how)[0]


@contextlib.contextmanager
def _serving(manner):
  """The port of an endpoint."""
  command = [sys.executable, trial.HERE / 'endpoint.py', manner]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
    try:
      yield int(server.stdout.readline())
    finally:
      server.kill()


NAMES = {'endpoints': "judge's endpoint late, answering garbage, limiting the rate"}
FAULTS = {'endpoints': endpoints}
