"""Every test sees eight virtual CPU devices and no implicit rank promotion."""

import gc
import importlib.metadata
import os

# A flag that jaxlib does not know ends the process.
_emitters = int(importlib.metadata.version('jaxlib').split('.')[1]) < 12
os.environ['JAX_PLATFORMS'] = os.environ.get('RLJAX_TEST_PLATFORM', 'cpu')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '')
  + ' --xla_force_host_platform_device_count=8'
  # Tests compile much and compute little. Emitters of fusions, and parts of a program that are
  # compiled side by side, are most of the work for programs as small as theirs.
  + ' --xla_backend_optimization_level=0'
  + (' --xla_cpu_use_fusion_emitters=false' if _emitters else '')
  + ' --xla_cpu_parallel_codegen_split_count=1'
)

import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')

# Tracing makes many small objects, few of them garbage: looking for it took a quarter of the time.
gc.set_threshold(100_000, 20, 100)


def pytest_collection_finish() -> None:
  """What stands after the imports stays until the end; nobody need look at it again."""
  gc.collect()
  gc.freeze()


@pytest.fixture(autouse=True, scope='module')
def programs_of_one_file():
  """Drops compiled programs behind each file.

  jax holds a few thousand and forgets the oldest, also one whose compilations a test counts.
  """
  yield
  jax.clear_caches()
