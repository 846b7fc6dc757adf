"""What was measured on, and with what."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata

PACKAGES = ('jax', 'jaxlib', 'numpy', 'optax', 'rljax')


def describe() -> dict:
  """The record that stands beside every part: date, machine, versions, load when it began."""
  import jax

  return {
    'date': datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC'),
    'cpu': cpu_model(),
    'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
    'load': round(os.getloadavg()[0], 2),
    'devices': [f'{d.platform} {d.device_kind}' for d in jax.local_devices()],
    'python': platform.python_version(),
    'versions': {name: metadata.version(name) for name in PACKAGES},
  }


def cpu_model() -> str:
  try:
    with open('/proc/cpuinfo', encoding='utf8') as file:
      fields = dict(line.split(':', 1) for line in file.read().split('\n\n')[0].splitlines())
    found = {name.strip(): value.strip() for name, value in fields.items()}
    wide = 'AVX-512' if 'avx512f' in found.get('flags', '') else ''
    return ', '.join(part for part in (found['model name'], wide) if part)
  except (OSError, KeyError, ValueError):
    return platform.processor() or platform.machine()
