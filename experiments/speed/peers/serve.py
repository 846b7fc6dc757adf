"""A peer's side of the conversation: one JSON line a request, one a reply. Standard library only.

The first line that comes in is the work; every further line asks for one run. A peer runs in an
environment of its own, so nothing of rljax is imported here.
"""

import json
import os
import sys
import time


class Channel:
  """The pipe to the harness. What libraries print goes to stderr from here on."""

  def __init__(self):
    self._out = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    self.work = json.loads(sys.stdin.readline())

  def say(self, **message):
    self._out.write(json.dumps(message) + '\n')
    self._out.flush()

  def wait(self):
    """The next request; ends the process where there is none."""
    if not sys.stdin.readline():
      self._out.close()
      os._exit(0)  # from whatever depth of a library's loop, without its last checkpoint


def serve(channel, run):
  """Answers every request with the seconds of `run()` and what it returns."""
  while True:
    channel.wait()
    started = time.perf_counter()
    found = run()
    channel.say(seconds=time.perf_counter() - started, **found)


def peak_mib():
  """Highest resident memory of this process so far."""
  with open('/proc/self/status', encoding='ascii') as file:
    return int(next(line.split()[1] for line in file if line.startswith('VmHWM'))) / 1024


def share_of_even(text):
  """The reward: which part of the ids in a completion is even."""
  ids = [int(word) for word in text.split()]
  return sum(i % 2 == 0 for i in ids) / max(len(ids), 1)
