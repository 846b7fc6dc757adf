"""Notices of Google Cloud that this VM, with TPUs or without, will be taken away.

The metadata server of a VM says `preempted` when a Spot VM is taken back, which then has 30 seconds
by default, and `maintenance-event` before its host goes into maintenance: a minute before, an hour
with GPUs, and only to those who have asked in the last hour. It is asked every two seconds, at its
address, so that neither a proxy nor a name server stands between.

Of a maintenance that ends the VM only the beginning counts: a run that is started again meanwhile
would else end with each iteration. A VM that is moved while it runs stays.

Source: docs.cloud.google.com/compute/docs/instances/create-use-spot (preemption) and
…/compute/docs/metadata/getting-live-migration-notice, …/compute/docs/gpus/gpu-host-maintenance, as
read in November 2026. The pages for Cloud TPU name neither key; their VMs are said to be such VMs
(docs.cloud.google.com/tpu/docs/prepare-for-maintenance). On a real one it has not been run.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator

SECONDS = 2.0  # between two questions, and for an answer
SERVER = 'GCE_METADATA_HOST'  # the environment variable by which Google's libraries find another
_ADDRESS = '169.254.169.254'
_PRODUCT = pathlib.Path('/sys/class/dmi/id/product_name')
_PREEMPTED, _MAINTENANCE = 'preempted', 'maintenance-event'
_ENDS = 'TERMINATE_ON_HOST_MAINTENANCE'


@contextlib.contextmanager
def watched(act: Callable[[], None]) -> Iterator[None]:
  """In this block `act` is called, by another thread and once, when the VM is to be taken away.

  Where there is no metadata server nothing is asked: on machines that do not say they are of
  Google Compute Engine, unless the environment variable GCE_METADATA_HOST names a server.
  """
  host = os.environ.get(SERVER) or (_ADDRESS if _is_of_google() else '')
  if not host:
    yield
    return
  closed = threading.Event()
  thread = threading.Thread(target=_watch, args=(host, act, closed), name='notices', daemon=True)
  thread.start()
  try:
    yield
  finally:
    closed.set()
    thread.join()


def _is_of_google() -> bool:
  with contextlib.suppress(OSError):
    return 'Google Compute Engine' in _PRODUCT.read_text()
  return False


def _watch(host: str, act: Callable[[], None], closed: threading.Event) -> None:
  maintained = None  # whether it was so when it was asked before
  failed = False
  while not closed.is_set():
    try:
      is_preempted = _ask(host, _PREEMPTED) == 'TRUE'
      before, maintained = maintained, _ask(host, _MAINTENANCE) == _ENDS
      failed = False
    except (OSError, http.client.HTTPException) as error:
      if not failed:
        _say(f'the metadata server {host} does not answer ({error}); signals are heard still')
      if maintained is None:  # it never has
        return
      failed, is_preempted, before = True, False, maintained
    if is_preempted or (maintained and before is False):
      _say('this VM is preempted' if is_preempted else 'maintenance of its host ends this VM')
      act()
      return
    if maintained and before is None:
      _say('maintenance of its host will end this VM; the run goes on until it is told to stop')
    closed.wait(SECONDS)


def _ask(host: str, key: str) -> str:
  """What the server says of a key; '' if it does not know it."""
  connection = http.client.HTTPConnection(host, timeout=SECONDS)
  try:
    path = f'/computeMetadata/v1/instance/{key}'
    connection.request('GET', path, headers={'Metadata-Flavor': 'Google'})
    answer = connection.getresponse()
    text = answer.read(256).decode('utf-8', 'replace').strip()
    if answer.getheader('Metadata-Flavor') != 'Google' or answer.status not in (200, 404):
      raise ConnectionError(f'{answer.status} {answer.reason}')
    return text if answer.status == 200 else ''
  finally:
    connection.close()


def _say(text: str) -> None:
  print(f'\nrljax: {text}', file=sys.stderr, flush=True)
