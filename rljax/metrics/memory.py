"""Memory of the process tree and of the devices."""

from __future__ import annotations

import os
import threading

MIB = 1024 * 1024


def _parents() -> dict[int, int]:
  """Process -> its parent, of all processes; {} where there is no /proc (macOS)."""
  parents = {}
  try:
    names = os.listdir('/proc')
  except OSError:
    return {}
  for name in names:
    if name.isdigit():
      try:
        with open(f'/proc/{name}/stat', 'rb') as file:
          # The second field is the command in parentheses and may hold anything.
          parents[int(name)] = int(file.read().rpartition(b')')[2].split()[1])
      except (OSError, IndexError, ValueError):
        continue  # it ended meanwhile
  return parents


def tree_bytes() -> int:
  """Resident memory of this process and its descendants (pages shared by two count twice)."""
  children: dict[int, list[int]] = {}
  for process, parent in _parents().items():
    children.setdefault(parent, []).append(process)
  page, total, todo = os.sysconf('SC_PAGE_SIZE'), 0, [os.getpid()]
  while todo:
    process = todo.pop()
    todo += children.get(process, [])
    try:
      with open(f'/proc/{process}/statm', 'rb') as file:
        total += int(file.read().split()[1]) * page
    except OSError:
      continue
  return total


def own_peak_bytes() -> int:
  """Highest resident memory of this process so far, as the kernel counted it."""
  try:
    with open('/proc/self/status', encoding='ascii') as file:
      kib = next(line.split()[1] for line in file if line.startswith('VmHWM'))
    return int(kib) * 1024
  except (OSError, StopIteration):
    import resource  # not on Linux: there it counts what stood before exec, too

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class MemoryWatch:
  """Looks at the process tree every `interval` seconds from its start to its stop.

  Attributes:
    peak_mib: highest resident memory of the tree seen (MiB), and at least this process's own peak.
  """

  def __init__(self, interval: float = 0.5):
    self._interval = interval
    self._peak = 0
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._watch, name='memory-watch', daemon=True)

  def __enter__(self) -> MemoryWatch:
    return self.start()

  def __exit__(self, *_: object) -> None:
    self.stop()

  def start(self) -> MemoryWatch:
    self._thread.start()
    return self

  def stop(self) -> None:
    self._done.set()
    self._thread.join()

  @property
  def peak_mib(self) -> float:
    self._look()
    return max(self._peak, own_peak_bytes()) / MIB

  def _watch(self) -> None:
    while not self._done.wait(self._interval):
      self._look()

  def _look(self) -> None:
    self._peak = max(self._peak, tree_bytes())


def device_memory() -> dict[str, float]:
  """'memory/device_mib': the highest so far on the fullest local device; {} where it is not known
  (CPU).

  Examples:
    >>> print(metrics.device_memory() if jax.default_backend() == 'cpu' else {})
    {}
  """
  import jax

  peaks = [(device.memory_stats() or {}).get('peak_bytes_in_use') for device in jax.local_devices()]
  known = [peak for peak in peaks if peak is not None]
  return {'memory/device_mib': max(known) / MIB} if known else {}
