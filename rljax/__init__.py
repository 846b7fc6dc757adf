"""rljax: reinforcement learning of language models in JAX."""

import sys as _sys

if _sys.version_info < (3, 11):  # noqa: UP036
  raise ImportError(f'rljax needs Python 3.11 or newer; this is {_sys.version.split()[0]}')
if _sys.platform == 'win32':
  raise ImportError('rljax does not run on native Windows; use WSL2 (Linux)')

from importlib import metadata as _metadata

__version__ = _metadata.version('rljax')


def load_config(name: str):
  """The ml_collections config `name`: a path to a .py file, or a name; see `rljax.config.load`."""
  from rljax import config

  return config.load(name)
